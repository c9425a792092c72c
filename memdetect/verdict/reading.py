"""From run folders to what judge() takes; several runs are judged as one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from memdetect.calibration import Calibration, read_calibration
from memdetect.errors import MemdetectError
from memdetect.records import Header, Measurement, RunFolder

OWN = ("inputs", "seed")  # what runs that are judged together may differ in


@dataclass(frozen=True, slots=True)
class Runs:
    """A run, or several as one: header, measurements in order, clean scores, and lines that could not be read."""

    header: Header
    rows: list[Measurement]
    calibration: Calibration | None
    damaged: tuple[str, ...]


def read_runs(folders: Sequence[Path], calibration: Path | None = None) -> Runs:
    """Read finished or unfinished runs. Damaged lines are named and left out, so that their items count as missing.

    calibration: a file of clean scores instead of the ones that the runs hold. Several runs are judged as one, over all
    their planned items: they have to share every setting but inputs and seed, and their clean scores. Raises
    MemdetectError (usage) that names what they differ in, for a folder that is no run, and for a file that is missing.
    """
    headers = [RunFolder(folder).header() for folder in folders]
    for folder, header in zip(folders, headers, strict=True):
        _same(folders[0], headers[0], folder, header)
    rows: list[Measurement] = []
    damaged: list[str] = []
    for folder in folders:
        _read_rows(folder, rows, damaged)
    if len(folders) > 1:
        rows = [row.model_copy(update={"index": i}) for i, row in enumerate(rows)]
    return Runs(_together(headers), rows, _calibration(folders[0], headers[0], calibration), tuple(damaged))


def _calibration(folder: Path, header: Header, file: Path | None) -> Calibration | None:
    found = read_calibration(file or folder / "calibration.json")
    if file is not None and found is None:
        raise MemdetectError(f"there is no calibration {str(file)!r}; make one with `memdetect calibrate`")
    return found.cut(header.plan) if found and file is not None else found


def _read_rows(folder: Path, rows: list[Measurement], damaged: list[str]) -> None:
    for shard in sorted((folder / "shards").glob("*.jsonl")):
        for number, line in enumerate(shard.read_bytes().splitlines(), 1):
            try:
                rows.append(Measurement.model_validate_json(line))
            except ValidationError:
                damaged.append(f"{shard}, line {number} is damaged; delete this shard and scan again")


def _same(first: Path, held: Header, other: Path, header: Header) -> None:
    mine, theirs = _shared(held), _shared(header)
    for key in [*mine, *(key for key in theirs if key not in mine)]:
        if mine.get(key) != theirs.get(key):
            raise MemdetectError(
                f"{first} and {other} differ in {key} ({mine.get(key)!r:.60}, {theirs.get(key)!r:.60}); "
                "judge them one by one"
            )


def _shared(header: Header) -> Mapping[str, Any]:
    plan = {key: value for key, value in header.plan.items() if key not in OWN}
    return {**plan, "index": header.index.get("digest"), "calibration": header.calibration}


def _together(headers: Sequence[Header]) -> Header:
    """One header: all planned items, the strangest wording, the least coverage, the policy if all share it."""
    first = headers[0]
    if len(headers) == 1:
        return first
    digests = {header.policy_digest for header in headers}
    return first.model_copy(
        update={
            "planned": sum(header.planned for header in headers),
            "wording": max((header.wording for header in headers), key=lambda found: found.get("low") or 0.0),
            "index": min((header.index for header in headers), key=lambda found: found.get("coverage") or 0.0),
            "policy_digest": digests.pop() if len(digests) == 1 else "",
        }
    )
