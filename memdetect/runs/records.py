"""What is kept of one item: what was measured, and what was decided of it; one line of JSON each."""

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from memdetect.copies.match import Match
from memdetect.runs.review import Reviewed, Ruling, fingerprint, is_lifted, strictest

SCHEMA = 1
Status = Literal["ok", "nonfinite", "unreadable", "lost", "screened"]
Outcome = Literal["copy", "partial-copy", "suspicious", "similar", "clear", "inconclusive"]
FINDINGS: Sequence[Outcome] = ("copy", "partial-copy", "suspicious", "similar")  # the worst first
COPIES: Sequence[Outcome] = FINDINGS[:2]  # a training image comes back, whole or in part


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class Score(_Strict):
    """A detector's score of one item; `cells` holds its parts: layer -> timestep -> one value for each seed."""

    score: float | None
    cells: dict[str, dict[str, list[float | None]]]


class Measurement(_Strict):
    """What was measured of one item; one line of a shard. Higher scores = more memorized; None = not finite.

    sha256: of the file of a given image, or over those of the pictures that were given for a prompt. kind, novelty: of
    the prompt among the clean ones, as `judging.kinds` tells them. one_colour: which of its images have a single
    colour, counted from 0. status: `lost` = whoever measured it died, each time; `screened` = only by its first steps,
    whose scores stand under `screen:NAME`, and no image was made.
    """

    schema_version: int = SCHEMA
    index: int
    id: str
    prompt: str | None = None
    image: str | None = None
    sha256: str = ""
    source: str
    line: int | None = None
    meta: dict[str, Any] = {}
    seeds: list[int] = []
    scores: dict[str, Score] = {}
    files: list[str] = []
    matches: list[Match] = []
    one_colour: list[int] = []
    status: Status = "ok"
    notes: list[str] = []
    kind: str = ""
    novelty: float | None = None


class Result(Measurement):
    """A measurement and what was decided of it; one line of results.jsonl.

    p: `combined`, which decides, and each detector's own, which describes. judged: the scores that these are of, less
    what a base gives the same prompt; without clean scores `combined` is that of the first detector that decides.
    suppressed: who answers for the finding. decisions: what people decided of it, from the files given to a gate.
    """

    judged: dict[str, float | None] = {}
    p: dict[str, float | None] = {}
    outcome: Outcome
    reason: str = ""
    suppressed: str = ""
    decisions: list[Reviewed] = []

    @property
    def decided(self) -> Ruling | None:
        """What people's decisions come to."""
        return strictest(self.decisions)

    @property
    def ranked_as(self) -> Outcome:
        """The outcome by which it is listed: its own, or that of a copy where a person says that it is one."""
        return "copy" if self.decided == "copy" else self.outcome

    @property
    def lifted(self) -> bool:
        """Whether people say that it is no copy, of every training image that it seems to repeat."""
        return is_lifted(self.decisions, self.matches)

    @property
    def fingerprint(self) -> str:
        """What the finding is about, in 16 hex digits."""
        return fingerprint(self.prompt, self.sha256, self.matches)

    @property
    def score(self) -> float | None:
        """What was ranked to decide."""
        return self.judged.get("combined")
