"""What a planned scan will be able to show, before its first image."""

import json
from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from memdetect.copies.match import Match
from memdetect.inputs.wording import Worded
from memdetect.judging.calibration import Calibration
from memdetect.judging.ranks import SMALLEST_KIND, SMALLEST_STRATUM, ReferenceScores, Unranked, reference_scores
from memdetect.judging.rounds_of_base import ranked_rounds, rounds_to_rank
from memdetect.judging.screen_recall import Asked, Recall
from memdetect.judging.screened import as_screened
from memdetect.judging.statistics.beta import beta_binomial_cdf
from memdetect.judging.statistics.conformal import rank_at, simes_levels
from memdetect.judging.statistics.multiple import chance_of_top, detections_needed, n_needed
from memdetect.judging.statistics.rates import pass_probability, recommended_families, smallest_clean, smallest_families
from memdetect.judging.telling import kinds_in, told_fields
from memdetect.judging.verdict import Beside, judge_with
from memdetect.runs.header import Header
from memdetect.runs.policy import Policy
from memdetect.runs.records import COPIES, Measurement, Score

_ULP = 1 + 1e-9


@dataclass(frozen=True, slots=True)
class Forecast:
    """What `planned` items of `families` families can show against n clean prompts.

    detections: h, how many have to stand above all clean prompts before any can be found; needed: clean prompts with
    which h is 1. passing: P(no finding by scores and none undecided | nothing memorized); rate_passing: P(within
    max-rate | the same), None without a limit. obstacles: why not even a run whose every score is ordinary and whose
    every image was searched would pass, in the words of the rules that judge it.
    """

    planned: int
    families: int
    n: int
    detections: int
    needed: int
    passing: float
    rate_passing: float | None
    obstacles: tuple[str, ...] = ()


def clean_count(
    calibration: Calibration | None, deciding: int, *, banked: bool = False, present: Collection[str] = ()
) -> int:
    """How many clean prompts p-values will rest on: the calibration split, or all where one detector decides alone.

    All of them only where the splits were drawn, and neither a bank nor several kinds rest on the tuning split. Of
    several kinds or strata the smallest that is ranked in; present: those that are scanned, () = any.
    """
    if calibration is None:
        return 0
    every = deciding == 1 and calibration.parts == "drawn" and not banked and len(calibration.kinds) < 2
    asked = [item for item in calibration.items if item.stratum or not calibration.kinds]
    kept = [item.stratum for item in asked if every or item.part == "calibration"]
    held = Counter(name for name in kept if not present or name in present).values()
    least = SMALLEST_STRATUM if calibration.strata else SMALLEST_KIND
    return min((n for n in held if n >= least), default=max(held, default=0))


def forecast(planned: int, families: int, n: int, policy: Policy) -> Forecast:
    """Work out what a plan can show; n = 0 for a model without clean scores."""
    levels = simes_levels(n, policy.delta) if policy.delta is not None and n > 1 else None
    detections = detections_needed(n, planned, policy.fdr, levels[0] if levels else None)
    needed = n_needed(planned, policy.fdr)
    if not n or detections > planned:
        passing = 0.0
    elif detections > 1:
        passing = 1 - chance_of_top(n, planned)
    else:
        alone = policy.fdr / planned * _ULP
        rank = max(1, rank_at(n, policy.fdr / planned) if levels is None else bisect_right(levels, alone))
        passing = beta_binomial_cdf(0, planned, rank, n + 1 - rank)
    limit = policy.max_rate
    rated = pass_probability(families, n, policy.level, limit, policy.confidence) if limit is not None else None
    return Forecast(planned, families, n, detections, needed, passing, rated)


def too_few_rounds(prompts: int, rounds: int, policy: Policy, deciding: int = 1) -> str:
    """What to say before a base draws each prompt too few times for scores to find a single one; "" otherwise.

    deciding: how many detectors decide.
    """
    found = forecast(prompts, prompts, prompts * ranked_rounds(rounds, deciding), policy)
    if found.detections <= 1 or policy.fail_on in COPIES:
        return ""
    return (
        f"{rounds} rounds of the base for {prompts} prompts: scores can find no single memorized prompt, it takes "
        f"{found.detections} at once, and the run will be inconclusive; give "
        f"--base-rounds {rounds_to_rank(found.needed, prompts, deciding)}, or --fail-on copy with an index"
    )


def with_obstacles(
    found: Forecast,
    header: Header,
    items: Sequence[Worded],
    made: Calibration | None,
    recall: tuple[Recall, Asked] | None = None,
) -> Forecast:
    """The forecast with what `judge` says of an ideal run of these items: one without anything to find.

    recall: what its screen is known to keep.
    """
    rows = list(_ideal(header, items, reference_scores(header.plan, made), made))
    if header.screen:
        chosen = set(header.screen.positions)
        rows = [row if row.index in chosen else as_screened(row) for row in rows]
    policy = Policy.model_validate_json(json.dumps(header.policy))
    _, verdict = judge_with(header, rows, made, policy, Beside(recall=recall))
    if verdict.verdict == "pass":
        return found
    return replace(found, obstacles=tuple(verdict.reasons), passing=0.0)


def _ideal(
    header: Header, items: Sequence[Worded], reference: ReferenceScores | Unranked, made: Calibration | None
) -> Iterator[Measurement]:
    """Rows of a clean run: scores spread evenly over the clean ones of their kind, images far from training images."""
    plan, far = header.plan, Match(rank=1, key="", similarity=-1.0)
    told = told_fields([item.prompt or "" for item in items], kinds_in(made))
    for i, item in enumerate(items):
        stratum = str(item.meta.get(plan.strata, "")) if plan.strata else told[i].get("kind", "")
        scores = {name: _ordinary(name, (i + 0.5) / len(items), reference, stratum) for name in plan.detectors}
        cells: dict[str, dict[str, dict[str, list[float | None]]]] = {
            name: _cells(plan.readings[name].places, [x] * plan.num_seeds)
            for name, x in scores.items()
            if x is not None
        }
        images = plan.num_seeds if item.prompt is not None else 1
        yield Measurement(
            index=i,
            id=f"planned-{i}",
            prompt=item.prompt,
            image=None if item.prompt is not None else "planned",
            source="",
            meta=dict(item.meta),
            scores={name: Score(score=scores[name], cells=own) for name, own in cells.items()},
            **told[i],
            matches=[far.model_copy(update={"seed": k}) for k in range(images)] if header.index else [],
        )


def _cells(places: Sequence[tuple[str, str]], values: list[float | None]) -> dict[str, dict[str, list[float | None]]]:
    found: dict[str, dict[str, list[float | None]]] = {}
    for layer, timestep in places:
        found.setdefault(layer, {})[timestep] = values
    return found


def _ordinary(name: str, share: float, reference: ReferenceScores | Unranked, stratum: str) -> float | None:
    """The clean score of a stratum that a share of it lies below, and never the highest."""
    if isinstance(reference, Unranked) or not (own := reference.own(name, stratum)):
        return None
    return own[min(int(share * len(own)), max(len(own) - 2, 0))]


def forecast_lines(found: Forecast, policy: Policy, *, based: bool = False) -> Iterator[str]:
    """The forecast in words, a line each; based: whether a base draws what the prompts are ranked among."""
    yield f"plan: {found.planned} items of {found.families} families against {found.n} clean prompts"
    if not found.n:
        yield "there are no clean scores for this plan, so that nothing can be decided; run `memdetect calibrate`"
    else:
        yield (
            f"minimum number of detections at a false discovery rate of {policy.fdr:g}: {_count(found.detections)} "
            f"above every clean prompt; {_count(found.needed)} clean prompts would make it 1"
        )
        yield f"P(pass | clean), no finding by scores and none undecided: {found.passing:.2f}"
    for reason in found.obstacles:
        yield f"not even a clean model can pass: {reason}"
    limit = policy.max_rate
    if limit is None:
        least = max(n_needed(1, policy.fdr), 0 if based or not policy.asks_scores else SMALLEST_KIND)
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
