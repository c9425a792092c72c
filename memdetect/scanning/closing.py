"""The close of a run: its rows judged, results.jsonl and the sheet of pairs written, by whoever sees nothing left."""

from functools import partial

from memdetect.copies.matching import Evidence
from memdetect.errors import Exit, MemdetectError
from memdetect.judging.calibration import Calibration
from memdetect.judging.rows import Reader, Records
from memdetect.judging.run import Run, held
from memdetect.judging.run_rows import add_run
from memdetect.judging.screened_runs import known_of
from memdetect.judging.verdict import Beside, judge_with
from memdetect.runs.folder import RunFolder
from memdetect.runs.header import Header
from memdetect.runs.policy import Policy
from memdetect.runs.records import Measurement
from memdetect.scanning.contact_sheet import write_pairs


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
    if not interrupted:
        if verdict.measured != header.planned:
            raise MemdetectError(
                f"{folder.path} holds {verdict.measured} of {header.planned} items; run the same command again",
                Exit.ERROR,
            )
        folder.write_results(results)
        write_pairs(folder.path, results)
    folder.send()
    return Run(folder.path, header, results, verdict, interrupted)
