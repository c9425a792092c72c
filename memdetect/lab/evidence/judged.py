"""The bench run: an index of the held pictures is built, every query looked up in it, a line kept of each."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from memdetect.copies.asking import build_index, look_up
from memdetect.copies.index import read_manifest
from memdetect.copies.match import Looked, Match
from memdetect.errors import MemdetectError
from memdetect.files import write_atomic
from memdetect.inputs.options import Indexing, Lookup
from memdetect.lab.evidence.damages import DAMAGES
from memdetect.lab.evidence.queries import NEGATIVE, Bench, Query

FOUND = ("copy", "partial-copy")  # outcomes that name a training image
BATCH = 96
RESULTS, INDEX, HELD = "results.jsonl", "held.index", "held.jsonl"

Progress = Callable[[int, int, str], None]


class Row(BaseModel):
    """What was found of a query. original: its key, "" for a negative; found: that of the training image named first.

    right: whether an outcome of FOUND names the original; None for a negative. changed: what was done to a negative.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    picture: str
    package: str
    kind: str
    damage: str = ""
    changed: str = ""
    group: str = NEGATIVE
    outcome: str
    right: bool | None = None
    found: str = ""
    similarity: float | None = None
    measures: dict[str, Any] = {}
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """How the bench is run: where the pictures are, with which embedder, of which size queries are."""

    folder: Path
    indexing: Indexing
    lookup: Lookup
    side: int = 512
    seed: int = 0


def build(asked: Asked, bench: Bench, out: Path, progress: Progress) -> Path:
    """The index of the held pictures in `out`, made unless it is there; MemdetectError where another one is."""
    out.mkdir(parents=True, exist_ok=True)
    listing, index = out / HELD, out / INDEX
    lines = [{"path": str((asked.folder / each.file).resolve()), "key": each.key} for each in bench.held]
    text, name = "".join(f"{json.dumps(line)}\n" for line in lines), asked.indexing.embedder
    if not index.exists():
        write_atomic(listing, text)
        build_index([listing], index, indexing=asked.indexing, lookup=asked.lookup, progress=progress)
    if listing.read_text("utf-8") != text or name not in ("auto", read_manifest(index).embedder.name):
        raise MemdetectError(f"{index} holds other pictures, or was made with another embedder; choose another --out")
    return index


def run(asked: Asked, queries: Sequence[Query], index: Path, progress: Progress) -> Iterator[Row]:
    """A row for each query, in their order; a batch of pictures is in memory at a time."""
    waiting, done = iter(queries), 0
    while batch := list(islice(waiting, BATCH)):
        images = [query.image(asked.folder, asked.side, asked.seed) for query in batch]
        for query, looked in zip(batch, look_up(images, index, lookup=asked.lookup), strict=True):
            yield row_of(query, looked)
        done += len(batch)
        progress(done, len(queries), "")


def row_of(query: Query, looked: Looked) -> Row:
    """What is kept of a query."""
    top = named(looked)
    found = top.key if top else ""
    right = looked.outcome in FOUND and found == query.picture.key if query.damage else None
    group = DAMAGES[query.damage].group if query.damage else NEGATIVE
    measures = top.model_dump(exclude={"seed", "row", "key", "path", "caption", "similarity"}) if top else {}
    return Row(
        picture=query.picture.key,
        package=query.picture.package,
        kind=query.kind,
        damage=query.damage,
        changed=query.changed,
        group=group,
        outcome=looked.outcome,
        right=right,
        found=found,
        similarity=top.similarity if top else None,
        measures=measures,
        reason=looked.reason,
    )


def named(looked: Looked) -> Match | None:
    """The training image that an outcome names: the first with a finding of its own, else the nearest."""
    first = next((match for match in looked.matches if match.copy_found), None)
    return first or next((m for m in looked.matches if _found_otherwise(m)), None) or next(iter(looked.matches), None)


def _found_otherwise(match: Match) -> bool:
    """Whether any other finding about a training image holds, such as that a part of it is there."""
    return any(value is True for name, value in match if name.endswith("_found"))


def write_rows(out: Path, rows: Sequence[Row]) -> Path:
    """Keep the rows in `out`/results.jsonl."""
    write_atomic(out / RESULTS, "".join(f"{row.model_dump_json()}\n" for row in rows))
    return out / RESULTS
