"""The steps of `memdetect lab evidence`: fetch the pictures; run the bench on a split of them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from memdetect.copies.index import read_manifest
from memdetect.errors import MemdetectError
from memdetect.lab.evidence.counted import tables
from memdetect.lab.evidence.damages import DAMAGES
from memdetect.lab.evidence.judged import Asked, Progress, build, run, write_rows
from memdetect.lab.evidence.pictures import Picture, prepare, read_listing
from memdetect.lab.evidence.queries import Query, drawn, make_bench
from memdetect.lab.evidence.sheets import Seen, write_sheets
from memdetect.lab.evidence.sources import SOURCES, SPLITS, Split
from memdetect.lab.evidence.sources import fetch as fetch_packages
from memdetect.lab.world.folders import cache_folder


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which queries: of a split, so many a damage (all damages for none named), at most so many negatives (0 = all)."""

    split: Split
    per_damage: int = 50
    damages: Sequence[str] = ()
    negatives: int = 0


def folder_of(folder: Path | None) -> Path:
    """Where the pictures are: the folder given, else the one in the user's cache."""
    return folder or cache_folder("evidence")


def fetch(folder: Path, debs: Path | None, say: Callable[[str], None]) -> Iterator[str]:
    """Download the packages unless a folder of them is given, store their pictures, and say what there is."""
    if debs is None:
        fetch_packages(folder, SOURCES, say)
    pictures = prepare(debs or folder / "deb", folder, SOURCES)
    for split in SPLITS:
        own = [picture for picture in pictures if picture.split == split]
        for kind in sorted({picture.kind for picture in own}):
            alike = [picture for picture in own if picture.kind == kind]
            whole = sum(not picture.tile_of for picture in alike)
            yield f"{split}: {whole} pictures of the kind {kind}, {len(alike) - whole} tiles"
    yield str(folder)


def evaluate(asked: Asked, wanted: Wanted, out: Path, progress: Progress) -> Iterator[Table]:
    """Build the index in `out`, look every query up, keep the rows and the sheets there; the tables of shares."""
    if unknown := [name for name in wanted.damages if name not in DAMAGES]:
        raise MemdetectError(f"no damage named {unknown[0]!r}; have: {', '.join(DAMAGES)}")
    pictures = read_listing(asked.folder)
    bench = make_bench(pictures, wanted.split, asked.seed)
    index = build(asked, bench, out, progress)
    queries = _fewer(list(bench.queries(wanted.per_damage, asked.seed, wanted.damages)), wanted, asked.seed)
    rows = list(run(asked, queries, index, progress))
    write_rows(out, rows)
    by_key: dict[str, Picture] = {picture.key: picture for picture in pictures}
    write_sheets(out, asked, [Seen(*pair) for pair in zip(queries, rows, strict=True)], by_key)
    yield from tables(rows, read_manifest(index).threshold.level)


def _fewer(queries: Sequence[Query], wanted: Wanted, seed: int) -> list[Query]:
    """All damaged copies, and of the others at most so many, drawn at random."""
    copies = [query for query in queries if query.damage]
    others = [query for query in queries if not query.damage]
    if wanted.negatives and wanted.negatives < len(others):
        chosen = sorted(drawn(seed, "negatives").permutation(len(others))[: wanted.negatives])
        others = [others[k] for k in chosen]
    return [*copies, *others]
