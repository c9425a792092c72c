"""The rows of a run on disk, in the order of its plan, with those of the prompts that were only screened."""

from collections.abc import Callable, Iterator
from heapq import merge
from pathlib import Path

from pydantic import ValidationError

from memdetect.errors import MemdetectError
from memdetect.judging.integrity import altered
from memdetect.judging.places import Place, Shards
from memdetect.judging.rows import Part, Reader, Rows
from memdetect.judging.screened import as_screened, exchanged_screen
from memdetect.runs.folder import RunFolder
from memdetect.runs.header import Header
from memdetect.runs.records import Measurement
from memdetect.runs.screen import FOLDER

Found = tuple[Measurement, Place]


def add_run(
    folder: Path,
    header: Header,
    rows: Rows,
    damaged: list[str],
    turned: Callable[[Measurement], Measurement] | None = None,
) -> list[str]:
    """Add the rows of a run to `rows`; what of it is not as it was fixed or measured, a line each.

    Rows of prompts that were sampled in full are numbered among these; of a screened run they get their place in it.
    Each file is read once and each line parsed once, in the order of the plan, so that no other list of them is kept.
    damaged: gets a line for each line of a shard that does not parse. turned: what is made of each measurement.
    """
    home, start, reader = RunFolder(folder), len(rows), Reader(header.plan)
    shards, left, changed = Shards(turned), Shards(as_screened), list[str]()
    found = _lines(home, shards, damaged)
    if header.screen is not None:
        chosen = header.screen.positions
        found = merge(_placed(found, chosen, changed), _left(folder, set(chosen), left, damaged, changed), key=_index)
    for measurement, place in found:
        reader.add(rows, measurement, place)
    changed += altered(home, header, Part(rows, start), _digests(shards))
    if header.screen is not None and (made := _header_of(folder)) is not None:
        changed += [f"{FOLDER}: {line}" for line in altered(RunFolder(folder / FOLDER), made, (), _digests(left))]
        changed += exchanged_screen(folder, header, made)
    return changed


def _lines(home: RunFolder, shards: Shards, damaged: list[str]) -> Iterator[Found]:
    parse = Measurement.__pydantic_validator__.validate_json
    for shard in home.shards():
        for number, line in enumerate(shards.read(shard)):
            try:
                found = parse(line)
            except ValidationError:
                damaged.append(f"{shard}, line {number + 1} is damaged; delete this shard and scan again")
            else:
                yield shards.turned(found) if shards.turned else found, Place(shards, shard, number)


def _placed(found: Iterator[Found], chosen: list[int], changed: list[str]) -> Iterator[Found]:
    """Rows that were numbered among the chosen, with their place among all."""
    for measurement, place in found:
        if measurement.index < len(chosen):
            yield measurement.model_copy(update={"index": chosen[measurement.index]}), place
        else:
            if not changed:
                changed.append("more prompts were sampled in full than the screen chose; scan again")
            yield measurement, place


def _left(folder: Path, chosen: set[int], shards: Shards, damaged: list[str], changed: list[str]) -> Iterator[Found]:
    """The rows of prompts that were only screened."""
    if _header_of(folder, changed) is not None:
        lines = _lines(RunFolder(folder / FOLDER), shards, damaged)
        yield from (pair for pair in lines if pair[0].index not in chosen)


def _header_of(folder: Path, changed: list[str] | None = None) -> Header | None:
    """The header of a run's screen; None where it has none, which `changed` is told."""
    try:
        return RunFolder(folder / FOLDER).header()
    except MemdetectError as problem:
        if changed is not None:
            changed.append(str(problem).replace(str(folder / FOLDER), FOLDER))  # reports show no path of the run
        return None


def _index(pair: Found) -> int:
    return pair[0].index


def _digests(shards: Shards) -> dict[str, str]:
    """The sha256, in hex, of each shard that was read, by its name."""
    return {path.name: digest for path, digest in shards.digests.items()}
