"""Whether scanned prompts are like the clean ones, by their text and in the bulk of p, and the rule that asks it."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from memdetect.judging.columns import parted
from memdetect.judging.findings import Findings
from memdetect.judging.outcome import Rule, Shift
from memdetect.judging.ranks import Rank
from memdetect.judging.statistics.shift import Bulk, all_below, bulk_check

MAX_TEXT_SHIFT = 0.70
UNCOMPARED = "the prompts' wording was not compared with that of the clean ones"


def shift_of(found: Findings) -> Shift:
    """Compare the scanned prompts with the clean ones: by text (in the header) and in the bulk of p.

    Where reference scores are of the same prompts on a base there is nothing to compare, and all may be memorized.
    """
    if found.calibration and found.calibration.base:
        return Shift(dead=_dead(found))
    text = _wording(found)
    low = text.get("low")
    bulk = _bulk(found)
    every = [item.ranked for item in found.items if isinstance(item.ranked, Rank)]
    auroc = text.get("auroc") if low is not None else None
    uncompared = {key: str(text.get(key, "")) for key in ("missing", "few")}
    return Shift(
        auroc, low, low is not None and low > MAX_TEXT_SHIFT, bulk, all_below(every), _dead(found), **uncompared
    )


def _bulk(found: Findings) -> tuple[Bulk, ...]:
    """The bulk of p. Of a screened run only what is known of it: p-values of prompts left out are taken to be 1.

    Too few small ones then show nothing, for they may be among those left out; too many still do.
    """
    ranks = found.ranked()
    if not found.left or not ranks:
        return bulk_check(ranks)
    largest = max(ranked.n for ranked in ranks)
    whole = bulk_check([*ranks, *([Rank(largest + 1, largest)] * found.left)])
    return tuple(check for check in whole if check.z > 0)


def _wording(found: Findings) -> Mapping[str, Any]:
    """What is known of the prompts' wording against that of these clean ones."""
    text, ours = found.header.wording, found.calibration
    other = ours is not None and text.get("calibration", "") not in ("", ours.cut(found.header.plan).digest)
    return {"missing": "it was compared with other clean prompts"} if other else text


def _dead(found: Findings) -> str:
    """What gives most prompts the very same score measures nothing: which detector that decides does, "" for none."""
    for place, name in enumerate(found.header.plan.deciding):
        values = (item.row.scores[place] for item in found.items if item.row.status == "ok")
        parts = parted("d", (value for value in values if value is not None))
        most = max(max(Counter(part).values(), default=0) for part in parts)
        total = sum(map(len, parts))
        if most > 1 and 2 * most >= total:
            return f"{name} gives {most} of {total} items the same score"
    return ""


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


def shift_rule(shift: Shift) -> Rule:
    """The rule about a distribution-shift warning, and about texts that were not compared."""
    reasons = list(_warnings(shift))
    if not reasons:
        return _compared(shift)
    return Rule("shift", "inconclusive", f"{'; '.join(reasons)}; calibrate on prompts drawn like those scanned")


def _compared(shift: Shift) -> Rule:
    """Without a warning: whether the texts were compared wherever there was something to compare."""
    said = f"{UNCOMPARED}: {shift.missing}" if shift.missing else ""
    return Rule("shift", "inconclusive" if said else "pass", said)
