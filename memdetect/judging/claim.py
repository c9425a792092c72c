"""What may be said of a run: one sentence with its bound and its scope, and what its reader should know."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from memdetect.judging.calibration import Calibration
from memdetect.judging.outcome import OUTCOMES, Verdict
from memdetect.judging.suppressions import Suppressions
from memdetect.runs.header import Header
from memdetect.runs.index_facts import coverage_phrase, finds_phrase
from memdetect.runs.policy import Ignore
from memdetect.runs.records import COPIES

WAIVED = {
    "fail_on": "no finding fails it",
    "min_sensitivity": "what scores alone miss is not asked",
    "min_coverage": "how much of the training set the index covers, and what it had to leave out, is not asked",
    "min_recall": "whether the index finds a copy is not asked",
    "min_screen_recall": "how much of what a full scan finds a screen keeps is not asked",
}


def basis(verdict: Verdict, header: Header, calibration: Calibration | None) -> str:
    """What a verdict rests on, in a phrase: the training images that were searched, or what the score can notice.

    Of a screened run it begins with how many of its prompts that was done for.
    """
    screened, rest = verdict.screened, _basis(verdict, header, calibration)
    if screened is None or not screened.left:
        return rest
    return f"{screened.chosen} of {verdict.planned} prompts sampled in full, {screened.left} only screened; {rest}"


def _basis(verdict: Verdict, header: Header, calibration: Calibration | None) -> str:
    index = header.index
    if index:
        count = index.get("pictures") or index.get("rows", 0)
        return f"searched an index of {count:,} training images, {coverage_phrase(index)}"
    if calibration is not None and calibration.base:
        return "by scores against the base alone, no training image was searched"
    if not verdict.sensitivity:
        return "by scores alone, what they miss is not known"
    return f"by scores alone, which notice {', '.join(known.phrase for known in verdict.sensitivity)}"


def claim(verdict: Verdict, header: Header, calibration: Calibration | None) -> str:
    """The claim of a run in one sentence: its basis, what was found, what that bounds, assumes and leaves out."""
    parts = [
        verdict.basis[:1].upper() + verdict.basis[1:],
        f"the index {finds_phrase(header.index)}" if header.index else "",
        _screened(verdict),
        _found(verdict),
        _decided(verdict),
        _bound(verdict),
        _scope(header),
        _assumed(verdict, calibration),
        _false_alarms(verdict, header, calibration),
        "other prompts, seeds and settings were not tested",
    ]
    return f"{'; '.join(part for part in parts if part)}."


def _screened(verdict: Verdict) -> str:
    """By what prompts were only screened, and what that is known to keep of what a full scan finds."""
    screened = verdict.screened
    if screened is None or not screened.left:
        return ""
    return f"screened by {screened.by}: {screened.keeps}{' with 95 % confidence' if screened.known else ''}"


def _found(verdict: Verdict) -> str:
    counts = verdict.counts
    found = ", ".join(f"{counts[name]} {name}" for name in OUTCOMES if name in counts)
    return f"{verdict.usable}: {found}"


def _decided(verdict: Verdict) -> str:
    """How many findings people decided on, and what."""
    said = ", ".join(f"{count} {ruling}" for ruling, count in verdict.decided.items())
    return f"people decided on {sum(verdict.decided.values())} of them: {said}" if said else ""


def _bound(verdict: Verdict) -> str:
    """How many families are copies or score high, what that bounds, and what share may be memorized, if known."""
    rate = verdict.rate
    if rate is None or not rate.rank or not rate.families:
        return ""
    high = rate.flagged - rate.copies
    said = (
        f"of {rate.families} prompt families {rate.copies} came back as copies, whole or in part, and of the others "
        f"{high} score above level {rate.level:.2g}, so with {rate.confidence:.0%} confidence at most {rate.bound:.2%} "
        "of families drawn like these would do either"
    )
    if verdict.memorized is None:
        return said
    return f"{said}, and at most {verdict.memorized:.2%} are memorized if those are noticed like the known ones"


def _scope(header: Header) -> str:
    plan = header.plan
    made = "made elsewhere" if plan.given else f"{plan.steps} steps"
    return f"for {header.model} by {' and '.join(plan.deciding)}, {plan.num_seeds} images a prompt, {made}"


def _assumed(verdict: Verdict, calibration: Calibration | None) -> str:
    if calibration is None or not verdict.calibrated:
        return ""
    if calibration.base:
        clean = (
            f"the reference scores are of {calibration.base} drawing the same prompts, which assumes that it has seen "
            "no such image"
        )
    elif calibration.conditioned is False:
        searched = f"checked: {calibration.checked}" if calibration.checked else "not searched for copies"
        clean = f"the reference scores are of the model's own images without a condition, {searched}"
    elif not calibration.checked:
        clean = "assumes clean calibration prompts, not checked"
    else:
        clean = f"calibration prompts checked: {calibration.checked}"
    ranked = f"ranked among {verdict.calibrated} clean scores at a false discovery rate of {verdict.fdr:g}; {clean}"
    policy = verdict.policy or {}
    if policy.get("fail_on") in COPIES and policy.get("max_rate") is None:
        return f"the policy asks for no scores; prompts that have one and are like clean ones are {ranked}"
    return ranked


def _false_alarms(verdict: Verdict, header: Header, calibration: Calibration | None) -> str:
    """What a model that memorized nothing may still be failed for."""
    policy, parts = verdict.policy or {}, list[str]()
    delta = policy.get("delta")
    over = "on average over calibration sets" if delta is None else f"but for {delta:.2g} of calibration sets"
    if verdict.calibrated and policy.get("fail_on") == "suspicious":
        drift = ", if the fine-tune changed nothing else" if calibration and calibration.base else ""
        parts.append(f"by scores with a probability of at most {verdict.fdr:g} {over}{drift}")
    level = header.index.get("level")
    if isinstance(level, float) and policy.get("fail_on") != "none":
        parts.append(f"by the index with at most {level:.2g} for each image looked up")
    return f"a model that memorized nothing fails {' and '.join(parts)}" if parts else ""


def notes(verdict: Verdict, aside: Suppressions, changed: Sequence[str]) -> tuple[str, ...]:
    """What the reader should know beside the claim; changed: what is not as the header named it before any image."""
    return tuple(_notes(verdict, aside, changed))


def _notes(verdict: Verdict, aside: Suppressions, changed: Sequence[str]) -> Iterator[str]:
    yield from _waived(verdict.policy or {})
    if changed:
        what = "are not those" if len(changed) > 1 else "is not the one"
        yield f"{' and '.join(changed)} {what} named in the run's header before its first image"
    if verdict.calibrated and verdict.shift.low is None:
        why = verdict.shift.few or verdict.shift.missing
        yield f"the prompts' wording was not compared with that of the clean ones{': ' if why else ''}{why}"
    yield from _left(verdict)
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


def _left(verdict: Verdict) -> Iterator[str]:
    if verdict.left:
        yield f"{verdict.left} prompts were only screened, so that no rate of findings is bounded"


def _given_for(entry: Ignore) -> str:
    return f"model {entry.model}" if entry.run is None else f"run {entry.run}"


def _answers_for(entry: Ignore) -> str:
    return f"copies of {entry.copy_of} alone" if entry.outcome is None else f"{entry.outcome} at most"


def _waived(policy: Mapping[str, Any]) -> Iterator[str]:
    """What a policy asks nothing of, by name."""
    for key, what in WAIVED.items():
        if policy.get(key) == ("none" if key == "fail_on" else 0):
            yield f"the policy waives {key.replace('_', '-')}: {what}"
