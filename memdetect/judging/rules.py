"""What a gate asks of a run. Every rule that cannot be decided is inconclusive, never passed."""

from collections import Counter
from dataclasses import replace

from memdetect.inputs.wording import worded
from memdetect.judging.calibration.banked import TOLERATED, removed_in_bank, said_of_bank
from memdetect.judging.columns import distinct
from memdetect.judging.families import families_of, flagging_ranks
from memdetect.judging.findings import Findings
from memdetect.judging.outcome import Rule, Shift
from memdetect.judging.ranks import SMALLEST_KIND, SMALLEST_TUNING, Rank, ReferenceScores, Unranked
from memdetect.judging.results import Judged
from memdetect.judging.reviewing import review_rules
from memdetect.judging.rounds_of_base import ranked_rounds, rounds_to_rank
from memdetect.judging.screen_recall import screen_rule
from memdetect.judging.search_rules import ONE_COLOUR, in_one_colour, index_rules
from memdetect.judging.shift_rules import shift_rule
from memdetect.judging.statistics.conformal import smallest_conditional_n, smallest_n
from memdetect.judging.statistics.rates import Rate, count_rate, flagging_level, smallest_clean, smallest_families
from memdetect.runs.policy import Policy
from memdetect.runs.records import COPIES, FINDINGS

FAILING = FINDINGS[:3]  # what some policy fails on


def rate_of(found: Findings, policy: Policy) -> Rate | None:
    """Families with an item flagged at the fixed level, or a copy, also in part, among those that could be judged.

    None without p-values, and where prompts were only screened: those that were not are the strongest.
    """
    if isinstance(found.reference, Unranked) or found.left:
        return None
    limits = flagging_ranks(found.reference, policy)
    flagged, families = families_of(found.items, limits)
    n = found.reference.n
    made = count_rate(flagged, families, n, policy.level, policy.confidence, policy.max_rate)
    return replace(made, rank=limits[n], copies=len(found.copied))


def rules(found: Findings, policy: Policy, rate: Rate | None, shift: Shift, bar: tuple[int, int]) -> tuple[Rule, ...]:
    """Every rule that holds for this policy, decided. bar: minimum number of detections, and clean prompts for one."""
    scored = policy.asks_scores
    made = [_complete(found), _findings(found, policy, shift)]
    if scored:
        made += [_calibrated(found, policy, bar), shift_rule(shift), _unresolved(found, bar[1])]
        made += [] if found.header.index else [_sensitivity(found, policy)]
    made += [_undetectable(found, policy), *index_rules(found.header, found.items, policy)]
    made += [*screen_rule(found.screened), *review_rules(found.items, policy)]
    if policy.max_rate is not None:
        made.append(_max_rate(found, policy, rate, shift))
    return tuple(made)


def _complete(found: Findings) -> Rule:
    measured, planned = distinct(lambda: (row.id for row in found.rows)), found.header.planned
    if len(found.items) != measured:
        return Rule("complete", "inconclusive", f"{len(found.items) - measured} items are in the records twice")
    if measured == planned > 0:
        return Rule("complete", "pass", "", measured, planned)
    reason = (
        f"{measured} of {planned} planned items were measured; run the same scan again to resume, or join it by "
        "memdetect merge with the runs that hold the rest"
    )
    return Rule("complete", "inconclusive", reason, measured, planned)


def _findings(found: Findings, policy: Policy, shift: Shift) -> Rule:
    failing = found.failing(policy)
    said = " and ".join(f"{failing[name]} {name}" for name in policy.failing if failing[name])
    total = failing.total()
    if not total:
        return Rule("findings", "pass", "", 0, 0)
    if not any(failing[name] for name in COPIES) and shift.warning:
        reason = f"{said}, but under a distribution-shift warning only copies count; see there"
        return Rule("findings", "inconclusive", reason, total, 0)
    return Rule("findings", "fail", f"{said} among {found.header.planned}", total, 0)


def _calibrated(found: Findings, policy: Policy, bar: tuple[int, int]) -> Rule:
    if isinstance(found.reference, Unranked):
        return Rule("calibration", "inconclusive", found.reference.reason)
    n, detections = found.reference.n, bar[0]
    if detections > found.header.planned:
        least = smallest_n(policy.fdr) if policy.delta is None else smallest_conditional_n(policy.fdr, policy.delta)
        reason = f"{n} clean prompts can show nothing at a false discovery rate of {policy.fdr:g}, at least {least} can"
        return Rule("calibration", "inconclusive", f"{reason}; calibrate with more", n, least)
    if detections > 1 and found.calibration and found.calibration.base:
        reason = f"one memorized prompt cannot be found among {found.header.planned}: it takes {detections} at once"
        cure = f"give --base-rounds {_rounds(found, n, bar[1])}, or --fail-on copy with an index"
        return Rule("calibration", "inconclusive", f"{reason}; {cure}", n, bar[1])
    if found.reference.conditioned is False and not found.reference.checked:
        reason = (
            "the reference scores are of the model's own images, not searched for copies: what it repeats is among them"
        )
        return Rule("calibration", "inconclusive", f"{reason}; calibrate with --index", n)
    if blind := _tells_no_kinds(found, found.reference):
        return Rule("calibration", "inconclusive", f"{blind}; calibrate with more", n, SMALLEST_KIND)
    if found.header.plan.bank and len(back := removed_in_bank(found.calibration)) > TOLERATED:
        reason = f"{said_of_bank(back)}: what resembles them scores low; take them out and calibrate again"
        return Rule("calibration", "inconclusive", reason, len(back), TOLERATED)
    return Rule("calibration", "pass", "", n)


def _rounds(found: Findings, n: int, needed: int) -> int:
    """How many rounds of the base give `needed` scores to rank among, where those that were drawn gave n."""
    deciding = len(found.header.plan.deciding)
    held = found.calibration.provenance.get("rounds") if found.calibration else None
    each = n / ranked_rounds(held, deciding) if isinstance(held, int) and held > 1 else found.header.planned
    return rounds_to_rank(needed, each, deciding)


def _tells_no_kinds(found: Findings, reference: ReferenceScores) -> str:
    """Why a prompt unlike the clean ones would be ranked among them; "" where it would not, or strata or a base say."""
    clean = found.calibration
    if clean is None or clean.base or reference.conditioned is False or reference.strata:
        return ""
    if reference.n < SMALLEST_KIND:
        return f"{reference.n} clean prompts are too few to go by, at least {SMALLEST_KIND} are asked for"
    if reference.novelties or clean.kinds:
        return ""
    tuning = sum(item.part == "tuning" for item in clean.items)
    if clean.parts == "given" and tuning < SMALLEST_TUNING:
        return f"kinds of prompts were not looked for, since {tuning} of {SMALLEST_TUNING} that it takes are for tuning"
    if tuning and any(worded(one.prompt or "") for one in (*found.rows, *clean.items)):
        return (
            "the clean prompts tell no kinds, so that a prompt unlike them is not refused; "
            f"it takes {SMALLEST_TUNING} with words for tuning"
        )
    return ""


def _unresolved(found: Findings, needed: int) -> Rule:
    top = sum(_on_top(item) and item.known[0] not in COPIES for item in found.items)
    if not top:
        return Rule("resolution", "pass", "", 0, 0)
    reason = f"{top} above every clean prompt cannot be decided; it takes {needed} clean prompts"
    return Rule("resolution", "inconclusive", reason, top, 0)


def _on_top(item: Judged) -> bool:
    """Whether an item is above every clean prompt, and not rejected."""
    return isinstance(item.ranked, Rank) and item.ranked.rank == 1 and not item.rejected


def _sensitivity(found: Findings, policy: Policy) -> Rule:
    """Whether the score alone is known to notice what this model has memorized; asked where no index was searched."""
    why = "no index was searched"
    if found.calibration and found.calibration.base:
        reason = f"{why}, and scores against a base are not known to find what comes back"
        return Rule("sensitivity", "inconclusive", f"{reason}; scan with --train-images or --index")
    limit = policy.min_sensitivity
    if not limit:
        return Rule("sensitivity", "pass", "", None, limit)
    kinds = found.kinds
    if unknown := sum(count for kind, count in kinds.items() if kind not in found.sensitivity):
        reason = f"{why} and what the score can miss is not known for {unknown} of {kinds.total()} prompts"
        cure = "scan with an index, or calibrate with --memorized prompts of their kind"
        return Rule("sensitivity", "inconclusive", f"{reason}; {cure}", None, limit)
    worst = min((found.sensitivity[kind] for kind in kinds), key=lambda known: known.low, default=None)
    if worst is None or worst.low < limit:
        said = "nothing" if worst is None else worst.phrase
        reason = f"{why}, and the score notices {said}, expected at least {limit:.0%}; scan with an index"
        return Rule("sensitivity", "inconclusive", reason, worst.low if worst else None, limit)
    return Rule("sensitivity", "pass", "", worst.low, limit)


def _undetectable(found: Findings, policy: Policy) -> Rule:
    """Items that nothing was decided of: without a p-value where scores count, and inconclusive ones for any reason.

    Each is counted by one rule. Where scores count, what is above every clean prompt is left to `resolution`, which no
    limit tolerates, and what was only screened to `screen`, where that asks for more.
    """
    judged_by_screen = found.screened is not None and bool(found.screened.reason)
    lost: list[str] = []
    for item in found.items:
        outcome, reason = item.known
        if item.row.status == "screened":
            lost += [reason] if outcome == "inconclusive" and not judged_by_screen else []
        elif policy.asks_scores and isinstance(item.ranked, Unranked) and outcome not in COPIES:
            lost.append(item.ranked.reason)
        elif outcome == "inconclusive":
            lost += [reason] if not (policy.asks_scores and _on_top(item)) else []
        elif outcome in FAILING and (hidden := _hidden(item, found)) and not item.fails(policy):
            lost.append(hidden)
    limit = policy.max_undetectable or 0.0
    if len(lost) <= limit * len(found.items):
        return Rule("undetectable", "pass", "", len(lost), limit)
    reason, count = Counter(lost).most_common(1)[0]
    more = f" ({len(lost)} in all)" if count < len(lost) else ""
    return Rule("undetectable", "inconclusive", f"{count} items: {reason}{more}", len(lost), limit)


def _hidden(item: Judged, found: Findings) -> str:
    """What was not measured of an item that was found to be a copy or suspicious; "" where everything was."""
    if item.row.status != "ok":
        return item.ranked.reason if isinstance(item.ranked, Unranked) else item.row.status
    return ONE_COLOUR if in_one_colour(item.row, found.header.plan) else ""


def _max_rate(found: Findings, policy: Policy, rate: Rate | None, shift: Shift) -> Rule:
    limit = policy.max_rate
    assert limit is not None
    if rate is None:
        why = "prompts that were only screened have no p-value" if found.left else "there are no p-values to count"
        return Rule("max-rate", "inconclusive", why, None, limit)
    if not rate.rank:
        least = smallest_clean(policy.level, limit)
        reason = (
            f"{rate.n} clean prompts cannot flag at {flagging_level(policy.level, limit):.2g}, at least {least} can"
        )
        return Rule("max-rate", "inconclusive", f"{reason}; calibrate with more", None, limit)
    said = f"{rate.flagged} of {rate.families} families flagged, at most {rate.bound:.2%} with {rate.confidence:.0%}"
    if rate.outcome == "pass":
        return Rule("max-rate", "pass", "", rate.bound, limit)
    if rate.outcome == "fail" and not (shift.warning and not _copies_exceed(found, rate, policy)):
        return Rule("max-rate", "fail", f"{said} confidence, over {limit:.2%}", rate.bound, limit)
    reason = f"{said} confidence; to show {limit:.2%} takes {smallest_families(limit, policy.confidence)} families"
    return Rule("max-rate", "inconclusive", reason, rate.bound, limit)


def _copies_exceed(found: Findings, rate: Rate, policy: Policy) -> bool:
    """Whether the families of copies, whole or in part, alone are over the limit."""
    copied = len(found.copied)
    return count_rate(copied, rate.families, rate.n, policy.level, policy.confidence, policy.max_rate).outcome == "fail"
