"""What a planned scan will be able to show, before its first image."""

from collections.abc import Iterator
from dataclasses import dataclass

from memdetect.calibration import Calibration
from memdetect.policy import Policy
from memdetect.statistics.beta import beta_binomial_cdf
from memdetect.statistics.conformal import rank_at, simes_levels
from memdetect.statistics.multiple import chance_of_top, hits_needed, n_needed
from memdetect.statistics.rates import pass_probability, recommended_families, smallest_clean, smallest_families


@dataclass(frozen=True, slots=True)
class Forecast:
    """What `planned` items of `families` families can show against n clean prompts.

    hits: h, how many have to stand above all clean prompts before any can be found; needed: clean prompts with which
    h is 1. passing: P(no finding and none undecided | nothing memorized); rate_passing: P(within max-rate | the same),
    None without a limit.
    """

    planned: int
    families: int
    n: int
    hits: int
    needed: int
    passing: float
    rate_passing: float | None


def clean_count(calibration: Calibration | None, members: int) -> int:
    """How many clean prompts p-values will rest on: part B, or all where one detector decides and A was drawn."""
    if calibration is None:
        return 0
    every = members == 1 and calibration.parts == "drawn"
    return sum(every or item.part == "B" for item in calibration.items)


def forecast(planned: int, families: int, n: int, policy: Policy) -> Forecast:
    """Work out what a plan can show; n = 0 for a model without clean scores."""
    smallest = simes_levels(n, policy.delta)[0] if policy.delta is not None and n > 1 else None
    hits = hits_needed(n, planned, policy.fdr, smallest)
    needed = n_needed(planned, policy.fdr)
    if not n:
        passing = 0.0
    elif hits > 1:
        passing = 1 - chance_of_top(n, planned)
    else:
        rank = max(1, rank_at(n, policy.fdr / planned))
        passing = beta_binomial_cdf(0, planned, rank, n + 1 - rank)
    limit = policy.max_rate
    rated = pass_probability(families, n, policy.level, limit, policy.confidence) if limit is not None else None
    return Forecast(planned, families, n, hits, needed, passing, rated)


def forecast_lines(found: Forecast, policy: Policy) -> Iterator[str]:
    """The forecast in words, a line each."""
    yield f"plan: {found.planned} items of {found.families} families against {found.n} clean prompts"
    if not found.n:
        yield "there are no clean scores for this model, so that nothing can be decided; run `memdetect calibrate`"
    else:
        yield (
            f"hits needed at a false discovery rate of {policy.fdr:g}: {_count(found.hits)} above every clean prompt; "
            f"{_count(found.needed)} clean prompts would make it 1"
        )
        yield f"P(pass | clean), no finding and none undecided: {found.passing:.2f}"
    limit = policy.max_rate
    if limit is None:
        least = n_needed(1, policy.fdr)
        yield f"smallest scan that can show the policy: 1 item against {_count(least)} clean prompts"
        return
    if found.rate_passing is not None:
        yield f"P(pass | clean), max-rate {limit:g}: {found.rate_passing:.2f}"
    families, clean = smallest_families(limit, policy.confidence), smallest_clean(policy.level, limit)
    more = recommended_families(limit, policy.confidence)
    yield (
        f"smallest scan that can show the policy: {_count(families)} families against {_count(clean)} clean prompts; "
        f"recommended: {_count(more)} against {_count(round(20 / limit) - 1)}"
    )


def _count(number: int) -> str:
    """A count as it is, or its size where nobody reads the digits."""
    return f"{number}" if number < 10**7 else f"{number:.1e}"
