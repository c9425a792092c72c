"""What judging needs of each measurement, kept apart from the cells of its scores, which are read once."""

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from functools import partial
from itertools import repeat
from math import isfinite
from pathlib import Path
from typing import Any, overload

from memdetect.copies.match import Match
from memdetect.judging.columns import Codes, Numbers, Pieces, Shared, Texts
from memdetect.judging.places import Place, Shards
from memdetect.judging.statistics.combine import of_seeds
from memdetect.judging.told import Rest, telling
from memdetect.runs.plan import Plan
from memdetect.runs.records import Measurement, Score, Status
from memdetect.runs.review import Reviewed

_NO_COLUMNS: Mapping[str, Any] = {}


class Row:
    """A measurement without its cells, one of the rows of a run; scores: of the detectors that decide, in their order.

    matches: those by which an outcome is told, and for any other image that was looked up one that says no more.
    decisions: what people decided of it. A row is a view: what it says is kept by `Rows`, in columns.
    """

    __slots__ = ("_place", "_rows")

    def __init__(self, rows: "Rows", place: int) -> None:
        self._rows, self._place = rows, place

    @property
    def index(self) -> int:
        """Its number in the plan."""
        return self._rows.numbers[self._place]

    @property
    def id(self) -> str:
        """Its item."""
        return self._rows.ids[self._place] or ""

    @property
    def prompt(self) -> str | None:
        """What was asked; None of a given image."""
        return self._rows.prompts[self._place]

    @property
    def image(self) -> str | None:
        """The given image; None of a prompt."""
        return self._rows.images[self._place]

    @property
    def sha256(self) -> str:
        """Of a given image."""
        return self._rows.digests[self._place] or ""

    @property
    def meta(self) -> Mapping[str, Any]:
        """Its further columns."""
        return self._rows.rest[self._place].meta

    @property
    def matches(self) -> Sequence[Match]:
        """The training images by which an outcome is told."""
        return self._rows.rest[self._place].matches

    @property
    def one_colour(self) -> Sequence[int]:
        """Which of its images have a single colour."""
        return self._rows.rest[self._place].one_colour

    @property
    def notes(self) -> Sequence[str]:
        """What was noted."""
        return self._rows.rest[self._place].notes

    @property
    def status(self) -> Status:
        """Whether there are values."""
        return self._rows.status[self._place]

    @property
    def kind(self) -> str:
        """Its kind among the clean prompts."""
        return self._rows.kinds[self._place]

    @property
    def novelty(self) -> float | None:
        """How unlike its kind's clean prompts it is."""
        return self._rows.novelties[self._place]

    @property
    def scores(self) -> tuple[float | None, ...]:
        """Of the detectors that decide."""
        return tuple([column[self._place] for column in self._rows.scores])

    @property
    def decisions(self) -> tuple[Reviewed, ...]:
        """What people decided of it."""
        return self._rows.decisions.get(self._place, ())

    @property
    def measurement(self) -> Measurement:
        """All that was measured, of a line that was read parsed once more."""
        held = self._rows.held(self._place)
        return held if held.index == self.index else held.model_copy(update={"index": self.index})


class Rows(Sequence[Row]):
    """The rows of a run, in columns: some 60 bytes an item beside its id, its prompt, and the matches that tell.

    What is empty or alike is shared. A measurement that was read is not kept but its place, one in memory is.
    """

    def __init__(self, deciding: int) -> None:
        self.numbers = Pieces[int](partial(array, "q"))
        self.ids, self.prompts, self.images, self.digests = Texts(), Texts(), Texts(), Texts()
        self.scores = tuple(Numbers() for _ in range(deciding))
        self.status, self.kinds, self.novelties = Codes[Status](), Codes[str](), Numbers()
        self.rest, self._shared, self._metas = Pieces[Rest](list), Shared[Rest](), dict[Any, Mapping[str, Any]]()
        self.decisions: Mapping[int, tuple[Reviewed, ...]] = {}
        self._measured: list[Measurement] = []
        self._files, self._lines = Codes[tuple[int, Path]](), Pieces[int](partial(array, "I"))
        self._shards, self._known = list[Shards](), dict[int, int]()

    def add(self, found: Measurement, scores: Sequence[float | None], place: Place | None) -> None:
        """Take in the next measurement, with its scores; place: where it was read, which is kept in its stead."""
        self.numbers.append(found.index)
        for column, text in zip(
            (self.ids, self.prompts, self.images), (found.id, found.prompt, found.image), strict=True
        ):
            column.append(text)
        self.digests.append(found.sha256)
        for column, score in zip(self.scores, scores, strict=True):
            column.append(score)
        self.status.append(found.status)
        self.kinds.append(found.kind)
        self.novelties.append(found.novelty)
        matches = telling(found.matches) if found.matches else ()
        rest = Rest(self._meta(found.meta), matches, found.one_colour or (), found.notes or ())
        self.rest.append(self._shared.of(rest, *rest))
        self._keep(found, place)

    def _meta(self, meta: Mapping[str, Any]) -> Mapping[str, Any]:
        """The columns of a row, or equal ones of a former row."""
        key = tuple(meta.items())
        if not key or not all(isinstance(value, str) for value in meta.values()):
            return meta or _NO_COLUMNS
        return self._metas.setdefault(key, meta) if len(self._metas) < self._shared.most else self._metas.get(key, meta)

    def _keep(self, found: Measurement, place: Place | None) -> None:
        if place is None:
            self._measured.append(found)
            return
        number = self._known.setdefault(id(place.shards), len(self._shards))
        if number == len(self._shards):
            self._shards.append(place.shards)
        self._files.append((number, place.shard))
        self._lines.append(place.number)

    def held(self, place: int) -> Measurement:
        """The measurement of a row, read again where it was read."""
        if self._measured:
            return self._measured[place]
        shards, shard = self._files[place]
        return Place(self._shards[shards], shard, self._lines[place]).read()

    def changed(self, **columns: Any) -> "Rows":
        """The same rows with other columns: `scores`, `kinds`, `novelties`, `decisions`."""
        made = copy(self)
        for name, column in columns.items():
            setattr(made, name, column)
        return made

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        if isinstance(index, slice):
            return [Row(self, place) for place in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return Row(self, index % len(self))

    def __iter__(self) -> Iterator[Row]:
        return map(Row, repeat(self), range(len(self)))


class Part(Sequence[Row]):
    """Rows of one run of several, from a place on."""

    def __init__(self, rows: Rows, start: int) -> None:
        self._rows, self._places = rows, range(start, len(rows))

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        found = self._places[index]
        return Row(self._rows, found) if isinstance(found, int) else [Row(self._rows, place) for place in found]

    def __iter__(self) -> Iterator[Row]:
        return map(Row, repeat(self._rows), self._places)


class Reader:
    """Makes the rows of a plan."""

    def __init__(self, plan: Plan) -> None:
        self._places = {name: plan.places(name) for name in plan.detectors}
        self._deciding = plan.deciding

    def rows(self) -> Rows:
        """No rows yet."""
        return Rows(len(self._deciding))

    def add(self, rows: Rows, found: Measurement, held: Place | None = None) -> None:
        """Add the row of a measurement; held: where it was read, which is kept in its stead."""
        scores = found.scores
        rows.add(found, [self.score(name, scores.get(name)) for name in self._deciding], held)

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

    def __init__(self, rows: Rows, plan: Plan) -> None:
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


def rows_of(found: Iterable[Measurement], plan: Plan) -> Rows:
    """The rows of measurements for a plan; those of records that were read for such a plan are there already."""
    reader = Reader(plan)
    if isinstance(found, Records) and _read_alike(found.plan, plan):
        return found.rows
    rows = reader.rows()
    for measurement in found:
        reader.add(rows, measurement)
    return rows
