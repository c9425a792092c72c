"""What calibrated p-values keep and find: realised false-positive rates, and power for each labelled group.

Clean prompts that no choice was made on are ranked among the calibration's: their share below a level has to lie in its
beta-binomial interval, and over many re-splits of all clean scores as often as that interval says. Labelled groups are
judged as scans of their own, once among their controls and once among the clean prompts, so that m, m1, n and h are
those of the figure.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from memdetect.errors import MemdetectError
from memdetect.evaluation.groups import item_family, splits
from memdetect.judging import Runs, judge
from memdetect.judging.calibration import Calibration
from memdetect.judging.ranks import ReferenceScores, Unranked, rank_of, reference_scores
from memdetect.judging.rows import Rows, rows_of
from memdetect.judging.statistics.beta import beta_binomial_cdf, beta_binomial_interval, interval
from memdetect.judging.statistics.conformal import rank_at
from memdetect.judging.verdict import told_by
from memdetect.runs.header import Header
from memdetect.runs.policy import Policy
from memdetect.runs.records import Measurement

LEVELS = (0.01, 0.05, 0.10)
SPLITS = 200


@dataclass(frozen=True, slots=True)
class Realised:
    """Clean prompts flagged at a level: x of m, the 95 % interval of counts, and the exact two-sided tail of x.

    kind: among which they are ranked, "" where there is one.
    """

    level: float
    rank: int
    x: int
    m: int
    n: int
    low: int
    high: int
    tail: float
    kind: str = ""

    @property
    def inside(self) -> bool:
        """Whether x is in its interval."""
        return self.low <= self.x <= self.high

    def __str__(self) -> str:
        return (
            f"{_of(self.kind)}p <= {self.level:g}: {self.x} of {self.m} clean prompts ({self.x / self.m:.2%}), "
            f"n = {self.n}, j = {self.rank}; 95 % beta-binomial [{self.low}, {self.high}]: "
            f"{'inside' if self.inside else 'OUTSIDE'}, two-sided tail {self.tail:.3g}"
        )


@dataclass(frozen=True, slots=True)
class Resplits:
    """Re-splits of all clean scores into n and m: mean flagged share, and how many fell outside the 95 % interval."""

    level: float
    splits: int
    share: float
    outside: int
    expected: float
    kind: str = ""

    def __str__(self) -> str:
        return (
            f"{_of(self.kind)}p <= {self.level:g} over {self.splits} re-splits: mean {self.share:.2%}, "
            f"{self.outside} outside their interval, {self.expected * self.splits:.1f} expected"
        )


def _of(kind: str) -> str:
    return f"{kind}: " if kind else ""


@dataclass(frozen=True, slots=True)
class Power:
    """Found of m1 positives among m prompts at the policy's false discovery rate, and false findings."""

    group: str
    among: str
    m: int
    m1: int
    n: int
    h: int
    found: int
    undecided: int
    false: int

    @property
    def bounds(self) -> tuple[float, float]:
        """Clopper-Pearson 95 % interval of the share found."""
        return interval(self.found, self.m1)

    def line(self, fdr: float) -> str:
        """All of it in one line; `fdr`: the rate that it was judged at."""
        low, high = self.bounds
        return (
            f"{self.group} among {self.among}: {self.found} of {self.m1} found at FDR {fdr:g} "
            f"[{low:.2f}, {high:.2f}], {self.undecided} undecided, {self.false} false; m = {self.m}, "
            f"m1 = {self.m1}, n = {self.n}, h = {self.h}"
        )


@dataclass(frozen=True, slots=True)
class Wanted:
    """Of which labelled prompts the power is taken, and how.

    pairs: a group and its controls; those of which the run holds no group are left out. parts: those that count, where
    the prompts have one of them. test_split: of prompts without parts, only the test split counts, drawn by hash.
    """

    pairs: Mapping[str, str]
    parts: tuple[str, ...] = ()
    test_split: bool = False


def rates(clean: Runs, splits: int = SPLITS, levels: Sequence[float] = LEVELS) -> tuple[list[Realised], list[Resplits]]:
    """Realised rates of clean prompts at each level, within each kind, and re-splits at those levels that n allows.

    Kinds are those that these clean scores tell. Raises MemdetectError for a run without calibration, and for a prompt
    without a rank.
    """
    reference = reference_scores(clean.header.plan, clean.calibration)
    if isinstance(reference, Unranked):
        raise MemdetectError(reference.reason)
    found: list[Realised] = []
    again: list[Resplits] = []
    for kind, (ranks, values) in _clean_ranks(_told(clean, clean.calibration), reference).items():
        own, n = reference.by_stratum[kind], len(reference.by_stratum[kind])
        said = f"kind {kind}" if len(reference.by_stratum) > 1 else ""
        found += [replace(realised(ranks, n, level), kind=said) for level in levels]
        again += [
            replace(resplits([*own, *values], n, level, splits), kind=said) for level in levels if rank_at(n, level)
        ]
    return found, again


def realised(ranks: Sequence[int], n: int, level: float) -> Realised:
    """Count ranks within the level and compare with what a beta-binomial allows."""
    j, m = rank_at(n, level), len(ranks)
    x = sum(rank <= j for rank in ranks)
    if j == 0:
        return Realised(level, 0, 0, m, n, 0, 0, 1.0)
    low, high = beta_binomial_interval(m, j, n + 1 - j)
    below, above = beta_binomial_cdf(x, m, j, n + 1 - j), 1 - beta_binomial_cdf(x - 1, m, j, n + 1 - j)
    return Realised(level, j, x, m, n, low, high, min(1.0, 2 * min(below, above)))


def resplits(scores: Sequence[float], n: int, level: float, splits: int, seed: int = 0) -> Resplits:
    """Split all clean scores at random into n and the rest, again and again, and count what is flagged."""
    rng, pool = random.Random(seed), list(scores)
    j, m = rank_at(n, level), len(scores) - n
    low, high = beta_binomial_interval(m, j, n + 1 - j)
    shares, outside = 0, 0
    for _ in range(splits):
        rng.shuffle(pool)
        limit = sorted(pool[:n], reverse=True)[j - 1]
        x = sum(score > limit for score in pool[n:])
        shares += x
        outside += not low <= x <= high
    tail = beta_binomial_cdf(low - 1, m, j, n + 1 - j) + 1 - beta_binomial_cdf(high, m, j, n + 1 - j)
    return Resplits(level, splits, shares / splits / m, outside, tail)


def powers(labelled: Runs, clean: Runs | None, wanted: Wanted, policy: Policy) -> list[Power]:
    """Power for each group that is asked for, among its controls and among the clean prompts.

    The kinds of both runs are those that the labelled run's clean scores tell. Raises MemdetectError for a run without
    calibration, or with none of these groups.
    """
    rows: Sequence[Measurement] = labelled.rows
    if wanted.test_split:
        families = {row.id: item_family(row.id, row.meta) for row in rows}
        kept = splits({row.id: str(row.meta.get("group", "")) for row in rows}, families)[1]
        rows = [row for row in rows if row.id in kept]
    groups = by_group(rows, wanted.parts)
    if labelled.calibration is None or not set(wanted.pairs) & set(groups):
        raise MemdetectError(
            f"the labelled run has the groups {sorted(groups)}, expected some of {sorted(wanted.pairs)}"
        )
    others, made = _of_kinds(clean, labelled.calibration) if clean else [], list[Power]()
    for group, control in wanted.pairs.items():
        for among, negatives in ((control, groups.get(control, [])), ("clean", others)):
            if groups.get(group) and negatives:
                sides = (groups[group], negatives)
                made.append(power(labelled.header, sides, labelled.calibration, (group, among), policy))
    return made


def power(
    header: Header,
    sides: tuple[Sequence[Measurement], Sequence[Measurement]],
    calibration: Calibration,
    names: tuple[str, str],
    policy: Policy,
) -> Power:
    """Judge positives among negatives as one scan, by their scores alone: what an index found is left out."""
    positives, negatives = sides
    rows = [row.model_copy(update={"index": i, "matches": []}) for i, row in enumerate([*positives, *negatives])]
    results, verdict = judge(header.model_copy(update={"planned": len(rows)}), rows, calibration, policy)
    own, rest = results[: len(positives)], results[len(positives) :]
    return Power(
        *names,
        len(rows),
        len(positives),
        verdict.calibrated,
        verdict.detections,
        sum(row.outcome == "suspicious" for row in own),
        sum(row.outcome == "inconclusive" for row in own),
        sum(row.outcome == "suspicious" for row in rest),
    )


def by_group(rows: Sequence[Measurement], parts: Sequence[str] = ()) -> dict[str, list[Measurement]]:
    """Rows by their group; where some are of the parts asked for, those and the ones without a part."""
    divided = any(row.meta.get("part") in parts for row in rows)
    found: dict[str, list[Measurement]] = {}
    for row in rows:
        if not divided or row.meta.get("part") in (*parts, None):
            found.setdefault(str(row.meta.get("group", "")), []).append(row)
    return found


def _told(run: Runs, calibration: Calibration | None) -> Rows:
    """The rows of a run with the kinds that these clean scores tell."""
    return told_by(rows_of(run.rows, run.header.plan), run.header, calibration)


def _of_kinds(run: Runs, calibration: Calibration) -> list[Measurement]:
    """The same as measurements."""
    told = _told(run, calibration)
    pairs = zip(run.rows, told, strict=True)
    return [row.model_copy(update={"kind": own.kind, "novelty": own.novelty}) for row, own in pairs]


def _clean_ranks(rows: Rows, reference: ReferenceScores) -> dict[str, tuple[list[int], list[float]]]:
    """Ranks and combined scores of clean prompts of each kind; MemdetectError for one that has none."""
    found: dict[str, tuple[list[int], list[float]]] = {}
    for row in rows:
        value = reference.score(row.scores)
        ranked = rank_of(row, value, reference)
        if isinstance(ranked, Unranked) or value is None:
            raise MemdetectError(f"clean prompt {row.id} cannot be ranked: {ranked}")
        ranks, values = found.setdefault(reference.stratum(row), ([], []))
        ranks.append(ranked.rank)
        values.append(value)
    return dict(sorted(found.items()))
