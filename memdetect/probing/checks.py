"""What a sampling run cannot give a detector is said before its first image."""

from collections.abc import Sequence
from math import isinf

from memdetect.adapters import Model
from memdetect.adapters.prediction import kind_of
from memdetect.errors import MemdetectError
from memdetect.probing.attention import cross_attentions
from memdetect.probing.finished import Needing
from memdetect.probing.hooks import quiet
from memdetect.probing.needs import Need
from memdetect.probing.running import run_sigmas
from memdetect.probing.sampling import Sampler, blaming, run_arguments, run_of


def check_run(model: Model, sampler: Sampler, detectors: Sequence[Needing]) -> None:
    """Refuse detectors that these settings cannot serve; the pipeline is started once, and ended before its first pass.

    Raises MemdetectError (usage), one line: a detector that compares seeds where there is one, a window of steps that
    the run does not have, guidance that runs no unconditional branch, a step without signal of a network that predicts
    noise (its clean estimate divides by zero, its noise is the input itself), and attention that a network lacks.
    """
    for detector in detectors:
        if detector.seeds == "prompt" and sampler.num_seeds < 2:
            raise MemdetectError(
                f"detector {detector.name!r} compares the images of a prompt with each other, and there is one; "
                "give --num-seeds 2 or more, or leave it out"
            )
    run = [(d.name, need) for d in detectors for need in d.needs if need.when is not None]
    if not run:
        return
    arguments = run_arguments(model, sampler, [""], [0])
    with quiet(), blaming(sampler.call):
        sigmas = run_sigmas(model, arguments)
    for name, need in run:
        _check(name, need, model, sampler, sigmas)


def _check(name: str, need: Need, model: Model, sampler: Sampler, sigmas: Sequence[float]) -> None:
    assert need.when is not None
    try:
        steps = need.when.steps(sigmas)
    except MemdetectError as problem:
        raise MemdetectError(f"detector {name!r}: {problem}") from None
    own = run_of(model, sampler, 1, (need,), (), whole=False)
    if need.branches and not (own.two_calls or (model.adapter.halves != "two calls" and sampler.guidance_scale > 1)):
        raise MemdetectError(
            f"detector {name!r} needs the unconditional branch, and guidance {own.scale:g} runs none; "
            "give --guidance-scale above 1, or leave it out"
        )
    if need.where == "output" and kind_of(model.pipe.scheduler) == "epsilon" and any(isinf(sigmas[i]) for i in steps):
        raise MemdetectError(
            f"detector {name!r} reads a step without signal (abar = 0), where a network that predicts noise has no clean "
            "estimate; leave it out"
        )
    if need.where == "attention" and not cross_attentions(model.denoiser):
        raise MemdetectError(
            f"detector {name!r} reads the attention of the image to the text, and this network has joint attention; "
            "leave it out"
        )
