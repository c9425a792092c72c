"""From run folders to what judge() takes; several runs are judged as one, in whatever order they are given."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memdetect.errors import MemdetectError
from memdetect.files import real
from memdetect.judging.calibration import Calibration, read_calibration
from memdetect.judging.calibration.banked import read_with_bank
from memdetect.judging.integrity import exchanged
from memdetect.judging.rows import Reader, Records, Rows
from memdetect.judging.run_rows import add_run
from memdetect.judging.screen_recall import Asked, Recall
from memdetect.judging.screened_runs import known_of
from memdetect.judging.text_shift import FEWEST, compare_wording
from memdetect.runs.folder import RunFolder
from memdetect.runs.header import SHARES, Header
from memdetect.runs.policy import Policy, held_policy

OWN = ("inputs", "seed")  # what runs that are judged together may differ in
LOW = (*SHARES, "rows", "null_queries")  # facts of an index of which the smallest is the worst; of others the largest


@dataclass(frozen=True, slots=True)
class Runs:
    """A run, or several as one: header, measurements in order, clean scores, and lines that could not be read.

    altered: what is not as it was fixed or measured, a line each. policies: those that the runs were planned with,
    without their suppressions: of these the place decides where it is judged (`runs.policy.with_ignored`). folders: of
    each run in turn, with the number of its rows. recall: what its screen is known to keep, and the screen that this
    has to be of.
    """

    header: Header
    rows: Records
    calibration: Calibration | None
    damaged: tuple[str, ...]
    altered: tuple[str, ...] = ()
    policies: tuple[Policy, ...] = ()
    folders: tuple[tuple[Path, int], ...] = ()
    recall: tuple[Recall, Asked] | None = None

    @property
    def homes(self) -> list[Path]:
        """The run folder of each row."""
        return [folder for folder, count in self.folders for _ in range(count)]


def read_runs(folders: Sequence[Path], calibration: Path | None = None, recall: Path | None = None) -> Runs:
    """Read finished or unfinished runs. Damaged lines are named and left out, so that their items count as missing.

    calibration: a file of clean scores instead of the ones that the runs hold; the prompts' wording is compared with
    theirs anew. recall: a file of what a screen is known to keep, instead of the run's own. Several runs are judged as
    one, over all their planned items: they have to share every setting but inputs and seed, and their clean scores;
    they are read in an order of their own, so that the order in which they are given changes nothing. Raises
    MemdetectError (usage) that names what they differ in, for a folder that is no run, for a header without what
    judging needs, and for a file that is missing.
    """
    found = _in_order(folders)
    held = [held_policy(header.policy, str(folder / "run.json")) for folder, header in found]
    policies = tuple(policy.model_copy(update={"ignore": ()}) for policy in held)
    for folder, header in found:
        _same(*found[0], folder, header)
    damaged: list[str] = []
    changed: list[str] = []
    rows = Reader(found[0][1].plan).rows()
    sizes: list[tuple[Path, int]] = []
    for folder, own in found:
        start, where = len(rows), f"{str(folder)!r}: " if len(found) > 1 else ""
        changed += [f"{where}{line}" for line in add_run(folder, own, rows, damaged)]
        sizes.append((folder, len(rows) - start))
    if len(found) > 1:
        rows = rows.changed(numbers=range(len(rows)))
    header, known = _together([header for _, header in found]), known_of(found, recall)
    if calibration is not None:
        header, clean = _judged_by(calibration, header, rows)
    else:
        kept = [read_calibration(folder / "calibration.json", own.calibration) for folder, own in found]
        changed += list(dict.fromkeys(line for own in kept for line in exchanged(header, own)))
        clean = kept[0]
    records = Records(rows, header.plan)
    return Runs(header, records, clean, tuple(damaged), tuple(changed), policies, tuple(sizes), known)


def _in_order(folders: Sequence[Path]) -> list[tuple[Path, Header]]:
    """Folders with their headers, in an order that does not depend on how they were given."""
    found = [(folder, RunFolder(folder).header()) for folder in folders]
    return sorted(found, key=lambda pair: (pair[1].model_dump_json(), str(real(pair[0]))))


def _judged_by(file: Path, header: Header, rows: Rows) -> tuple[Header, Calibration]:
    """Clean scores of a file for these rows, and the header with their prompts' wording compared with those.

    The clean prompts keep their words: the kinds of the rows are told anew by them.
    """
    found = read_with_bank(file)
    if found is None:
        raise MemdetectError(f"there is no calibration {str(file)!r}; make one with `memdetect calibrate`")
    kept = found.cut(header.plan)
    if kept.digest == header.calibration:
        return header, kept
    wording = {**compare_wording(rows, found), "calibration": kept.digest}
    return header.model_copy(update={"wording": wording}), found


def _same(first: Path, held: Header, other: Path, header: Header) -> None:
    mine, theirs = _shared(held), _shared(header)
    for key in [*mine, *(key for key in theirs if key not in mine)]:
        if mine.get(key) != theirs.get(key):
            raise MemdetectError(
                f"{first} and {other} differ in {key} ({mine.get(key)!r:.60}, {theirs.get(key)!r:.60}); "
                "judge them one by one"
            )


def _shared(header: Header) -> Mapping[str, Any]:
    plan = header.plan.model_dump(mode="json", exclude=set(OWN))
    return {**plan, "index": header.index.get("digest"), "calibration": header.calibration}


def _together(headers: Sequence[Header]) -> Header:
    """One header for all planned items: of every fact the worst, and a plan of its own over all inputs."""
    first = headers[0]
    if len(headers) == 1:
        return first
    inputs = "\n".join(sorted(header.plan.inputs for header in headers))
    plan = first.plan.model_copy(update={"inputs": hashlib.sha256(inputs.encode()).hexdigest()})
    digests = {header.policy_digest for header in headers}
    return first.model_copy(
        update={
            "plan": plan,
            "plan_digest": plan.digest if all(h.plan_digest == h.plan.digest for h in headers) else "",
            "planned": sum(header.planned for header in headers),
            "dropped": {
                key: sum(header.dropped.get(key, 0) for header in headers)
                for key in sorted({key for header in headers for key in header.dropped})
            },
            "wording": _worst_wording([header.wording for header in headers], sum(h.planned for h in headers)),
            "index": _worst_index([header.index for header in headers]),
            "policy_digest": digests.pop() if len(digests) == 1 else "",
        }
    )


def _worst_wording(found: Sequence[Mapping[str, Any]], planned: int) -> dict[str, Any]:
    """The wording that is the easiest to tell, with every reason why one was not compared.

    Runs that are too small each are not too small together: their wording should have been compared.
    """
    worst = dict(max(found, key=lambda wording: wording.get("low") or 0.0))
    for key in ("missing", "few"):
        if said := next((wording[key] for wording in found if wording.get(key)), ""):
            worst[key] = said
    if worst.get("few") and not worst.get("missing") and planned >= FEWEST:
        worst["missing"] = "each run is too small for that, all of them together are not; give --calibration"
    return worst


def _worst_index(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Of each number the worst, None above all; of anything else what the first run says."""
    return {key: _worst(key, [index.get(key) for index in found]) for key in dict.fromkeys(k for i in found for k in i)}


def _worst(key: str, values: Sequence[Any]) -> Any:
    if all(isinstance(value, Mapping) for value in values):
        return _worst_index(values)
    if any(value is None for value in values):
        return None
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    return (min if key.endswith(LOW) else max)(values) if numbers else values[0]
