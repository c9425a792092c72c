"""How well the text of prompts alone tells two groups apart: what a detector could read instead of memorization.

The text classifier that `scan` warns of a distribution shift with, cross-fitted with whole families left out. Scores of
one fold share what they learned from, so that no interval for independent scores holds; the AUROC is compared with
those of shuffled labels.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from memdetect.evaluation.estimates import shuffle
from memdetect.judging.statistics.auroc import auroc
from memdetect.judging.text_shift import cross_fitted


@dataclass(frozen=True, slots=True)
class Told:
    """AUROC of captions by models that saw none of their family, and where 95 % of shuffled labels leave it.

    p: share of shuffles in which the captions tell at least as much.
    """

    auroc: float
    low: float
    high: float
    p: float

    def __str__(self) -> str:
        return f"{self.auroc:.3f} (shuffled labels: {self.low:.3f} to {self.high:.3f}; p = {self.p:.3f})"


@dataclass(frozen=True, slots=True)
class Captions:
    """Captions of two groups: texts, the family of each, and which belong to the first."""

    texts: list[str]
    families: list[str]
    labels: Bool[np.ndarray, " item"]

    def area(self, labels: Bool[np.ndarray, " item"], seed: int) -> float:
        """Cross-fitted AUROC under some labels; the log-odds of all folds are ranked together."""
        scores = np.array(cross_fitted(self.texts, labels.astype(int).tolist(), self.families, seed))
        return auroc(scores[labels].tolist(), scores[~labels].tolist())

    def told(self, shuffles: int) -> Told:
        """The two groups by their captions, against as many shuffles of the labels."""
        families = np.unique(self.families, return_inverse=True)[1]
        area, rng = self.area(self.labels, 0), np.random.default_rng(0)
        shuffled = np.array([self.area(shuffle(rng, self.labels, families), k + 1) for k in range(shuffles)])
        low, high = np.quantile(shuffled, [0.025, 0.975])
        return Told(area, float(low), float(high), float((1 + (shuffled >= area).sum()) / (1 + shuffles)))
