"""What may be said of a run: one sentence with its bound and its scope, and what its reader should know."""

from collections.abc import Iterator

from memdetect.calibration import Calibration, members_of
from memdetect.policy import Ignore
from memdetect.records import Header
from memdetect.verdict.outcome import Verdict
from memdetect.verdict.suppressing import Suppressions


def claim(verdict: Verdict, header: Header, calibration: Calibration | None) -> str:
    """The claim of a run in one sentence: what was found, what that bounds, under which assumptions, what was left."""
    parts = [_found(verdict), _bound(verdict), _scope(header), _assumed(verdict, calibration), _left(header)]
    return f"{'; '.join(part for part in parts if part)}."


def _found(verdict: Verdict) -> str:
    counts = verdict.counts
    found = ", ".join(f"{counts[name]} {name}" for name in ("copy", "suspicious", "inconclusive", "clear"))
    against = (
        f" at a false discovery rate of {verdict.fdr:g} against {verdict.calibrated} clean prompts"
        if verdict.calibrated
        else ""
    )
    return f"Of {verdict.planned} items {verdict.measured} were measured: {found}{against}"


def _bound(verdict: Verdict) -> str:
    rate = verdict.rate
    if rate is None or not rate.rank or not rate.families:
        return ""
    return (
        f"{rate.flagged} of {rate.families} prompt families score above level {rate.level:.2g}, so with "
        f"{rate.confidence:.0%} confidence at most {rate.bound:.2%} of families drawn like these would"
    )


def _scope(header: Header) -> str:
    plan = header.plan
    said = [
        f"{plan[key]} {what}" for key, what in (("num_seeds", "images a prompt"), ("steps", "steps")) if key in plan
    ]
    return f"for {header.model} by {' and '.join(members_of(plan))}{', ' if said else ''}{', '.join(said)}"


def _assumed(verdict: Verdict, calibration: Calibration | None) -> str:
    if calibration is None or not verdict.calibrated:
        return ""
    if calibration.base:
        clean = f"the null is {calibration.base} drawing the same prompts, which assumes that it has seen no such image"
    elif calibration.conditioned is False:
        searched = f"checked ({calibration.checked})" if calibration.checked else "not searched for copies"
        clean = f"the null is the model's own images without a condition, {searched}"
    elif not calibration.checked:
        clean = "assumes clean calibration prompts, not checked"
    else:
        clean = f"calibration prompts checked ({calibration.checked})"
    delta = (verdict.policy or {}).get("delta")
    over = (
        "averaged over calibration sets" if delta is None else f"for this calibration set but for {delta:.0%} of them"
    )
    return f"{clean}, error rates {over}"


def _left(header: Header) -> str:
    index = header.index
    if not index:
        searched = "training images were not searched"
    else:
        coverage = index.get("coverage")
        share = "an unknown share" if coverage is None else f"{coverage:.1%}"
        searched = f"an index of {share} of the training set was searched"
    return f"{searched}, and other prompts, seeds and settings were not tested"


def notes(verdict: Verdict, aside: Suppressions) -> tuple[str, ...]:
    """What the reader should know beside the claim."""
    return tuple(_notes(verdict, aside))


def _notes(verdict: Verdict, aside: Suppressions) -> Iterator[str]:
    if not verdict.fixed:
        yield "policy and calibration are not those named in the run's header before its first image"
    if verdict.calibrated and verdict.shift.low is None:
        why = verdict.shift.few or verdict.shift.missing
        yield f"the prompts' wording was not compared with that of the clean ones{': ' if why else ''}{why}"
    if verdict.suppressed:
        yield f"{verdict.suppressed} findings are set aside by the policy"
    for entry in aside.expired:
        yield f"the suppression of {entry.id} expired on {entry.expires} and holds no longer"
    for entry in aside.foreign:
        yield f"the suppression of {entry.id} was given for {_given_for(entry)}, and does not apply"
    for entry in aside.exceeded:
        yield f"the suppression of {entry.id} answers for {_answers_for(entry)}, and not for what was found"
    for entry in aside.unused:
        yield f"the suppression of {entry.id} ({entry.owner}) matches no finding; remove it"


def _given_for(entry: Ignore) -> str:
    return f"model {entry.model}" if entry.run is None else f"run {entry.run}"


def _answers_for(entry: Ignore) -> str:
    return f"copies of {entry.copy_of} alone" if entry.outcome is None else f"{entry.outcome} at most"
