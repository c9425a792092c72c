"""What calibrated p-values keep and find: realised false-positive rates, and power for each labelled group.

Clean prompts that no choice was made on are ranked among the calibration's: their share below a level has to lie in its
beta-binomial interval, and over many re-splits of all clean scores as often as that interval says. Labelled groups are
judged as scans of their own, once among their controls and once among the clean prompts, so that m, m1, n and h are
those of the figure.
"""

import argparse
import json
import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from memdetect.errors import MemdetectError
from memdetect.evaluation import halves
from memdetect.judging import judge, read_runs
from memdetect.judging.calibration import Calibration
from memdetect.judging.ranks import Null, Unranked, make_null, rank_of
from memdetect.judging.rows import rows_of
from memdetect.judging.statistics.beta import beta_binomial_cdf, beta_binomial_interval, interval
from memdetect.judging.statistics.conformal import rank_at
from memdetect.runs.header import Header
from memdetect.runs.policy import Policy
from memdetect.runs.records import Measurement

LEVELS = (0.01, 0.05, 0.10)
CONTROLS = {
    "matched": "control",
    "duplicated": "control",
    "verbatim": "verbatim-control",
    "template": "template-control",
}


@dataclass(frozen=True, slots=True)
class Realised:
    """Clean prompts flagged at a level: x of m, the 95 % interval of counts, and the exact two-sided tail of x."""

    level: float
    rank: int
    x: int
    m: int
    n: int
    low: int
    high: int
    tail: float

    @property
    def inside(self) -> bool:
        """Whether x is in its interval."""
        return self.low <= self.x <= self.high


@dataclass(frozen=True, slots=True)
class Resplits:
    """Re-splits of all clean scores into n and m: mean flagged share, and how many fell outside the 95 % interval."""

    level: float
    splits: int
    share: float
    outside: int
    expected: float


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


def power(
    header: Header,
    positives: Sequence[Measurement],
    negatives: Sequence[Measurement],
    calibration: Calibration,
    names: tuple[str, str],
    policy: Policy,
) -> Power:
    """Judge the positives among the negatives as one scan, by their scores alone: what an index found is left out."""
    rows = [row.model_copy(update={"index": i, "matches": []}) for i, row in enumerate([*positives, *negatives])]
    results, verdict = judge(header.model_copy(update={"planned": len(rows)}), rows, calibration, policy)
    own, rest = results[: len(positives)], results[len(positives) :]
    return Power(
        *names,
        len(rows),
        len(positives),
        verdict.calibrated,
        verdict.hits,
        sum(row.outcome == "suspicious" for row in own),
        sum(row.outcome == "inconclusive" for row in own),
        sum(row.outcome == "suspicious" for row in rest),
    )


def groups_of(rows: Sequence[Measurement], part: str) -> Mapping[str, list[Measurement]]:
    """Rows by their group; where rows have parts, those of the part asked for."""
    divided = any(row.meta.get("part") == part for row in rows)
    found: dict[str, list[Measurement]] = {}
    for row in rows:
        if not divided or row.meta.get("part") in (part, "report", None):
            found.setdefault(str(row.meta.get("group", "")), []).append(row)
    return found


def clean_ranks(rows: Sequence[Measurement], header: Header, null: Null) -> tuple[list[int], list[float]]:
    """Ranks and combined scores of clean prompts; MemdetectError for one that has none."""
    ranks: list[int] = []
    values: list[float] = []
    for row in rows_of(rows, header.plan):
        value = null.score(row.scores)
        ranked = rank_of(row, value, null)
        if isinstance(ranked, Unranked) or value is None:
            raise MemdetectError(f"clean prompt {row.id} cannot be ranked: {ranked}")
        ranks.append(ranked.rank)
        values.append(value)
    return ranks, values


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures; 1 when a realised rate at a level is outside its 95 % interval."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clean", type=Path, help="run of clean report prompts")
    parser.add_argument("--labelled", type=Path, help="run of labelled prompts with a column `group`")
    parser.add_argument("--calibration", type=Path, help="clean scores, instead of those in the runs")
    parser.add_argument("--part", default="reporting", help="part of the labelled prompts that figures are of")
    parser.add_argument(
        "--half", action="store_true", help="of prompts without parts, the half by hash that nothing was chosen on"
    )
    parser.add_argument("--splits", type=int, default=200)
    parser.add_argument("--fdr", type=float, default=0.05)
    parser.add_argument("--json", type=Path, help="write all figures here")
    given = parser.parse_args(arguments)
    try:
        return report(given)
    except MemdetectError as problem:
        parser.error(str(problem))


def report(given: argparse.Namespace) -> int:
    """Work everything out and print it."""
    run = read_runs([given.clean], given.calibration)
    null = make_null(run.header.plan, run.calibration)
    if isinstance(null, Unranked):
        raise MemdetectError(null.reason)
    if run.calibration is None or len(null.by_stratum) != 1:
        raise MemdetectError("strata are not compared here; judge them one by one")
    ranks, values = clean_ranks(run.rows, run.header, null)
    held = next(iter(null.by_stratum.values()))
    rates = [realised(ranks, null.n, level) for level in LEVELS]
    for found in rates:
        print(
            f"p <= {found.level:g}: {found.x} of {found.m} clean prompts ({found.x / found.m:.2%}), n = {found.n}, "
            f"j = {found.rank}; 95 % beta-binomial [{found.low}, {found.high}]: "
            f"{'inside' if found.inside else 'OUTSIDE'}, two-sided tail {found.tail:.3g}"
        )
    again = [resplits([*held, *values], null.n, level, given.splits) for level in LEVELS if rank_at(null.n, level)]
    for split in again:
        print(
            f"p <= {split.level:g} over {split.splits} re-splits: mean {split.share:.2%}, {split.outside} outside "
            f"their interval, {split.expected * split.splits:.1f} expected"
        )
    powers = labelled(given, run.rows) if given.labelled else []
    for found in powers:
        low, high = found.bounds
        print(
            f"{found.group} among {found.among}: {found.found} of {found.m1} found at FDR {given.fdr:g} "
            f"[{low:.2f}, {high:.2f}], {found.undecided} undecided, {found.false} false; m = {found.m}, "
            f"m1 = {found.m1}, n = {found.n}, h = {found.h}"
        )
    if given.json:
        table = {"rates": rates, "resplits": again, "power": powers}
        text = {key: [asdict(entry) for entry in entries] for key, entries in table.items()}
        given.json.write_text(json.dumps(text, indent=1) + "\n", encoding="utf-8")
    return int(not all(found.inside for found in rates if found.rank))


def labelled(given: argparse.Namespace, clean: Sequence[Measurement]) -> list[Power]:
    """Power for each group that has controls, among these and among the clean prompts."""
    run = read_runs([given.labelled], given.calibration)
    rows = run.rows
    if given.half:
        kept = halves({row.id: str(row.meta.get("group", "")) for row in rows})[1]
        rows = [row for row in rows if row.id in kept]
    groups, policy = groups_of(rows, given.part), Policy(fdr=given.fdr)
    if run.calibration is None or not set(CONTROLS) & set(groups):
        raise MemdetectError(f"{given.labelled} has the groups {sorted(groups)}, expected some of {sorted(CONTROLS)}")
    made = []
    for group, control in CONTROLS.items():
        for among, rows in ((control, groups.get(control, [])), ("clean", list(clean))):
            if groups.get(group) and rows:
                made.append(power(run.header, groups[group], rows, run.calibration, (group, among), policy))
    return made


if __name__ == "__main__":
    sys.exit(main())
