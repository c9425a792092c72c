"""What is said of each detector, on the test split: how well it separates, what it would find, what style alone gives.

Nothing here is chosen: the variant of each detector and the detector that others are compared with are those of the
tuning split, and p-values rank among the clean prompts of the calibration split.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from memdetect.evaluation.bench.asked import FEWEST, Comparison, Labelled
from memdetect.evaluation.bench.choosing import LEVELS, Chosen
from memdetect.evaluation.bench.resampling import Difference, Tpr, difference, drawn_areas, tpr_of
from memdetect.evaluation.estimates import FEWEST as FEWEST_FAMILIES
from memdetect.evaluation.estimates import Estimate, Sample, estimate
from memdetect.judging.statistics.auroc import auroc
from memdetect.judging.statistics.conformal import p_value
from memdetect.judging.statistics.multiple import benjamini_hochberg, detections_needed

FDR = 0.05


@dataclass(frozen=True, slots=True)
class Against:
    """A positive group against others: area, shares found at fixed rates, and the area less that of the best detector.

    behind: None of the best itself, and where too few families have scores of both.
    """

    area: Estimate
    tprs: tuple[Tpr, ...]
    behind: Difference | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """What a scan of the positives among clean prompts would flag at a false discovery rate of 5 %.

    m: prompts of that scan, n: families of clean prompts that they are ranked among, needed: how many have to stand
    above all of these before any can be flagged.
    """

    found: int
    false: int
    positives: int
    m: int
    n: int
    needed: int


@dataclass(frozen=True, slots=True)
class Row:
    """A detector and a comparison. style: prompts of another kind against clean ones. lost: prompts without a score."""

    detector: str
    comparison: Comparison
    control: Against | None
    clean: Against | None
    found: Found | None
    style: Estimate | None
    lost: int


def rows_of(chosen: Sequence[Chosen], labels: Labelled) -> list[Row]:
    """A row for each comparison and each detector, the best on the tuning split first."""
    best = chosen[0]
    return [_row(each, best, comparison, labels) for comparison in labels.asked.compared for each in chosen]


def ordered(chosen: Sequence[Chosen]) -> list[Chosen]:
    """The detectors by what they were chosen by on the tuning split, the best first; of equals in the given order."""
    return sorted(chosen, key=lambda each: -each.tuning)


def _row(own: Chosen, best: Chosen, comparison: Comparison, labels: Labelled) -> Row:
    clean = labels.asked.clean
    control = _against(own, best, (comparison.positive, [comparison.control]), labels) if comparison.control else None
    strange = labels.asked.style or ((comparison.control,) if comparison.control else ())
    tested = [i for group in (comparison.positive, comparison.control) for i in labels.ids([group], "test")]
    tested += labels.ids(clean, "test")
    return Row(
        own.detector,
        comparison,
        control,
        _against(own, best, (comparison.positive, clean), labels) if clean else None,
        found_of(own.scores, comparison.positive, labels) if clean else None,
        _style(own.scores, strange, labels) if clean and strange else None,
        sum(i not in own.scores for i in tested),
    )


def _against(own: Chosen, best: Chosen, sides: tuple[str, Sequence[str]], labels: Labelled) -> Against | None:
    """Positives against rivals; None where fewer than two of a side have a score."""
    positive, rivals = sides
    first, second = (labels.sample(own.scores, groups, "test") for groups in ([positive], rivals))
    if min(len(first), len(second)) < FEWEST:
        return None
    tprs = tuple(tpr_of(first, second, level) for level in LEVELS)
    behind = None if own is best else behind_best(own.scores, best.scores, sides, labels)
    return Against(estimate(first, second), tprs, behind)


def behind_best(
    own: Mapping[str, float], best: Mapping[str, float], sides: tuple[str, Sequence[str]], labels: Labelled
) -> Difference | None:
    """The area of a detector less that of another, on the prompts that both have scores of, drawn in pairs.

    None where a side has fewer than ten families of these.
    """
    shared = own.keys() & best.keys()
    pairs: list[tuple[Sample, Sample]] = []
    for scores in (own, best):
        kept = {name: scores[name] for name in shared}
        pairs.append((labels.sample(kept, [sides[0]], "test"), labels.sample(kept, sides[1], "test")))
    if min(len(set(side.families)) for side in pairs[0]) < FEWEST_FAMILIES:
        return None
    areas = [auroc(first.scores, second.scores) for first, second in pairs]
    return difference(drawn_areas(*pairs[0]), drawn_areas(*pairs[1]), areas[0] - areas[1])


def found_of(scores: Mapping[str, float], positive: str, labels: Labelled) -> Found | None:
    """Positives and clean prompts of the test split ranked among those of the calibration split, one a family of these.

    A prompt without a score counts as one that is not flagged. None without clean scores to rank among.
    """
    clean = labels.asked.clean
    reference = sorted(one_a_family(scores, labels.ids(clean, "calibration"), labels.families))
    if not reference:
        return None
    own, rest = labels.ids([positive], "test"), labels.ids(clean, "test")
    p = [p_value(reference, scores[i]) if i in scores else None for i in (*own, *rest)]
    flagged = benjamini_hochberg(p, FDR, len(p))
    found, false = sum(flagged[: len(own)]), sum(flagged[len(own) :])
    return Found(found, false, len(own), len(p), len(reference), detections_needed(len(reference), len(p), FDR))


def one_a_family(scores: Mapping[str, float], ids: Sequence[str], families: Mapping[str, str]) -> list[float]:
    """The score of one prompt of each family: that with the smallest sha256 of its id."""
    kept: dict[str, str] = {}
    for name in sorted((i for i in ids if i in scores), key=lambda i: hashlib.sha256(i.encode()).digest()):
        kept.setdefault(families[name], name)
    return [scores[name] for name in kept.values()]


def _style(scores: Mapping[str, float], groups: Sequence[str], labels: Labelled) -> Estimate | None:
    """Groups that nobody memorized against clean prompts: near 0.5 where a detector does not react to style."""
    first, second = labels.sample(scores, groups, "test"), labels.sample(scores, labels.asked.clean, "test")
    return estimate(first, second) if min(len(first), len(second)) >= FEWEST else None
