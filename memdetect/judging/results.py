"""What was decided of each item, and the results that are made of it when somebody asks."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from itertools import repeat
from operator import itemgetter
from typing import overload

from memdetect.judging.calibration import Calibration
from memdetect.judging.columns import Codes, Numbers, Pieces
from memdetect.judging.ranks import Ranked, ReferenceScores, Unranked, less_base
from memdetect.judging.rows import Reader, Row, Rows
from memdetect.runs.plan import Plan
from memdetect.runs.policy import Policy
from memdetect.runs.records import Measurement, Outcome, Result
from memdetect.runs.review import LIFTED, Ruling, is_lifted, strictest

# Copied for each item: the fields of a measurement were validated when it was read.
_BLANK = Result.model_construct(index=0, id="", source="", outcome="inconclusive")


Told = tuple[Outcome, str]  # an outcome, and the reason


@dataclass(slots=True)
class Judged:
    """What was decided of a row. score: the one that decides and is ranked; rejected: by Benjamini-Hochberg.

    beneath: what is left of a copy, whole or in part, that people say is none; None of any other item.
    """

    row: Row
    score: float | None
    ranked: Ranked
    p: float | None
    rejected: bool
    outcome: Outcome
    reason: str
    suppressed: str = ""
    beneath: Told | None = None

    @property
    def decided(self) -> Ruling | None:
        """What people's decisions come to."""
        return strictest(self.row.decisions)

    @property
    def lifted(self) -> bool:
        """Whether people say that it is no copy, of every training image that it seems to repeat."""
        decisions = self.row.decisions
        return bool(decisions) and is_lifted(decisions, self.row.matches)

    @property
    def known(self) -> Told:
        """What is known of it, and the reason: of a copy that people say is none, what is left."""
        return self.beneath or (self.outcome, self.reason)

    @property
    def counted(self) -> Outcome:
        """The outcome that rules count: a copy where a person says so; of what is said to be none, what is left."""
        return "copy" if self.decided == "copy" else self.known[0]

    @property
    def unprovable(self) -> bool:
        """Whether it is said to be no copy, and its score, which no picture can refute, says otherwise."""
        return self.decided in LIFTED and self.counted == "suspicious"

    def fails(self, policy: Policy) -> bool:
        """Whether it is a finding that the policy fails on and nobody answers for."""
        return not self.suppressed and self.counted in policy.failing and not self.unprovable


class Items(Sequence[Judged]):
    """What was decided of each row, in columns: some 40 bytes an item; each is made when it is asked for."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self._scores, self._p, self._rejected = Numbers(), Numbers(), Pieces[int](bytearray)
        self._ranked, self._told = Codes[Ranked](), Codes[Told]()
        self._suppressed: Mapping[int, str] = {}
        self._beneath: Mapping[int, Told] = {}

    def add(self, score: float | None, ranked: Ranked, p: float | None, rejected: bool, told: Told) -> None:
        """What was decided of the next row; told: its outcome and the reason."""
        self._scores.append(score)
        self._ranked.append(ranked)
        self._p.append(p)
        self._rejected.append(rejected)
        self._told.append(told)

    def suppressed(self, answers: Mapping[int, str]) -> "Items":
        """The same, with who answers for a finding, by its place."""
        made = copy(self)
        made._suppressed = answers
        return made

    def lifted(self, beneath: Mapping[int, Told]) -> "Items":
        """The same, with what is left of copies that people say are none, by their place."""
        made = copy(self)
        made._beneath = beneath
        return made

    def __len__(self) -> int:
        return len(self._rejected)

    @overload
    def __getitem__(self, index: int) -> Judged: ...
    @overload
    def __getitem__(self, index: slice) -> list[Judged]: ...
    def __getitem__(self, index: int | slice) -> Judged | list[Judged]:
        places = range(len(self))[index]
        return self._item(places) if isinstance(places, int) else list(map(self._item, places))

    def __iter__(self) -> Iterator[Judged]:
        outcomes, reasons = (map(itemgetter(k), self._told) for k in (0, 1))
        answers = map(self._suppressed.get, range(len(self)), repeat("")) if self._suppressed else repeat("")
        beneath = map(self._beneath.get, range(len(self))) if self._beneath else repeat(None)
        flags, ranked = map(bool, self._rejected), self._ranked
        return map(Judged, self.rows, self._scores, ranked, self._p, flags, outcomes, reasons, answers, beneath)

    def _item(self, place: int) -> Judged:
        outcome, reason = self._told[place]
        return Judged(
            self.rows[place],
            self._scores[place],
            self._ranked[place],
            self._p[place],
            bool(self._rejected[place]),
            outcome,
            reason,
            self._suppressed.get(place, ""),
            self._beneath.get(place),
        )


class Mapped(Sequence[Result]):
    """Results that are changed as they are asked for; what they are listed by, outcome and score, stays.

    made: of a result and its place the changed one.
    """

    def __init__(self, base: Sequence[Result], made: Callable[[int, Result], Result]) -> None:
        self.base, self._made = base, made

    def __len__(self) -> int:
        return len(self.base)

    @overload
    def __getitem__(self, index: int) -> Result: ...
    @overload
    def __getitem__(self, index: slice) -> list[Result]: ...
    def __getitem__(self, index: int | slice) -> Result | list[Result]:
        places = range(len(self))[index]
        return self._made(places, self.base[places]) if isinstance(places, int) else [self[place] for place in places]

    def __iter__(self) -> Iterator[Result]:
        return map(self._made, range(len(self)), self.base)


class Results(Sequence[Result]):
    """The results of a run in the order of its rows, each made when it is asked for.

    Each detector's own score and p-value describe; they are worked out here, for no decision rests on them. reference:
    the clean scores that the items were ranked among.
    """

    def __init__(
        self, items: Sequence[Judged], plan: Plan, reference: ReferenceScores | Unranked, made: Calibration | None
    ) -> None:
        self.items = items
        self.reference = reference
        self._plan, self._made = plan, made
        self._reader = Reader(plan)

    def __len__(self) -> int:
        return len(self.items)

    @overload
    def __getitem__(self, index: int) -> Result: ...
    @overload
    def __getitem__(self, index: slice) -> list[Result]: ...
    def __getitem__(self, index: int | slice) -> Result | list[Result]:
        if isinstance(index, slice):
            return [self._result(item) for item in self.items[index]]
        return self._result(self.items[index])

    def __iter__(self) -> Iterator[Result]:
        return map(self._result, self.items)

    def plain(self, index: int) -> Result:
        """A result without the p-values that describe, for which each detector's clean scores would be gone through."""
        return self._result(self.items[index], described=False)

    def scores(self, *, own: bool) -> Iterator[Mapping[str, float | None]]:
        """Of each result the score that decides, `combined`; own: with each detector's, for which it is read again."""
        for item in self.items:
            yield {"combined": item.score, **(self._own(item.row.measurement) if own else {})}

    def _result(self, item: Judged, *, described: bool = True) -> Result:
        found = item.row.measurement
        own = self._own(found)
        made = copy(_BLANK)
        vars(made).update(
            vars(found),
            judged={"combined": item.score, **own},
            p={"combined": item.p, **(self._own_p(item.row, found, own) if described else {})},
            outcome=item.outcome,
            reason=item.reason,
            suppressed=item.suppressed,
            decisions=list(item.row.decisions),
        )
        return made

    def _own(self, found: Measurement) -> dict[str, float | None]:
        names = dict.fromkeys([*self._plan.deciding, *self._plan.detectors])
        scores = {name: self._reader.score(name, found.scores.get(name)) for name in names}
        return {name: less_base(score, name, found.id, self._made) for name, score in scores.items()}

    def _own_p(self, row: Row, found: Measurement, own: Mapping[str, float | None]) -> dict[str, float | None]:
        reference = self.reference
        if isinstance(reference, Unranked) or row.prompt is None:
            return dict.fromkeys(found.scores)
        stratum = reference.stratum(row)
        return {name: reference.own_p(name, own[name], stratum) for name in self._plan.detectors}
