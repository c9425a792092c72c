"""Can the captions alone tell memorized prompts from their controls? They must not, or a detector could read them.

The text classifier that `scan` warns of a distribution shift with, cross-fitted with whole families left out. Scores of
one fold share what they learned from, so that no interval for independent scores holds; the AUROC is compared with
those of shuffled labels. p: share of shuffles in which the captions tell at least as much. The same can be asked of the
assignments that other seeds of the bundled world make, without shuffles: fair ones have a mean AUROC of 0.5.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import mean, stdev

import numpy as np
from jaxtyping import Bool

from memdetect.errors import MemdetectError
from memdetect.evaluation import shuffle
from memdetect.inputs.prompts import Request
from memdetect.judging.statistics.auroc import auroc
from memdetect.judging.text_shift import cross_fitted
from memdetect.lab.world.compared import PAIRS
from memdetect.lab.world.labelled import Counts, make_world
from memdetect.lab.world.pictures import NAMES
from memdetect.lab.world.stock import load_clips

SHUFFLES = 200
FEWEST = 10


@dataclass(frozen=True, slots=True)
class Told:
    """AUROC of captions by models that saw none of their family, and where 95 % of shuffled labels leave it."""

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


def captions(items: Sequence[Request], positive: str, rival: str) -> Captions:
    """The captions of two groups; MemdetectError when one of them has fewer than ten."""
    rows = [row for row in items if row.meta.get("group") in (positive, rival)]
    labels = np.array([row.meta["group"] == positive for row in rows], bool)
    if min(labels.sum(), (~labels).sum()) < FEWEST:
        raise MemdetectError(f"fewer than ten captions are of {positive} or of {rival}; give the labelled prompts")
    return Captions([row.prompt or "" for row in rows], [str(row.meta["family"]) for row in rows], labels)


def compare(items: Sequence[Request], positive: str, rival: str, shuffles: int = SHUFFLES) -> Told:
    """The two groups by their captions, against as many shuffles of the labels."""
    found = captions(items, positive, rival)
    families = np.unique(found.families, return_inverse=True)[1]
    area, rng = found.area(found.labels, 0), np.random.default_rng(0)
    shuffled = np.array([found.area(shuffle(rng, found.labels, families), k + 1) for k in range(shuffles)])
    low, high = np.quantile(shuffled, [0.025, 0.975])
    return Told(area, float(low), float(high), float((1 + (shuffled >= area).sum()) / (1 + shuffles)))


def compared(items: Sequence[Request], shuffles: int = SHUFFLES) -> Iterator[str]:
    """A line for each group and rival of a world that are among the prompts."""
    for positive, rival in PAIRS:
        if {positive, rival} <= {row.meta.get("group") for row in items}:
            yield f"{positive} against {rival}: {compare(items, positive, rival, shuffles)}"


def assignments(count: int) -> Iterator[str]:
    """AUROC of the first pair in the bundled world as each seed assigns it; their mean with its standard error."""
    areas: list[float] = []
    for seed in range(count):
        found = captions(bundled(seed), *PAIRS[0])
        areas.append(found.area(found.labels, 0))
        yield f"seed {seed}: {areas[-1]:.3f}"
    yield f"mean {mean(areas):.3f}, standard error {stdev(areas) / count**0.5:.3f}"


def bundled(seed: int) -> list[Request]:
    """The labelled captions of the bundled world under another seed."""
    entries = make_world(seed, Counts(clean=0), names=NAMES, clips=list(load_clips())).labelled
    return [Request(e.id, e.caption, None, "world", None, {"group": e.group, "family": e.family}) for e in entries]
