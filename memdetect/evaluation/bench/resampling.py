"""Intervals by drawing families anew: of the TPR at a fixed FPR, and of the difference of two detectors.

Families that both sides share are drawn for both at once, those of one side among themselves, so that no draw lacks a
side. Draws are of one seed: the same scores give the same interval, and two detectors are compared on the same draws.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from memdetect.evaluation.estimates import FEWEST, LEVEL, Sample, tpr_at_fpr
from memdetect.judging.statistics.auroc import clustered_variance
from memdetect.judging.statistics.beta import interval, t_quantile

DRAWS = 2000
ABOVE = 3  # negatives that may pass; with one, intervals of 95 % cover 78 to 92 % in simulations

Weights = tuple[Float[np.ndarray, "draw positive"], Float[np.ndarray, "draw negative"]]


@dataclass(frozen=True, slots=True)
class Tpr:
    """Positives above the smallest threshold that flags at most `level` of the negatives, and its 95 % interval.

    found: None where fewer than 1 / level negatives cannot resolve the level. low, high: None where fewer than
    three negatives may pass, for the rate at such a threshold may be anything, or a side has fewer than ten families.
    """

    level: float
    found: int | None
    positives: int
    false: int | None
    negatives: int
    low: float | None = None
    high: float | None = None

    @property
    def share(self) -> float | None:
        """Share of the positives that is found."""
        return None if self.found is None else self.found / self.positives


def draws_of(families: tuple[Sequence[str], Sequence[str]], draws: int | None = None, seed: int = 0) -> Weights:
    """How often each draw of families takes each item of two sides; of 2,000 draws where nothing else is asked."""
    draws = draws or DRAWS
    first, second = families
    names, every = np.unique([*first, *second], return_inverse=True)
    own, other = every[: len(first)], every[len(first) :]
    kinds = np.isin(np.arange(len(names)), own) + 2 * np.isin(np.arange(len(names)), other)
    rng = np.random.default_rng(seed)
    counts = np.zeros((draws, len(names)))
    for kind in (1, 2, 3):
        members = np.flatnonzero(kinds == kind)
        if members.size:
            shares = np.full(members.size, 1 / members.size)
            counts[:, members] = rng.multinomial(members.size, shares, draws)
    return counts[:, own], counts[:, other]


def tpr_of(positive: Sample, negative: Sample, level: float) -> Tpr:
    """The TPR at a false-positive rate that is counted on these negatives, with the hull of two intervals by families.

    That of families drawn anew, which moves the threshold as well, and Korn and Graubard's of the share found, which
    does not vanish where all of them, or none, are.
    """
    if len(negative) * level < 1 - 1e-9:
        return Tpr(level, None, len(positive), None, len(negative))
    found, false = tpr_at_fpr(positive.scores, negative.scores, level)
    made = Tpr(level, found, len(positive), false, len(negative))
    families = min(len(set(positive.families)), len(set(negative.families)))
    if families < FEWEST or len(negative) * level < ABOVE - 1e-9:
        return made
    drawn = drawn_tprs(positive, negative, level)
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    threshold = sorted(negative.scores, reverse=True)[math.floor(level * len(negative) + 1e-9)]
    fixed = share_interval([float(s > threshold) for s in positive.scores], positive.families)
    return Tpr(level, found, len(positive), false, len(negative), min(float(low), fixed[0]), max(float(high), fixed[1]))


def drawn_tprs(positive: Sample, negative: Sample, level: float) -> Float[np.ndarray, " draw"]:
    """The TPR at a false-positive rate in each draw of families, with the threshold of that draw."""
    own, other = draws_of((positive.families, negative.families))
    order = np.argsort(-np.asarray(negative.scores), kind="stable")
    down = np.asarray(negative.scores, float)[order]
    taken = np.cumsum(other[:, order], axis=1)
    allowed = np.floor(level * taken[:, -1] + 1e-9)
    at = (taken > allowed[:, None]).argmax(axis=1)  # the first that would be one too many is the threshold
    ranked = np.argsort(-np.asarray(positive.scores), kind="stable")
    above = np.searchsorted(-np.asarray(positive.scores, float)[ranked], -down, side="left")  # positives > each score
    sums = np.concatenate([np.zeros((len(own), 1)), np.cumsum(own[:, ranked], axis=1)], axis=1)
    return sums[np.arange(len(own)), above[at]] / sums[:, -1]


def share_interval(hits: Sequence[float], families: Sequence[str]) -> tuple[float, float]:
    """95 % interval of a share whose items come in families: Clopper-Pearson with the effective number of items.

    Korn and Graubard (1998): n_e = p (1 - p) / V * (t_(n-1) / t_(F-1))^2, in [1, n], V by families; F where p is 0 or
    1.
    """
    n, p, count = len(hits), sum(hits) / len(hits), len(set(families))
    if p in (0.0, 1.0) or count < 2:
        return interval(p * count, count)
    spread = clustered_variance(hits, families)
    ratio = t_quantile(0.975, n - 1) / t_quantile(0.975, count - 1)
    effective = n if spread <= 0 else min(n, max(1.0, p * (1 - p) / spread * ratio**2))
    return interval(p * effective, effective)


def drawn_areas(positive: Sample, negative: Sample) -> Float[np.ndarray, " draw"]:
    """The AUROC in each draw of families, ties counted half."""
    own, other = draws_of((positive.families, negative.families))
    first, second = np.asarray(positive.scores, float)[:, None], np.asarray(negative.scores, float)[None, :]
    wins = (first > second) + 0.5 * (first == second)
    return ((own @ wins) * other).sum(axis=1) / (own.sum(axis=1) * other.sum(axis=1))


@dataclass(frozen=True, slots=True)
class Difference:
    """One number of a detector less that of another on the same prompts, with its 95 % interval over families.

    low, high: None where all draws give the same, as where both separate everything: such draws know no doubt.
    """

    value: float
    low: float | None
    high: float | None

    @property
    def shown(self) -> bool:
        """Whether there is an interval and it leaves out 0."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def difference(own: Float[np.ndarray, " draw"], other: Float[np.ndarray, " draw"], value: float) -> Difference:
    """The difference `value` of two numbers, with the percentile interval of their draws, pair by pair."""
    apart = own - other
    if np.ptp(apart) == 0:
        return Difference(value, None, None)
    low, high = np.quantile(apart, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Difference(value, min(value, float(low)), max(value, float(high)))
