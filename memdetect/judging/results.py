"""What was decided of each item, and the results that are made of it when somebody asks."""

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import overload

from memdetect.judging.calibration import Calibration
from memdetect.judging.ranks import Ranked, ReferenceScores, Unranked, less_base
from memdetect.judging.rows import Reader, Row
from memdetect.runs.plan import Plan
from memdetect.runs.records import COPIES, Measurement, Outcome, Result
from memdetect.runs.review import LIFTED, Ruling, strictest

# Copied for each item: the fields of a measurement were validated when it was read.
_BLANK = Result.model_construct(index=0, id="", source="", outcome="inconclusive")


@dataclass(slots=True)
class Judged:
    """What was decided of a row. score: the one that decides and is ranked; rejected: by Benjamini-Hochberg."""

    row: Row
    score: float | None
    ranked: Ranked
    p: float | None
    rejected: bool
    outcome: Outcome
    reason: str
    suppressed: str = ""

    @property
    def decided(self) -> Ruling | None:
        """What people's decisions come to."""
        return strictest(self.row.decisions)

    @property
    def counted(self) -> Outcome:
        """The outcome that rules count: a copy where a person says so; of what is said to be none, what is left."""
        if self.decided == "copy":
            return "copy"
        if self.decided in LIFTED and self.outcome in COPIES:
            return "suspicious" if self.rejected else "similar"
        return self.outcome

    @property
    def unprovable(self) -> bool:
        """Whether it is said to be no copy, and its score, which no picture can refute, says otherwise."""
        return self.decided in LIFTED and self.counted == "suspicious"


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
