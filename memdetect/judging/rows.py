"""What judging needs of each measurement, kept apart from the cells of its scores, which are read once."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import isfinite
from pathlib import Path
from typing import Any, overload

from memdetect.copies.match import Match
from memdetect.errors import Exit, MemdetectError
from memdetect.files import read_regular
from memdetect.judging.statistics.combine import of_seeds
from memdetect.runs.plan import Plan
from memdetect.runs.records import Measurement, Score, Status
from memdetect.runs.review import Reviewed

_NO_COLUMNS: Mapping[str, Any] = {}


@dataclass(slots=True)
class Shards:
    """The shards of a run as they were when they were judged; the lines of the last one that was asked for are kept."""

    digests: dict[Path, str] = field(default_factory=dict[Path, str])
    _last: Path | None = None
    _lines: list[bytes] = field(default_factory=list[bytes])

    def read(self, shard: Path) -> list[bytes]:
        """The lines of a shard. Raises MemdetectError (error) where it is no longer the one that was judged."""
        if shard != self._last:
            data = read_regular(shard)
            digest = hashlib.sha256(data).hexdigest()
            if self.digests.setdefault(shard, digest) != digest:
                raise MemdetectError(f"{shard} was changed while it was judged; run the same command again", Exit.ERROR)
            self._last, self._lines = shard, data.splitlines()
        return self._lines


@dataclass(frozen=True, slots=True)
class Place:
    """Where a measurement was read: the number of its line in a shard, from 0."""

    shards: Shards
    shard: Path
    number: int

    def read(self) -> Measurement:
        """The measurement, parsed once more."""
        return Measurement.model_validate_json(self.shards.read(self.shard)[self.number])


@lru_cache(1024)
def _far(seeds: tuple[int, ...]) -> tuple[Match, ...]:
    """Training images that tell no more than that these images were looked up; shared by all rows."""
    return tuple(Match(seed=seed, rank=1, key="", similarity=-1.0) for seed in seeds)


def _telling(matches: Sequence[Match]) -> Sequence[Match]:
    """The matches that say more than that an image was looked up; of other images one that says that."""
    told = [m for m in matches if m.copy_found or m.partial_found or m.similar or m.unseen]
    seen = {match.seed for match in told}
    return (*told, *_far(tuple(dict.fromkeys(m.seed for m in matches if m.seed not in seen))))


@dataclass(slots=True)
class Row:
    """A measurement without its cells; scores: of the detectors that decide, in the plan's order.

    matches: those by which an outcome is told, and for any other image that was looked up one that says no more.
    held: the measurement itself, or where it was read. A run of many rows takes little memory, and little for the
    garbage collector to go through: what is empty or alike is shared. decisions: what people decided of it.
    """

    index: int
    id: str
    prompt: str | None
    image: str | None
    sha256: str
    meta: Mapping[str, Any]
    matches: Sequence[Match]
    one_colour: Sequence[int]
    status: Status
    notes: Sequence[str]
    kind: str
    novelty: float | None
    scores: tuple[float | None, ...]
    held: Measurement | Place
    decisions: tuple[Reviewed, ...] = ()

    @property
    def measurement(self) -> Measurement:
        """All that was measured, of a line that was read parsed once more."""
        found = self.held if isinstance(self.held, Measurement) else self.held.read()
        return found if found.index == self.index else found.model_copy(update={"index": self.index})


class Reader:
    """Makes the rows of a plan."""

    def __init__(self, plan: Plan) -> None:
        self._places = {name: plan.places(name) for name in plan.detectors}
        self._deciding = plan.deciding

    def row(self, found: Measurement, held: Place | None = None) -> Row:
        """The row of a measurement; held: where it was read, which is kept in its stead."""
        scores = found.scores
        return Row(
            found.index,
            found.id,
            found.prompt,
            found.image,
            found.sha256,
            found.meta or _NO_COLUMNS,
            _telling(found.matches) if found.matches else (),
            found.one_colour or (),
            found.status,
            found.notes or (),
            found.kind,
            found.novelty,
            tuple([self.score(name, scores.get(name)) for name in self._deciding]),
            held or found,
        )

    def score(self, name: str, held: Score | None) -> float | None:
        """A detector's score of an item: per seed the mean over the plan's places, then by its rule over the seeds.

        None unless each seed of the plan has a finite value in each cell: never an aggregate of what survived.
        """
        if held is None:
            return None
        found, places = held.cells, self._places[name]
        try:
            cells: list[Any] = [found[layer][t] for layer, t in places.cells]
            sums: list[float] = list(map(sum, zip(*cells, strict=True)))
        except (KeyError, TypeError, ValueError):  # no such cell; a value that is None; cells of unequal length
            return None
        if len(sums) != places.num_seeds or not isfinite(sum(sums)):
            return None
        return of_seeds([value / len(cells) for value in sums], places.seeds)


class Records(Sequence[Measurement]):
    """The measurements of a run, each made when it is asked for; their rows are kept."""

    def __init__(self, rows: Sequence[Row], plan: Plan) -> None:
        self.rows = rows
        self.plan = plan

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> Measurement: ...
    @overload
    def __getitem__(self, index: slice) -> list[Measurement]: ...
    def __getitem__(self, index: int | slice) -> Measurement | list[Measurement]:
        if isinstance(index, slice):
            return [row.measurement for row in self.rows[index]]
        return self.rows[index].measurement

    def __iter__(self) -> Iterator[Measurement]:
        return (row.measurement for row in self.rows)


def _read_alike(one: Plan, other: Plan) -> bool:
    ours, theirs = ((p.deciding, [p.places(name) for name in p.deciding]) for p in (one, other))
    return ours == theirs


def rows_of(found: Iterable[Measurement], plan: Plan) -> Sequence[Row]:
    """The rows of measurements for a plan; those of records that were read for such a plan are there already."""
    reader = Reader(plan)
    if isinstance(found, Records) and _read_alike(found.plan, plan):
        return found.rows
    return [reader.row(measurement) for measurement in found]
