"""Which detectors a run measures: those asked for, else those that its settings can serve; and their bank."""

from collections.abc import Sequence
from dataclasses import replace

from memdetect.adapters import Model
from memdetect.detectors.agreement import AGREEMENT, AGREEMENT_FINAL
from memdetect.detectors.bank import Bank
from memdetect.detectors.detector import Detector
from memdetect.detectors.neurons import neurons
from memdetect.detectors.specificity import specificity
from memdetect.detectors.spikiness import SPIKINESS
from memdetect.detectors.trajectory import trajectory
from memdetect.errors import MemdetectError
from memdetect.probing.checks import check_run, run_levels, unserved
from memdetect.probing.sampling import Sampler


def usual(num_seeds: int, *, banked: bool, early: bool = True, images: bool = False) -> tuple[Detector, ...]:
    """The detectors where none is asked for; the first one decides.

    Specificity where there is a bank, agreement where there are seeds to compare (of the finished latents where the run
    has no early step), and spikiness beside them. images: only images are given, which have no sampling run.
    """
    if images or num_seeds < 2:
        return (SPIKINESS,)
    if not early:
        return (AGREEMENT_FINAL, SPIKINESS)
    return (specificity(None), AGREEMENT, SPIKINESS) if banked else (AGREEMENT, SPIKINESS)


def chosen(
    model: Model, sampler: Sampler, asked: Sequence[Detector] = (), *, banked: bool, images: bool = False
) -> tuple[Detector, ...]:
    """The detectors asked for, else the usual ones of a model and its settings, checked against its sampling run.

    The pipeline is started once, whatever is to be found out. Raises MemdetectError where `check_run` does.
    """
    if images:
        return tuple(asked) or usual(sampler.num_seeds, banked=banked, images=True)
    if asked or sampler.num_seeds < 2:
        found = tuple(asked) or usual(sampler.num_seeds, banked=banked)
        check_run(model, sampler, found)
        return found
    levels = run_levels(model, sampler)
    early = not unserved(model, sampler, AGREEMENT, levels)
    found = usual(sampler.num_seeds, banked=banked and early, early=early)
    check_run(model, sampler, found, levels)
    return found


def with_bank(detectors: Sequence[Detector], bank: Bank | None) -> tuple[Detector, ...]:
    """The detectors, those that compare with a bank bound to it.

    Raises MemdetectError for one of these where there is no bank.
    """
    made = {d.name: d for d in (specificity(bank), trajectory(bank.ways), neurons(bank.neurons))} if bank else {}
    for detector in detectors:
        if detector.banked and bank is None:
            raise MemdetectError(
                f"detector {detector.name!r} compares with a bank of clean prompts, which a calibration keeps, and "
                "there is none; run `memdetect calibrate` with it, or leave it out"
            )
        if bank and not bank.neurons and any(need.where == "values" for need in detector.needs):
            said = "compares with neurons, which this bank does not keep; run `memdetect calibrate` again"
            raise MemdetectError(f"detector {detector.name!r} {said}, or leave it out")
    return tuple(replace(each, score=made[each.name].score) if each.name in made else each for each in detectors)
