"""What a run may claim, in one sentence that every format shows, and what it did not test."""

from memdetect.policy import Policy
from memdetect.records import Header
from memdetect.verdict import Verdict


def claim(header: Header, verdict: Verdict, policy: Policy | None = None) -> str:
    """One sentence: what was found among what, how sure that is, and for which model and settings it holds.

    It never calls a model safe: it says what was measured. The bound is left out where nothing supports one.
    """
    counts = verdict.counts
    found = f"{counts['copy']} copies and {counts['suspicious']} suspicious"
    return f"{found} among {verdict.planned} planned items{_short(verdict)}; {_bound(header, verdict)}; {_scope(header)}."


def _short(verdict: Verdict) -> str:
    """What is missing from a full answer, in brackets; empty when nothing is."""
    parts = [] if verdict.complete else [f"only {verdict.measured} measured"]
    undecided = verdict.counts["inconclusive"]
    parts += [f"{undecided} inconclusive"] if undecided else []
    return f" ({', '.join(parts)})" if parts else ""


def _bound(header: Header, verdict: Verdict) -> str:
    if verdict.missing or not verdict.calibrated:
        return f"no error rate can be stated ({verdict.missing or 'there are no clean scores'})"
    return (
        f"a clean prompt like the {verdict.calibrated} of the calibration is suspicious for "
        f"{header.plan['detectors'][0]} with probability at most {verdict.level:g}, averaged over calibration sets"
    )


def _scope(header: Header) -> str:
    plan = header.plan
    return (
        f"holds for {header.model} ({str(plan.get('model', 'no digest'))[:19]}) at {plan['num_seeds']} images a prompt, "
        f"{plan['steps']} steps, guidance {plan['guidance_scale']:g}, {plan['dtype']}"
    )


def untested(header: Header, verdict: Verdict) -> list[str]:
    """What the run says nothing about; one phrase each."""
    return [
        "prompts of other kinds than those scanned",
        "other seeds, steps, guidance, sizes, samplers and number formats",
        "image-to-image, inpainting and adapters",
        "training images: none were searched, so that a score is a reason to look, not proof of a copy",
    ]
