"""judge(): from the records of a run to the outcome of each item and the verdict on all of them."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime

from memdetect.judging.calibration import Calibration
from memdetect.judging.claim import basis, claim, notes
from memdetect.judging.columns import Codes, Filtered, Numbers
from memdetect.judging.deciding import Bar, outcome_of
from memdetect.judging.families import flagging_ranks
from memdetect.judging.findings import Findings
from memdetect.judging.integrity import integrity
from memdetect.judging.lifting import beneath
from memdetect.judging.outcome import OUTCOMES, Tally, Verdict
from memdetect.judging.ranks import (
    Rank,
    ReferenceScores,
    Unranked,
    less_base,
    p_values,
    rank_of,
    reference_scores,
)
from memdetect.judging.results import Items, Judged, Results
from memdetect.judging.reviewing import rulings
from memdetect.judging.rows import Row, Rows, rows_of
from memdetect.judging.rules import rate_of, rules
from memdetect.judging.screen_recall import Asked, Recall, screened_of
from memdetect.judging.search_rules import (
    alike,
    images_of,
    no_threshold,
    parts,
)
from memdetect.judging.sensitivity import sensitivities
from memdetect.judging.shift_rules import shift_of
from memdetect.judging.statistics.conformal import simes_levels, smallest_n
from memdetect.judging.statistics.multiple import benjamini_hochberg, detections_needed, n_needed
from memdetect.judging.statistics.rates import Rate, memorized_share
from memdetect.judging.suppressions import Suppressions, suppressions, with_suppressed
from memdetect.runs.header import Header
from memdetect.runs.plan import Plan
from memdetect.runs.policy import Policy
from memdetect.runs.records import Measurement, Outcome, Result

REFUSAL = 0.05  # chance that any prompt of a known kind is refused


@dataclass(frozen=True, slots=True)
class Beside:
    """What a run is judged by beside its records.

    today, altered: as for `judge`. recall: what a screen is known to keep, and the screen that it has to be of.
    """

    today: date | None = None
    altered: Sequence[str] = ()
    recall: tuple[Recall, Asked] | None = None


def judge(
    header: Header,
    rows: Iterable[Measurement],
    calibration: Calibration | None = None,
    policy: Policy | None = None,
    *,
    today: date | None = None,
    altered: Sequence[str] = (),
) -> tuple[Sequence[Result], Verdict]:
    """Results and verdict of a run's measurements, against clean scores made with the same settings.

    Benjamini-Hochberg at `policy.fdr` over all planned items, those that were never measured with p = 1. `today`
    decides which suppressions have expired (default: the day in UTC). altered: what is not as it was fixed or measured
    (`integrity.altered`), a line each. Pure: reads nothing, writes nothing.
    """
    return judge_with(header, rows, calibration, policy, Beside(today, altered))


def judge_with(
    header: Header,
    rows: Iterable[Measurement],
    calibration: Calibration | None,
    policy: Policy | None,
    beside: Beside,
) -> tuple[Sequence[Result], Verdict]:
    """As `judge`, with what is known of a screen."""
    policy = policy or Policy()
    reference = reference_scores(header.plan, calibration)
    told = told_by(rows_of(rows, header.plan), header, calibration)
    reference = reference if isinstance(reference, Unranked) else reference.of_rows(told)
    screened = screened_of(header, told, *(beside.recall or (None, None)), policy)
    bar = replace(_bar(reference, header, policy), screened=screened)
    own = None if calibration is None or calibration.other_base(header.plan) else calibration  # of these very prompts
    items = _judged(_centred(told, header.plan, own), bar, policy)
    aside = suppressions(policy, items, header, beside.today or datetime.now(UTC).date())
    items = with_suppressed(items, aside)
    known = sensitivities(reference, calibration, policy, header.planned, flagging_ranks(reference, policy))
    verdict = _verdict(Findings(header, items, reference, calibration, known, screened), policy, bar, aside)
    broken = tuple(integrity(beside.altered))
    said = (*(rule.reason for rule in broken), *_strangers(items, bar))
    results = Results(items, header.plan, reference, own)
    return results, replace(verdict, rules=(*verdict.rules, *broken), notes=(*said, *verdict.notes))


def told_by(rows: Rows, header: Header, calibration: Calibration | None) -> Rows:
    """Rows with the kinds that these very clean prompts tell; as they are where they were told by them, or none are."""
    if calibration is None or not calibration.kinds or header.calibration == calibration.cut(header.plan).digest:
        return rows
    try:
        from memdetect.judging.telling import retold

        return retold(rows, calibration)
    except ImportError:  # where only a gate is installed: no kind is known, so that nothing can be ranked
        return rows.changed(kinds=Codes("" for _ in rows), novelties=Numbers(None for _ in rows))


def _centred(rows: Rows, plan: Plan, calibration: Calibration | None) -> Rows:
    """Rows with scores less what the base gives the same prompt; without a base as they are."""
    if calibration is None or not calibration.base:
        return rows
    scores = tuple(
        Numbers(less_base(row.scores[k], name, row.id, calibration) for row in rows)
        for k, name in enumerate(plan.deciding)
    )
    return rows.changed(scores=scores)


def _judged(rows: Rows, bar: Bar, policy: Policy) -> Items:
    """Each row with its score, rank and p-value, whether it is rejected among all of them, and its outcome.

    Without clean scores several detectors are not combined, and the score is that of the first.
    """
    reference = bar.reference
    scores = Numbers(
        reference.score(row.scores) if isinstance(reference, ReferenceScores) else row.scores[0] for row in rows
    )
    asked = zip(rows, scores, _unlike(rows, bar), strict=True)
    ranks = Codes(rank_of(row, score, reference, unlike=new) for row, score, new in asked)  # equal ones once
    p = Numbers(ranks.mapped(p_values(ranks.distinct, policy.delta)))
    rejected = benjamini_hochberg(p, policy.fdr, bar.planned)
    items = Items(rows)
    for row, score, ranked, value, out in zip(rows, scores, ranks, p, rejected, strict=True):
        items.add(score, ranked, value, out, outcome_of(row, ranked, value, out, bar))
    return items.lifted(beneath(items, bar)) if rows.decisions else items


def _unlike(rows: Sequence[Row], bar: Bar) -> list[bool]:
    """Which rows are like no clean prompt: Benjamini-Hochberg over the run, of the conformal p-values of their novelty.

    If all prompts are of kinds that the clean ones have, the chance that any is refused is at most 5 %.
    """
    reference = bar.reference
    if isinstance(reference, Unranked) or not reference.novelties:
        return [False] * len(rows)
    return benjamini_hochberg(Numbers(map(reference.new, rows)), REFUSAL, bar.planned)


def _strangers(items: Sequence[Judged], bar: Bar) -> Iterator[str]:
    """What to know of prompts that are newer than every clean one of their kind, and were not refused."""
    reference = bar.reference
    if isinstance(reference, Unranked) or not reference.novelties:
        return
    tops = {kind: 1 / (len(clean) + 1) for kind, clean in reference.novelties.items()}
    asked, found, chance = 0, 0, 0.0
    for item in items:
        if isinstance(item.ranked, Rank):
            asked, kind, p = asked + 1, item.row.kind, reference.new(item.row)
            found += p is not None and p <= tops[kind]
            chance += tops.get(kind, 0.0)
    if found:
        yield (
            f"{found} of {asked} prompts are less like the clean ones of their kind than any of these, "
            f"by chance {chance:.1f} would be; to tell one takes {smallest_n(REFUSAL / bar.planned)} of its kind"
        )


def _bar(reference: ReferenceScores | Unranked, header: Header, policy: Policy) -> Bar:
    n = 0 if isinstance(reference, Unranked) else reference.n
    smallest = simes_levels(n, policy.delta)[0] if policy.delta is not None and n > 1 else None
    return Bar(
        n=n,
        detections=detections_needed(n, header.planned, policy.fdr, smallest) if n else 0,
        needed=n_needed(header.planned, policy.fdr),
        plan=header.plan,
        planned=header.planned,
        searched=bool(header.index),
        blind=no_threshold(header.index),
        scored=policy.asks_scores,
        fails="suspicious" in policy.failing,
        reference=reference,
    )


def _verdict(found: Findings, policy: Policy, bar: Bar, aside: Suppressions) -> Verdict:
    rate, shift = rate_of(found, policy), shift_of(found)
    asked = rules(found, policy, rate, shift, (bar.detections, bar.needed))
    clean = found.calibration.cut(found.header.plan).digest if found.calibration else ""
    changed = _changed(found.header, policy, clean)
    base = Verdict(
        planned=found.header.planned,
        measured=len(found.items),
        counts=_counts(found.items),
        calibrated=bar.n,
        missing=found.reference.reason if isinstance(found.reference, Unranked) else "",
        unusable=sum(item.row.status not in ("ok", "screened") for item in found.items),
        suppressed=sum(bool(item.suppressed) for item in found.items),
        detections=bar.detections,
        needed=bar.needed,
        fdr=policy.fdr,
        rate=rate,
        shift=shift,
        rules=asked,
        policy=policy.model_dump(mode="json"),
        policy_digest=policy.digest,
        fixed=not changed,
        sensitivity=tuple(found.sensitivity[kind] for kind in found.kinds if kind in found.sensitivity),
        memorized=_memorized(found, rate, policy),
        tally=_tally(found.rows, found.header.plan),
        calibration=clean,
        decided=rulings(found.items),
        screened=bar.screened,
    )
    base = replace(base, basis=basis(base, found.header, found.calibration))
    return replace(base, claim=claim(base, found.header, found.calibration), notes=notes(base, aside, changed))


def _memorized(found: Findings, rate: Rate | None, policy: Policy) -> float | None:
    """Upper bound of the share of memorized families, by the kind of prompt that the score finds worst."""
    if rate is None or not rate.rank or not rate.families or not found.kinds.keys() <= found.sensitivity.keys():
        return None
    known = [found.sensitivity[kind] for kind in found.kinds]
    return max(memorized_share(rate.flagged, rate.families, k.flagged, k.known, policy.confidence) for k in known)


def _changed(header: Header, policy: Policy, clean: str) -> list[str]:
    """What the header named before the first image, and is another now."""
    named = {
        "policy": header.policy_digest == policy.digest,
        "calibration": header.calibration == clean,
        "plan": header.plan_digest == header.plan.digest,
    }
    return [name for name, same in named.items() if not same]


def _counts(items: Iterable[Judged]) -> Mapping[Outcome, int]:
    found = Counter(item.outcome for item in items)
    return {outcome: found[outcome] for outcome in OUTCOMES}


def _tally(rows: Sequence[Row], plan: Plan) -> Tally:
    """What a reader is told of all rows, beside their outcomes."""
    usable = Filtered(rows, lambda row: row.status == "ok")
    status = Counter(row.status for row in rows)
    matched = Filtered(rows, lambda row: bool(row.matches))
    return Tally(
        unreadable=status["unreadable"],
        nonfinite=status["nonfinite"],
        lost=status["lost"],
        truncated=sum(any("truncated" in note for note in row.notes) for row in usable if row.notes),
        images=sum(images_of(row, plan) for row in usable),
        copied=sum(len({match.seed for match in row.matches if match.copy_found}) for row in matched),
        partial=sum(len({match.seed for match in parts(row)}) for row in matched),
        similar=sum(len(alike(row)) for row in matched),
    )
