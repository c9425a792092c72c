"""What a gate asks of a run. Every rule that cannot be decided is inconclusive, never passed."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from memdetect.calibration import Calibration, members_of
from memdetect.policy import Policy
from memdetect.records import Header, Match, Measurement, Result
from memdetect.statistics.conformal import conditional_rank, rank_at, smallest_conditional_n, smallest_n
from memdetect.statistics.rates import Rate, count_rate, flagging_level, smallest_clean, smallest_families
from memdetect.statistics.shift import all_below, bulk_check
from memdetect.verdict.nulls import ItemScores, Null
from memdetect.verdict.outcome import Rule, Shift
from memdetect.wording import family_key

MAX_TEXT_SHIFT = 0.70
UNCOMPARED = "the prompts' wording was not compared with that of the clean ones"
NO_THRESHOLD = "the index has no threshold, so that nothing can be called a copy; build it with --held-out images"


@dataclass(frozen=True, slots=True)
class Findings:
    """What the rules look at: the results; their scores, ranks (or why there is none), and what was rejected."""

    header: Header
    results: Sequence[Result]
    scores: Sequence[ItemScores]
    ranks: Sequence[tuple[int, int] | str]
    rejected: Sequence[bool]
    null: Null | str
    calibration: Calibration | None

    def ranked(self) -> list[tuple[int, int]]:
        """Ranks of the items that have one and were not rejected."""
        pairs = zip(self.ranks, self.rejected, strict=True)
        return [rank for rank, out in pairs if not isinstance(rank, str) and not out]

    def failing(self, policy: Policy) -> Counter[str]:
        """Findings by outcome that the policy fails on and nobody answers for."""
        worst = {"copy": ["copy"], "suspicious": ["copy", "suspicious"], "none": []}[policy.fail_on]
        return Counter(row.outcome for row in self.results if row.outcome in worst and not row.suppressed)


def no_threshold(index: Mapping[str, Any]) -> bool:
    """Whether an index was searched by which nothing can be called a copy."""
    return "similarity" in index and index["similarity"] is None


def not_compared(row: Measurement) -> Match | None:
    """The nearest training image by the embedder whose pixels could not be compared: there may be a copy, or not."""
    unseen = [match for match in row.matches if match.similar and match.tile is None]
    return max(unseen, key=lambda match: match.similarity, default=None)


def shift_of(found: Findings) -> Shift:
    """Compare the scanned prompts with the clean ones: by text (in the header) and in the bulk of p.

    Where the null is the same prompts on a base there is nothing to compare, and all of them may be memorized.
    """
    if found.calibration and found.calibration.base:
        return Shift(dead=_dead(found))
    text = _wording(found)
    low = text.get("low")
    bulk = bulk_check(found.ranked())
    every = [rank for rank in found.ranks if not isinstance(rank, str)]
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
    """What gives most prompts the very same score measures nothing: which member does, "" for none."""
    for name in members_of(found.header.plan):
        pairs = zip(found.results, found.scores, strict=True)
        values = Counter(scores[name] for row, scores in pairs if row.status == "ok")
        del values[None]
        most = max(values.values(), default=0)
        if most > 1 and 2 * most >= values.total():
            return f"{name} gives {most} of {values.total()} items the same score"
    return ""


def rate_of(found: Findings, policy: Policy) -> Rate | None:
    """Families with an item flagged at the fixed level, or a copy, among those that could be judged."""
    if isinstance(found.null, str):
        return None
    limits = {n: _flagging_rank(n, policy) for n in {len(s) for s in found.null.by_stratum.values()}}
    families: dict[str, bool] = {}
    for row, rank in zip(found.results, found.ranks, strict=True):
        if not isinstance(rank, str) or row.outcome == "copy":
            flagged = row.outcome == "copy" or (not isinstance(rank, str) and rank[0] <= limits[rank[1]])
            key = family_key(row.meta, row.prompt)
            families[key] = families.get(key, False) or flagged
    n = found.null.n
    made = count_rate(sum(families.values()), len(families), n, policy.level, policy.confidence, policy.max_rate)
    return Rate(made.flagged, made.families, limits[n], n, made.bound, made.confidence, made.limit)


def _flagging_rank(n: int, policy: Policy) -> int:
    level = flagging_level(policy.level, policy.max_rate)
    return rank_at(n, level) if policy.delta is None else conditional_rank(n, level, policy.delta)


def rules(found: Findings, policy: Policy, rate: Rate | None, shift: Shift, bar: tuple[int, int]) -> tuple[Rule, ...]:
    """Every rule that holds for this policy, decided. bar: hits needed, and clean prompts needed for one hit."""
    scored = policy.fail_on != "copy" or policy.max_rate is not None
    made = [_complete(found), _findings(found, policy, shift)]
    if scored:
        made += [_calibrated(found, policy, bar), _shift(shift), _unresolved(found, bar[1])]
    made += [_undetectable(found, policy, scored), *_index(found, policy)]
    if policy.max_rate is not None:
        made.append(_max_rate(found, policy, rate, shift))
    return tuple(made)


def integrity(altered: Sequence[str]) -> Iterator[Rule]:
    """A rule where something was altered after it was fixed or measured; the first three are named."""
    if altered:
        more = f"; and {len(altered) - 3} more" if len(altered) > 3 else ""
        yield Rule("integrity", "inconclusive", f"{'; '.join(altered[:3])}{more}", len(altered), 0)


def _complete(found: Findings) -> Rule:
    measured, planned = len({row.id for row in found.results}), found.header.planned
    if len(found.results) != measured:
        return Rule("complete", "inconclusive", f"{len(found.results) - measured} items are in the records twice")
    if measured == planned > 0:
        return Rule("complete", "pass", "", measured, planned)
    reason = f"{measured} of {planned} planned items were measured; run the same scan again to resume"
    return Rule("complete", "inconclusive", reason, measured, planned)


def _findings(found: Findings, policy: Policy, shift: Shift) -> Rule:
    failing = found.failing(policy)
    said = " and ".join(f"{failing[name]} {name}" for name in ("copy", "suspicious") if failing[name])
    total = failing.total()
    if not total:
        return Rule("findings", "pass", "", 0, 0)
    if not failing["copy"] and shift.alarm:
        reason = f"{said}, but under an alarm of shift only a copy counts; see there"
        return Rule("findings", "inconclusive", reason, total, 0)
    return Rule("findings", "fail", f"{said} among {found.header.planned}", total, 0)


def _calibrated(found: Findings, policy: Policy, bar: tuple[int, int]) -> Rule:
    if isinstance(found.null, str):
        return Rule("calibration", "inconclusive", found.null)
    n, hits = found.null.n, bar[0]
    if hits > found.header.planned:
        least = smallest_n(policy.fdr) if policy.delta is None else smallest_conditional_n(policy.fdr, policy.delta)
        reason = f"{n} clean prompts can show nothing at a false discovery rate of {policy.fdr:g}, at least {least} can"
        return Rule("calibration", "inconclusive", f"{reason}; calibrate with more", n, least)
    if found.null.conditioned is False and not found.null.checked:
        reason = "the null is the model's own images, not searched for copies: what it repeats is in the null as well"
        return Rule("calibration", "inconclusive", f"{reason}; calibrate with --index", n)
    return Rule("calibration", "pass", "", n)


def _shift(shift: Shift) -> Rule:
    def said() -> Iterator[str]:
        if shift.text and shift.low is not None:
            yield f"the prompts can be told from the clean ones by their text (AUROC at least {shift.low:.2f})"
        if shift.below:
            yield "every prompt scores below every clean one; the detector is dead or its sign is wrong"
        if shift.dead:
            yield f"{shift.dead}; it measures nothing here"
        for check in shift.bulk:
            if check.alarm:
                yield f"{check.share:.0%} of the prompts have p <= {check.level:.2g}"

    reasons = list(said())
    if not reasons:
        return _compared(shift)
    return Rule("shift", "inconclusive", f"{'; '.join(reasons)}; calibrate on prompts drawn like those scanned")


def _compared(shift: Shift) -> Rule:
    """Without an alarm: whether the texts were compared wherever there was something to compare."""
    said = f"{UNCOMPARED}: {shift.missing}" if shift.missing else ""
    return Rule("shift", "inconclusive" if said else "pass", said)


def _unresolved(found: Findings, needed: int) -> Rule:
    pairs = zip(found.results, found.ranks, strict=True)
    top = [row for row, rank in pairs if row.outcome == "inconclusive" and not isinstance(rank, str) and rank[0] == 1]
    if not top:
        return Rule("resolution", "pass", "", 0, 0)
    reason = f"{len(top)} above every clean prompt cannot be decided; it takes {needed} clean prompts"
    return Rule("resolution", "inconclusive", reason, len(top), 0)


def _undetectable(found: Findings, policy: Policy, scored: bool) -> Rule:
    """Items without a p-value; where only copies count, those that could not be used."""
    lost = [
        rank
        for row, rank in zip(found.results, found.ranks, strict=True)
        if isinstance(rank, str) and row.outcome != "copy" and (scored or row.status != "ok")
    ]
    limit = policy.max_undetectable or 0.0
    if len(lost) <= limit * len(found.results):
        return Rule("undetectable", "pass", "", len(lost), limit)
    reason, count = Counter(lost).most_common(1)[0]
    more = f" ({len(lost)} in all)" if count < len(lost) else ""
    return Rule("undetectable", "inconclusive", f"{count} items: {reason}{more}", len(lost), limit)


def _useless(index: Mapping[str, Any]) -> str:
    """Why an index can find no copy at all; "" where it can."""
    if not index.get("rows") or index.get("coverage") == 0:
        return "the index covers no training image; build it again"
    return NO_THRESHOLD if no_threshold(index) else ""


def _index(found: Findings, policy: Policy) -> Iterator[Rule]:
    index: dict[str, Any] = found.header.index
    if not index:
        if policy.fail_on == "copy" or policy.min_coverage is not None:
            yield Rule("index", "inconclusive", "no training images were searched; scan with an index")
        return
    coverage = index.get("coverage")
    if useless := _useless(index):
        yield Rule("index", "inconclusive", useless)
        return
    searched = sum(bool(row.matches) for row in found.results)
    usable = sum(row.status == "ok" for row in found.results)
    if searched < usable:
        yield Rule("index", "inconclusive", f"{searched} of {usable} items were searched for in the index", searched)
    unseen = sum(row.outcome != "copy" and not_compared(row) is not None for row in found.results)
    if unseen:
        reason = f"{unseen} items are similar to a training image that was not there to be compared by its pixels"
        yield Rule("index", "inconclusive", f"{reason}; put it back where the index expects it and scan anew", unseen)
    limit = policy.min_coverage
    if limit is not None and (coverage is None or coverage < limit):
        held = "an unknown share" if coverage is None else f"{coverage:.1%}"
        reason = f"the index covers {held} of the training set, expected at least {limit:.1%}"
        yield Rule("min-coverage", "inconclusive", reason, coverage, limit)
    elif limit is not None:
        yield Rule("min-coverage", "pass", "", coverage, limit)


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
    if rate.outcome == "fail" and not (shift.alarm and not _copies_exceed(found, rate, policy)):
        return Rule("max-rate", "fail", f"{said} confidence, over {limit:.2%}", rate.bound, limit)
    reason = f"{said} confidence; to show {limit:.2%} takes {smallest_families(limit, policy.confidence)} families"
    return Rule("max-rate", "inconclusive", reason, rate.bound, limit)


def _copies_exceed(found: Findings, rate: Rate, policy: Policy) -> bool:
    """Whether the families of copies alone are over the limit."""
    copied = len({family_key(row.meta, row.prompt) for row in found.results if row.outcome == "copy"})
    return count_rate(copied, rate.families, rate.n, policy.level, policy.confidence, policy.max_rate).outcome == "fail"
