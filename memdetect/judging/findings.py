"""What the rules judge: every item of a run as it was judged, and what it was judged by."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from memdetect.inputs.wording import family_key, kind_of
from memdetect.judging.calibration import Calibration
from memdetect.judging.families import is_copied
from memdetect.judging.outcome import Screened
from memdetect.judging.ranks import Rank, ReferenceScores, Unranked
from memdetect.judging.results import Items
from memdetect.judging.rows import Rows
from memdetect.judging.sensitivity import Sensitivity
from memdetect.runs.header import Header
from memdetect.runs.policy import Policy


@dataclass(frozen=True)
class Findings:
    """What the rules judge: every item as it was judged, and what it was judged by.

    sensitivity: of the deciding score, by kind of prompt; kinds of which no memorized prompt is known are not there.
    screened: what a screen left out, None = nothing.
    """

    header: Header
    items: Items
    reference: ReferenceScores | Unranked
    calibration: Calibration | None
    sensitivity: Mapping[str, Sensitivity]
    screened: Screened | None = None

    @property
    def left(self) -> int:
        """How many prompts were only screened."""
        return self.screened.left if self.screened else 0

    @property
    def rows(self) -> Rows:
        """The rows of the items."""
        return self.items.rows

    def ranked(self) -> list[Rank]:
        """Ranks of the items that have one and were not rejected."""
        return [item.ranked for item in self.items if isinstance(item.ranked, Rank) and not item.rejected]

    def failing(self, policy: Policy) -> Counter[str]:
        """Findings, as people's decisions leave them, that the policy fails on and nobody answers for."""
        return Counter(item.counted for item in self.items if item.fails(policy))

    @cached_property
    def kinds(self) -> Counter[str]:
        """How many items there are of each kind of prompt."""
        return Counter(kind_of(item.row.meta) for item in self.items)

    @cached_property
    def copied(self) -> set[str]:
        """The families with a copy, whole or in part, found or decided to be one."""
        return {family_key(item.row.meta, item.row.prompt) for item in self.items if is_copied(item)}
