"""One index of the parts that several processes made: the rows and vectors of the index that one would have made."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from memdetect.copies.index.build import build_of
from memdetect.copies.index.embed_files import Intake
from memdetect.copies.index.embedder_protocol import Embeds
from memdetect.copies.index.feeds import Batch
from memdetect.copies.index.manifest import ENTRIES, Manifest, Step
from memdetect.copies.index.nearest import Index, open_index
from memdetect.copies.index.rows import Row, stored_path
from memdetect.copies.index.write import BuildOptions
from memdetect.errors import MemdetectError
from memdetect.files import real
from memdetect.inputs.ranks import Rank

SPAN = 4096  # numbers of images whose rows are brought in order together
SAME = ("embedder", "as_trained", "memdetect")


@dataclass(frozen=True, slots=True)
class Parts:
    """The rows of verified parts, in the order of the whole list. home: of the index that is made of them."""

    parts: Sequence[Index]
    home: Path
    plain: bool = field(default=False, init=False)

    def names(self, home: Path) -> Iterator[str]:
        """The keys of the rows, part by part: their order is that of nothing else."""
        for part in self.parts:
            yield from (self._moved(part, row).key for row in part.rows)

    def place(self, position: int) -> str:
        """The part and the path of the image."""
        for part in self.parts:
            if position < len(part):
                return f"{str(part.folder)!r} ({part.row(position).path!r})"
            position -= len(part)
        raise IndexError(position)

    def batches(self, intake: Intake, rank: Rank) -> Iterator[Batch]:
        """The rows in their order, a span of images at a time: what memory holds is one span."""
        for part in self.parts:
            intake.skipped.update(part.manifest.skipped)
            intake.noted.update(part.manifest.noted)
            intake.unseen += part.manifest.unseen
        held = [entries_of(part) for part in self.parts]
        places = [0] * len(held)
        while any(at < len(own) for at, own in zip(places, held, strict=True)):
            start = min(int(own[at]) for at, own in zip(places, held, strict=True) if at < len(own))
            ends = [int(np.searchsorted(own, start + SPAN)) for own in held]
            yield self._span(held, places, ends)
            intake.seen += sum(ends) - sum(places)
            places = ends

    def _span(self, held: Sequence[Int64[np.ndarray, " _row"]], starts: list[int], ends: list[int]) -> Batch:
        spans = list(zip(self.parts, held, starts, ends, strict=True))
        entries = np.concatenate([np.asarray(own[a:b], np.int64) for _, own, a, b in spans])
        vectors = np.concatenate([part.searcher.vectors[a:b] for part, _, a, b in spans])
        rows = [self._moved(part, row) for part, _, a, b in spans for row in part.rows.many(range(a, b))]
        order = np.argsort(entries, kind="stable")
        return Batch([rows[i] for i in order.tolist()], vectors[order], entries[order])

    def _moved(self, part: Index, row: Row) -> Row:
        """The row as seen from the merged index, where it lies in another folder than the part."""
        if not row.width or real(part.folder).parent == self.home.parent:
            return row
        path = stored_path(row.file(part.folder), self.home)
        key = path + row.key.removeprefix(row.path) if row.key.startswith(row.path) else row.key
        return row.model_copy(update={"path": path, "key": key})


def entries_of(part: Index) -> Int64[np.ndarray, " _row"]:
    """For each row of a part the number of its image in the whole list, ascending. MemdetectError for anything else."""
    found = np.memmap(part.folder / ENTRIES, "<i8", "r")
    if len(found) != len(part) or (np.diff(found) < 0).any():
        raise MemdetectError(f"{str(part.folder / ENTRIES)!r} does not number the rows of its part; build it again")
    return found


def merge_parts(
    folders: Sequence[Path | str],
    embedder: Embeds,
    folder: Path | str,
    options: BuildOptions | None = None,
    progress: Step = lambda _done, _planned, _note: None,
) -> Index:
    """Put the parts of one list together, and find threshold and planted copies as `build_index` does.

    The files are those that a single process makes of the list, to the byte, but for the places of images that lie
    elsewhere as seen from the index. folders: all parts, in any order. Raises MemdetectError (usage): a part that is
    missing, there twice or of another list, parts of several embedders, and what `build_index` refuses.
    """
    parts = [open_index(part, embedder, parts=True) for part in folders]
    check_parts([(str(part.folder), part.manifest) for part in parts])
    parts.sort(key=lambda part: part.manifest.part.rank if part.manifest.part else 0)
    options, first = options or BuildOptions(), parts[0].manifest
    if not options.training_set and first.training_set:
        options = replace(options, training_set=first.training_set, training_set_by=first.training_set_by)
    options = replace(options, as_trained=first.as_trained.text if first.as_trained else None)
    return build_of(Parts(parts, real(folder)), embedder, folder, options, progress)


def check_parts(named: Sequence[tuple[str, Manifest]]) -> None:
    """Refuse parts that do not make up one list, naming the first that does not fit."""
    if not named:
        raise MemdetectError("no part is given; name the folders that index build made with --rank and --world")
    held: dict[int, str] = {}
    first, start = named[0]
    for name, manifest in named:
        part, other = manifest.part, start.part
        if part is None or other is None:
            raise MemdetectError(f"{name!r} is a whole index and no part; to add to an index use index build --append")
        if unlike := _unlike(manifest, start):
            raise MemdetectError(f"{first!r} and {name!r} differ in {unlike}; build the parts of one list again")
        if part.rank in held:
            raise MemdetectError(f"{held[part.rank]!r} and {name!r} are the same part, {part.rank}; leave one out")
        held[part.rank] = name
    world = start.part.world if start.part else 0
    if missing := [rank for rank in range(world) if rank not in held]:
        said = ", ".join(map(str, missing[:10])) + (" and others" if len(missing) > 10 else "")
        raise MemdetectError(f"of {world} parts {len(missing)} are missing: {said}; build and name them")


def _unlike(one: Manifest, other: Manifest) -> str:
    """What two parts differ in that they have to share; "" = nothing."""
    if one.part and other.part and (one.part.world, one.part.listing) != (other.part.world, other.part.listing):
        return "the list of their images or in --world"
    return next((key for key in SAME if getattr(one, key) != getattr(other, key)), "")
