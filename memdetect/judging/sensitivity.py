"""How often the deciding score would have noticed a prompt that this very model is known to have memorized."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from memdetect.judging.calibration import Calibration
from memdetect.judging.ranks import Rank, Ranked, ReferenceScores, Unranked, p_values
from memdetect.judging.statistics.beta import lower_bound
from memdetect.judging.statistics.combine import of_seeds
from memdetect.judging.statistics.conformal import rank
from memdetect.runs.policy import Policy

CONFIDENCE = 0.95
_ULP = 1 + 1e-9


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """Memorized prompts of one kind that the score notices: `noticed` of `known`, one a family.

    noticed: if a run of this size had held that one memorized prompt, it would not have passed: the prompt is found
    alone, or stands above every clean one. low: lower 95 % bound of that share (Clopper-Pearson, one-sided), in [0, 1].
    flagged: of the same prompts, those above the level at which rates count.
    """

    kind: str
    known: int
    noticed: int
    flagged: int
    low: float

    @property
    def phrase(self) -> str:
        """The share in words."""
        return f"{self.noticed} of {self.known} memorized prompts of kind {self.kind}, at least {self.low:.0%}"


def sensitivities(
    reference: ReferenceScores | Unranked,
    calibration: Calibration | None,
    policy: Policy,
    planned: int,
    limits: Mapping[int, int],
) -> dict[str, Sensitivity]:
    """Sensitivity by kind, of a run of `planned` prompts; {} where no memorized prompt is known, or scores are missing.

    limits: n -> the largest rank that counts as flagged. Against a base nothing is known: its scores are differences.
    """
    if calibration is None or isinstance(reference, Unranked) or calibration.base or not calibration.known:
        return {}
    ranks = list(_ranks(reference, calibration))
    if not ranks:
        return {}
    p = p_values(ranks, policy.delta)
    found: dict[str, Sensitivity] = {}
    for kind in dict.fromkeys(item.kind for item in calibration.known):
        own = [(r, q) for item, r, q in zip(calibration.known, ranks, p, strict=True) if item.kind == kind]
        noticed = sum(_noticed(r, q, policy.fdr, planned) for r, q in own)
        flagged = sum(isinstance(r, Rank) and r.rank <= limits.get(r.n, 0) for r, _ in own)
        found[kind] = Sensitivity(kind, len(own), noticed, flagged, lower_bound(noticed, len(own), CONFIDENCE))
    return found


def _noticed(ranked: Ranked, p: float | None, fdr: float, planned: int) -> bool:
    if isinstance(ranked, Unranked) or p is None:
        return False
    return ranked.rank == 1 or p * planned <= fdr * _ULP


def _ranks(reference: ReferenceScores, calibration: Calibration) -> Iterator[Ranked]:
    """Rank of each known memorized prompt; nothing at all where scores of a detector that decides are missing."""
    scores: dict[str, list[float]] = {}
    for name in reference.deciding:
        places = reference.plan.places(name)
        rows = calibration.known_seeds(name, places)
        if rows is None:
            return
        scores[name] = [of_seeds(row, places.seeds) for row in rows]
    for i, item in enumerate(calibration.known):
        yield _rank(reference, item.stratum, [own[i] for own in scores.values()])


def _rank(reference: ReferenceScores, stratum: str, scores: Sequence[float]) -> Ranked:
    clean: Sequence[float] | None = reference.by_stratum.get(stratum if reference.strata or reference.novelties else "")
    score = reference.score(scores)
    if clean is None or score is None:
        return Unranked("no clean prompts of its stratum")
    return Rank(rank(clean, score), len(clean))
