"""What a gate asks of a run. Every rule that cannot be decided is inconclusive, never passed."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil
from typing import Any

from memdetect.inputs.wording import family_key, kind_of
from memdetect.judging.calibration import Calibration
from memdetect.judging.columns import distinct
from memdetect.judging.families import families_of, flagging_ranks, is_copied
from memdetect.judging.outcome import Rule, Shift
from memdetect.judging.ranks import Rank, ReferenceScores, Unranked
from memdetect.judging.results import Items
from memdetect.judging.reviewing import review_rules
from memdetect.judging.rows import Rows
from memdetect.judging.search_rules import index_rules
from memdetect.judging.sensitivity import Sensitivity
from memdetect.judging.statistics.conformal import smallest_conditional_n, smallest_n
from memdetect.judging.statistics.rates import Rate, count_rate, flagging_level, smallest_clean, smallest_families
from memdetect.judging.statistics.shift import all_below, bulk_check
from memdetect.runs.header import Header
from memdetect.runs.policy import Policy
from memdetect.runs.records import COPIES

MAX_TEXT_SHIFT = 0.70
UNCOMPARED = "the prompts' wording was not compared with that of the clean ones"


@dataclass(frozen=True)
class Findings:
    """What the rules judge: every item as it was judged, and what it was judged by.

    sensitivity: of the deciding score, by kind of prompt; kinds of which no memorized prompt is known are not there.
    """

    header: Header
    items: Items
    reference: ReferenceScores | Unranked
    calibration: Calibration | None
    sensitivity: Mapping[str, Sensitivity]

    @property
    def rows(self) -> Rows:
        """The rows of the items."""
        return self.items.rows

    def ranked(self) -> list[Rank]:
        """Ranks of the items that have one and were not rejected."""
        return [item.ranked for item in self.items if isinstance(item.ranked, Rank) and not item.rejected]

    def failing(self, policy: Policy) -> Counter[str]:
        """Findings, as people's decisions leave them, that the policy fails on and nobody answers for."""
        counted = ((item.counted, item) for item in self.items if not item.suppressed)
        return Counter(as_ for as_, item in counted if as_ in policy.failing and not item.unprovable)

    @cached_property
    def kinds(self) -> Counter[str]:
        """How many items there are of each kind of prompt."""
        return Counter(kind_of(item.row.meta) for item in self.items)

    @cached_property
    def copied(self) -> set[str]:
        """The families with a copy, whole or in part, found or decided to be one."""
        return {family_key(item.row.meta, item.row.prompt) for item in self.items if is_copied(item)}


def shift_of(found: Findings) -> Shift:
    """Compare the scanned prompts with the clean ones: by text (in the header) and in the bulk of p.

    Where reference scores are of the same prompts on a base there is nothing to compare, and all may be memorized.
    """
    if found.calibration and found.calibration.base:
        return Shift(dead=_dead(found))
    text = _wording(found)
    low = text.get("low")
    bulk = bulk_check(found.ranked())
    every = [item.ranked for item in found.items if isinstance(item.ranked, Rank)]
    auroc = text.get("auroc") if low is not None else None
    uncompared = {key: str(text.get(key, "")) for key in ("missing", "few")}
    return Shift(
        auroc, low, low is not None and low > MAX_TEXT_SHIFT, bulk, all_below(every), _dead(found), **uncompared
    )


def _wording(found: Findings) -> Mapping[str, Any]:
    """What is known of the prompts' wording against that of these clean ones."""
    text, ours = found.header.wording, found.calibration
    other = ours is not None and text.get("calibration", "") not in ("", ours.cut(found.header.plan).digest)
    return {"missing": "it was compared with other clean prompts"} if other else text


def _dead(found: Findings) -> str:
    """What gives most prompts the very same score measures nothing: which detector that decides does, "" for none."""
    for place, name in enumerate(found.header.plan.deciding):
        values = Counter(item.row.scores[place] for item in found.items if item.row.status == "ok")
        del values[None]
        most = max(values.values(), default=0)
        if most > 1 and 2 * most >= values.total():
            return f"{name} gives {most} of {values.total()} items the same score"
    return ""


def rate_of(found: Findings, policy: Policy) -> Rate | None:
    """Families with an item flagged at the fixed level, or a copy, also in part, among those that could be judged."""
    if isinstance(found.reference, Unranked):
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
        made += [_calibrated(found, policy, bar), _shift(shift), _unresolved(found, bar[1])]
        made += [] if found.header.index else [_sensitivity(found, policy)]
    made += [_undetectable(found, policy, scored), *index_rules(found.header, found.items, policy)]
    made += review_rules(found.items, policy)
    if policy.max_rate is not None:
        made.append(_max_rate(found, policy, rate, shift))
    return tuple(made)


def _complete(found: Findings) -> Rule:
    measured, planned = distinct(lambda: (row.id for row in found.rows), len(found.rows)), found.header.planned
    if len(found.items) != measured:
        return Rule("complete", "inconclusive", f"{len(found.items) - measured} items are in the records twice")
    if measured == planned > 0:
        return Rule("complete", "pass", "", measured, planned)
    reason = f"{measured} of {planned} planned items were measured; run the same scan again to resume"
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
        cure = f"give --base-rounds {ceil(bar[1] / max(1, found.header.planned))}, or --fail-on copy with an index"
        return Rule("calibration", "inconclusive", f"{reason}; {cure}", n, bar[1])
    if found.reference.conditioned is False and not found.reference.checked:
        reason = (
            "the reference scores are of the model's own images, not searched for copies: what it repeats is among them"
        )
        return Rule("calibration", "inconclusive", f"{reason}; calibrate with --index", n)
    return Rule("calibration", "pass", "", n)


def _warnings(shift: Shift) -> Iterator[str]:
    if shift.text and shift.low is not None:
        yield f"the prompts can be told from the clean ones by their text (AUROC at least {shift.low:.2f})"
    if shift.below:
        yield "every prompt scores below every clean one; the detector is dead or its sign is wrong"
    if shift.dead:
        yield f"{shift.dead}; it measures nothing here"
    for check in shift.bulk:
        if check.shifted:
            yield f"{check.share:.0%} of the prompts have p <= {check.level:.2g}"


def _shift(shift: Shift) -> Rule:
    reasons = list(_warnings(shift))
    if not reasons:
        return _compared(shift)
    return Rule("shift", "inconclusive", f"{'; '.join(reasons)}; calibrate on prompts drawn like those scanned")


def _compared(shift: Shift) -> Rule:
    """Without a warning: whether the texts were compared wherever there was something to compare."""
    said = f"{UNCOMPARED}: {shift.missing}" if shift.missing else ""
    return Rule("shift", "inconclusive" if said else "pass", said)


def _unresolved(found: Findings, needed: int) -> Rule:
    first = [item for item in found.items if isinstance(item.ranked, Rank) and item.ranked.rank == 1]
    top = [item for item in first if item.outcome not in (*COPIES, "suspicious")]
    if not top:
        return Rule("resolution", "pass", "", 0, 0)
    reason = f"{len(top)} above every clean prompt cannot be decided; it takes {needed} clean prompts"
    return Rule("resolution", "inconclusive", reason, len(top), 0)


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


def _undetectable(found: Findings, policy: Policy, scored: bool) -> Rule:
    """Items that nothing was decided of: without a p-value where scores count, and inconclusive ones for any reason.

    What is above every clean prompt is left to `resolution`, which no limit tolerates.
    """
    lost: list[str] = []
    for item in found.items:
        ranked = item.ranked
        if scored and isinstance(ranked, Unranked) and item.outcome not in COPIES:
            lost.append(ranked.reason)
        elif item.outcome == "inconclusive" and (isinstance(ranked, Unranked) or ranked.rank > 1):
            lost.append(item.reason)
    limit = policy.max_undetectable or 0.0
    if len(lost) <= limit * len(found.items):
        return Rule("undetectable", "pass", "", len(lost), limit)
    reason, count = Counter(lost).most_common(1)[0]
    more = f" ({len(lost)} in all)" if count < len(lost) else ""
    return Rule("undetectable", "inconclusive", f"{count} items: {reason}{more}", len(lost), limit)


def _max_rate(found: Findings, policy: Policy, rate: Rate | None, shift: Shift) -> Rule:
    limit = policy.max_rate
    assert limit is not None
    if rate is None:
        return Rule("max-rate", "inconclusive", "there are no p-values to count", None, limit)
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
