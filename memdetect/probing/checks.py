"""What a sampling run cannot give a detector is said before its first image."""

from collections.abc import Sequence
from math import isinf

from memdetect.adapters import Model
from memdetect.adapters.prediction import kind_of
from memdetect.errors import MemdetectError
from memdetect.probing.attention import cross_attentions
from memdetect.probing.finished import Needing, check_branches
from memdetect.probing.hooks import quiet
from memdetect.probing.needs import AFTER, Need
from memdetect.probing.refusals import blaming, starting
from memdetect.probing.running import run_sigmas
from memdetect.probing.sampling import Sampler, avoids, guidance_of, rescaled, run_arguments


def check_seeds(detectors: Sequence[Needing], num_seeds: int) -> None:
    """Refuse a detector that compares the images of a prompt where there is one."""
    for detector in detectors:
        if detector.seeds == "prompt" and num_seeds < 2:
            raise MemdetectError(
                f"detector {detector.name!r} compares the images of a prompt with each other, and there is one; "
                "give --num-seeds 2 or more, or leave it out"
            )


def check_run(
    model: Model, sampler: Sampler, detectors: Sequence[Needing], levels: Sequence[float] | None = None
) -> None:
    """Refuse detectors that these settings cannot serve; the pipeline is started once, and ended before its first pass.

    levels: what `run_levels` says of these settings, if that is known already. Raises MemdetectError (usage), one line:
    settings that the pipeline refuses, a detector that compares seeds where there is one, a window of steps that the
    run does not have, guidance that runs no unconditional branch or another than the pipeline's own, a step without
    signal of a network that predicts noise (its clean estimate divides by zero, its noise is the input itself),
    attention or a text that a model lacks, and what a need itself says is lacking.
    """
    check_branches(model, detectors)
    check_seeds(detectors, sampler.num_seeds)
    levels = run_levels(model, sampler) if levels is None else levels
    for detector in detectors:
        if reason := unserved(model, sampler, detector, levels):
            raise MemdetectError(f"detector {detector.name!r} {reason}")


def run_levels(model: Model, sampler: Sampler) -> Sequence[float]:
    """Noise over signal of each step of a run: the pipeline is started, and ended before its first pass.

    Raises MemdetectError (usage) for arguments of `--call` that it cannot take, and for a model whose settings make it
    fail before its first pass.
    """
    with quiet(), blaming(sampler.call), starting(model, sampler.call):
        return run_sigmas(model, run_arguments(model, sampler, [""], [0]))


def unserved(model: Model, sampler: Sampler, detector: Needing, levels: Sequence[float]) -> str:
    """Why a run with these noise levels cannot give a detector what it needs of it; "" where it can."""
    for need in detector.needs:
        if need.when is None:
            continue
        here = _steps(need, model, levels) or _branches(need, model, sampler)
        if reason := here or _attention(need, model) or _text(need, model) or (need.lacks and need.lacks(model)):
            return reason
    return ""


def _steps(need: Need, model: Model, sigmas: Sequence[float]) -> str:
    """What is wrong with the steps that a need is taken at; "" where nothing is."""
    assert need.when is not None
    try:
        steps = need.when.steps(sigmas)
    except MemdetectError as problem:
        return f"cannot be measured: {problem}"
    if need.when != AFTER and len(steps) < need.fewest:
        return f"compares {need.fewest} steps or more, and this run has {len(steps)} for it; give more --steps"
    if need.where == "output" and kind_of(model.pipe.scheduler) == "epsilon" and any(isinf(sigmas[i]) for i in steps):
        return (
            "reads a step without signal (abar = 0), where a network that predicts noise has no clean estimate; "
            "leave it out"
        )
    return ""


def _branches(need: Need, model: Model, sampler: Sampler) -> str:
    """Why a run has no branch without a condition, another one, or another guided output, where a need reads it."""
    cure = "leave out the argument or the detector"
    if need.guided and rescaled(sampler):
        return f"reads the guided output, which guidance_rescale changes; {cure}"
    if not need.branches:
        return ""
    if name := avoids(model, sampler.call):
        return f"compares with no prompt, and --call {name} changes that branch; {cure}"
    if (scale := guidance_of(model, sampler)) > 1:
        return ""
    given = "--guidance-scale above 1"
    if model.adapter.halves == "two calls":
        given = 'true_cfg_scale above 1 and a negative_prompt of "" by --call'
    return f"needs the unconditional branch, and guidance {scale:g} runs none; give {given}, or leave it out"


def _attention(need: Need, model: Model) -> str:
    """Why a network has no attention of the image to the text, where a need reads it."""
    if need.where not in ("attention", "values") or cross_attentions(model.denoiser):
        return ""
    return (
        "reads the attention of the image to the text, and this network has no layer of its own for it (joint "
        "attention, or no text); leave it out"
    )


def _text(need: Need, model: Model) -> str:
    """Why a model has no text, where a need reads it or moves its embedding."""
    if not (need.where == "text" or need.embedding) or model.adapter.condition == "prompt":
        return ""
    return "reads the numbers that stand for a prompt, and this model takes none; leave it out"
