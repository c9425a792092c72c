"""The close of a run: its rows judged, results.jsonl and the sheet of pairs written, by whoever sees nothing left."""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any

from memdetect.copies.matching import Evidence
from memdetect.errors import Exit, MemdetectError
from memdetect.files import open_regular, read_regular
from memdetect.judging.calibration import Calibration
from memdetect.judging.rows import Reader, Records
from memdetect.judging.run import Run, held
from memdetect.judging.run_rows import add_run
from memdetect.judging.screen_recall import KEPT
from memdetect.judging.screened_runs import known_of
from memdetect.judging.verdict import Beside, judge_with
from memdetect.runs.folder import RunFolder
from memdetect.runs.header import Header
from memdetect.runs.policy import Policy
from memdetect.runs.records import Measurement
from memdetect.runs.screen import FOLDER
from memdetect.scanning.contact_sheet import write_pairs
from memdetect.scanning.made_once import rests_on

CLOSED = "closed"  # the event that names what results.jsonl was made of, and its sha256
RESULTS, PAIRS = "results.jsonl", "pairs.png"


def seen_from_here(row: Measurement, evidence: Evidence) -> Measurement:
    """An item with the paths of its training images seen from the present working folder, not a former one."""
    folder = str(evidence.index.folder)
    paths = [evidence.index.row(match.row).seen_from(folder) for match in row.matches]
    if paths == [match.path for match in row.matches]:
        return row
    moved = [m.model_copy(update={"path": path}) for m, path in zip(row.matches, paths, strict=True)]
    return row.model_copy(update={"matches": moved})


def closed(
    folder: RunFolder,
    header: Header,
    calibration: Calibration | None,
    policy: Policy,
    evidence: Evidence | None,
    *,
    interrupted: bool,
) -> Run:
    """The run in a folder, judged; its results and its sheet of pairs are written, unless it was interrupted."""
    rests = "" if interrupted else rests_on_all(folder, header, calibration, policy, evidence)
    run = judged(folder, header, calibration, policy, evidence, interrupted=interrupted)
    if not interrupted:
        keep(run, folder, rests)
    folder.send()
    return run


def judged(
    folder: RunFolder,
    header: Header,
    calibration: Calibration | None,
    policy: Policy,
    evidence: Evidence | None,
    *,
    interrupted: bool,
) -> Run:
    """The run in a folder, judged; nothing is written. Unless it was interrupted, every item has to be there."""
    if not interrupted:  # what others made is not needed then, and time may be short
        folder.bring()
    rows, damaged = Reader(header.plan).rows(), list[str]()
    turned = partial(seen_from_here, evidence=evidence) if evidence else None  # resumed from another working folder
    changed = add_run(folder.path, header, rows, damaged, turned)
    if damaged:
        raise MemdetectError(damaged[0], Exit.ERROR)
    beside = Beside(altered=changed, recall=known_of([(folder.path, header)]))
    made, verdict = judge_with(header, Records(rows, header.plan), calibration, policy, beside)
    results = made if header.screen else held(made)  # those of a screened run are many, and made when asked for
    if not interrupted and verdict.measured != header.planned:
        raise MemdetectError(
            f"{folder.path} holds {verdict.measured} of {header.planned} items; run the same command again",
            Exit.ERROR,
        )
    return Run(folder.path, header, results, verdict, interrupted)


def rests_on_all(
    folder: RunFolder, header: Header, calibration: Calibration | None, policy: Policy, evidence: Evidence | None
) -> str:
    """The sha256, in hex, of all that the results of a run follow from, asked before it is judged.

    Rows are those of the files as they are now, whatever the journals say.
    """
    screen = [RunFolder(folder.path / FOLDER)] if header.screen else []
    recall = folder.path / KEPT
    facts = {
        "seal": header.seal,
        "policy": policy.model_dump(mode="json"),
        "calibration": calibration.model_dump_json() if calibration else "",
        "recall": hashlib.sha256(read_regular(recall)).hexdigest() if recall.exists() else "",
        "index": str(evidence.index.folder) if evidence else "",  # paths are as seen from the working folder
        "day": datetime.now(UTC).date(),  # suppressions end
    }
    return rests_on([folder, *screen], facts)


def keep(run: Run, folder: RunFolder, rests: str) -> None:
    """Write the results and the sheet of pairs of a run, unless a process wrote them that had the very same to go by.

    What they rest on goes into the journal. Called under the lock of the run.
    """
    before = [event for event in _events(folder) if event["rests"] == rests]
    if before and (folder.path / RESULTS).exists() and _event(folder, rests) in before:
        return
    folder.write_results(run.results)
    write_pairs(folder.path, run.results)
    folder.note(CLOSED, **_event(folder, rests))


def _events(folder: RunFolder) -> Iterator[dict[str, Any]]:
    found = (event for event in folder.events() if event.get("event") == CLOSED)
    return ({key: event.get(key) for key in ("rests", "sha256", "pairs")} for event in found)


def _event(folder: RunFolder, rests: str) -> dict[str, Any]:
    """What the journal says of results as they are now: what they rest on, their sha256, whether pairs were drawn."""
    with open_regular(folder.path / RESULTS) as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"rests": rests, "sha256": digest, "pairs": (folder.path / PAIRS).exists()}
