"""What a run's header says of its screen: by what prompts were chosen to be sampled in full, and which they are."""

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from memdetect.runs.plan import Names, Whole

FOLDER = "screen"  # of the run folder: the screen's own run
RECALL = "screen-recall.json"  # in a run folder: what was known of its screen before its first image
NAMED = "screen:"  # before a detector's name in the record of a prompt that was only screened
Share = Annotated[float, Field(gt=0, lt=1)]
_RANGES = r"^(\d+(-\d+)?(,\d+(-\d+)?)*)?$"


class Screen(BaseModel):
    """How a run's prompts were chosen by the first steps of a sampling run of their own.

    share: of the prompts, the strongest, or p: those with a p-value of at most this; one of the two. detectors, steps,
    num_seeds: of the screen's run, whose plan has the digest `plan`. cutoffs: the score of each detector from which on
    a prompt was chosen, {} for p. calibration: digest of the clean scores that the p-values are of. chosen: positions
    among the run's prompts, from 0, as ranges such as `0-3,7`; count: how many. recall: digest of what was known of the
    screen before the run's first image, "" = nothing.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True, strict=True, allow_inf_nan=False)

    share: Share | None = None
    p: Share | None = None
    detectors: Names
    steps: Whole
    num_seeds: Whole
    plan: str
    cutoffs: dict[str, float] = {}
    calibration: str = ""
    chosen: Annotated[str, Field(pattern=_RANGES)]
    count: Annotated[int, Field(ge=0)]
    recall: str = ""

    @model_validator(mode="after")
    def _one_way(self) -> "Screen":
        if (self.share is None) == (self.p is None):
            raise ValueError("screen names a share and a p, or neither; expected one of the two")
        if len(self.positions) != self.count:
            raise ValueError(f"screen.chosen holds {len(self.positions)} positions, and count says {self.count}")
        return self

    @property
    def positions(self) -> list[int]:
        """The positions of the chosen prompts, ascending."""
        return unpacked(self.chosen)

    @property
    def way(self) -> Literal["share", "p"]:
        """Which of the two chooses."""
        return "share" if self.p is None else "p"

    @property
    def phrase(self) -> str:
        """By what the prompts were screened, in words."""
        how = f"the strongest {self.share:.4g}" if self.p is None else f"p at most {self.p:.4g}"
        return f"{' or '.join(self.detectors)} at the first of {self.steps} steps, {how}"


def packed(positions: Iterable[int]) -> str:
    """Ascending positions as ranges: 0, 1, 2, 7 are `0-2,7`."""
    ranges: list[list[int]] = []
    for position in positions:
        if ranges and position == ranges[-1][1] + 1:
            ranges[-1][1] = position
        else:
            ranges.append([position, position])
    return ",".join(f"{low}" if low == high else f"{low}-{high}" for low, high in ranges)


def unpacked(ranges: str) -> list[int]:
    """The positions of ranges that `packed` made."""
    found: list[int] = []
    for part in ranges.split(",") if ranges else ():
        low, _, high = part.partition("-")
        found += range(int(low), int(high or low) + 1)
    return found
