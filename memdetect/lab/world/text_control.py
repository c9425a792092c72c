"""Can the captions alone tell memorized prompts from their controls? They must not, or a detector could read them.

The text classifier that `scan` warns of a distribution shift with, cross-fitted with whole families left out. Scores of
one fold share what they learned from, so that no interval for independent scores holds; the AUROC is compared with
those of shuffled labels. p: share of shuffles in which the captions tell at least as much. The same can be asked of the
assignments that other seeds of the bundled world make, without shuffles: fair ones have a mean AUROC of 0.5.
"""

from collections.abc import Iterator, Sequence
from statistics import mean, stdev

import numpy as np

from memdetect.errors import MemdetectError
from memdetect.evaluation.text_control import Captions, Told
from memdetect.inputs.prompts import Request
from memdetect.lab.world.compared import PAIRS
from memdetect.lab.world.labelled import Counts, make_world
from memdetect.lab.world.pictures import NAMES
from memdetect.lab.world.stock import load_clips

SHUFFLES = 200
FEWEST = 10


def captions(items: Sequence[Request], positive: str, rival: str) -> Captions:
    """The captions of two groups; MemdetectError when one of them has fewer than ten."""
    rows = [row for row in items if row.meta.get("group") in (positive, rival)]
    labels = np.array([row.meta["group"] == positive for row in rows], bool)
    if min(labels.sum(), (~labels).sum()) < FEWEST:
        raise MemdetectError(f"fewer than ten captions are of {positive} or of {rival}; give the labelled prompts")
    return Captions([row.prompt or "" for row in rows], [str(row.meta["family"]) for row in rows], labels)


def compare(items: Sequence[Request], positive: str, rival: str, shuffles: int = SHUFFLES) -> Told:
    """The two groups by their captions, against as many shuffles of the labels."""
    return captions(items, positive, rival).told(shuffles)


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
