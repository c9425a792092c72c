"""measure(): how each labelled prompt answers to rising strength, as records that stand beside any detector's."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from memdetect.adapters import Model
from memdetect.detectors.detector import Detector
from memdetect.errors import MemdetectError
from memdetect.inputs.prompts import Request
from memdetect.probing import Probe, Sampler, trace_of
from memdetect.probing.batches import Batching
from memdetect.probing.trace import Trace
from memdetect.runs.records import Measurement, Score
from memdetect.steering.applying import Course, Made, made_of, steered_latents
from memdetect.steering.edits import Edit, kept, moved, resemblance
from memdetect.steering.response import midpoint, sharpness, steadiness

PLACE, WHOLE = "steered", "all"  # the layer and timestep under which a response stands in a record
CURVES = ("edit", "identity", "resemblance", "moved")
# Steerability, turned so that higher = more memorized, as the paper claims; fixed before anything was measured.
DETECTORS = ("resistance", "stillness", "sharpness")
SHAPES = ("sharpness", "steadiness", "midpoint")


@dataclass(frozen=True, slots=True)
class Trial:
    """A course from strength 0 up, how an edit's success is told, and detectors that are scored at strength 0."""

    course: Course
    edit: Edit
    detectors: tuple[Detector, ...] = ()


def measure(
    model: Model,
    requests: Sequence[Request],
    trial: Trial,
    sampler: Sampler,
    *,
    progress: Callable[[int, int, str], None] = lambda _done, _planned, _note: None,
) -> list[Measurement]:
    """Sample every prompt at every strength from its own noise, as a scan samples it; one record for each prompt.

    Scores of a record: the curves `edit`, `identity`, `resemblance`, `moved`, with one cell for each strength (layer
    `steered`); the shapes `sharpness`, `steadiness`, `midpoint` of the edit's curve; `resistance` = minus the mean
    edit over the strengths above 0; `stillness` = minus the mean move of the latents, which knows no attribute; and
    the given detectors at strength 0. None where a seed has no such number, as for an edit that is there already, and
    where latents or pixels are not finite: such a record is `nonfinite`, its notes say which image at which strength.
    Raises MemdetectError for requests that are no prompts, and strengths that do not rise from 0.
    """
    if any(request.prompt is None for request in requests) or not requests:
        raise MemdetectError("only prompts can be steered; give prompt files, with at least one prompt")
    strengths = trial.course.strengths
    if strengths[:1] != (0.0,) or len(strengths) < 2 or any(np.diff(strengths) <= 0):
        raise MemdetectError("a response is measured from strength 0 up; give strengths such as 0,0.5,1,2")
    probe = Probe.at(model, detectors=trial.detectors) if trial.detectors else None
    rows: list[Measurement] = []
    size = max(1, sampler.batch_size // sampler.num_seeds)
    for start in range(0, len(requests), size):
        progress(start, len(requests), "")
        some = requests[start : start + size]
        rows += _batch(model, list(enumerate(some, start)), trial, sampler, probe)
    progress(len(requests), len(requests), "")
    return rows


def _batch(
    model: Model, some: Sequence[tuple[int, Request]], trial: Trial, sampler: Sampler, probe: Probe | None
) -> list[Measurement]:
    draws = sampler.num_seeds
    prompts = [request.prompt or "" for _, request in some for _ in range(draws)]
    seeds = [seed for _, request in some for seed in sampler.seeds(request.id)]
    latents = [
        steered_latents(model, prompts, seeds, sampler, trial.course, strength) for strength in trial.course.strengths
    ]
    latents = [made.float().cpu() for made in latents]
    images = [made_of(model, made, sampler) for made in latents]
    ids = [request.id for _, request in some]
    trace = trace_of(probe, latents[0], ids, sampler, Batching(sampler.batch_size)) if probe else None
    rows: list[Measurement] = []
    for i, (index, request) in enumerate(some):
        own = range(i * draws, (i + 1) * draws)
        curves = [_curves([x[j] for x in images], trial) for j in own]
        faults = _faults([[x[j] for x in images] for j in own], trial.course.strengths)
        scores = _responses(trial.course.strengths, curves)
        scores |= _beside(trial.detectors, trace.select(item=i)) if trace else {}
        rows.append(
            Measurement(
                index=index,
                id=request.id,
                prompt=request.prompt,
                source=request.source,
                line=request.line,
                meta=dict(request.meta),
                seeds=sampler.seeds(request.id),
                scores=scores,
                status="nonfinite" if faults else "ok",
                notes=faults,
            )
        )
    return rows


def _faults(images: Sequence[Sequence[Made]], strengths: tuple[float, ...]) -> list[str]:
    """Which image at which strength has latents or pixels that are no numbers."""
    return [
        f"image {k} is not finite at strength {strength:g}"
        for k, made in enumerate(images)
        for strength, image in zip(strengths, made, strict=True)
        if not image.finite
    ]


Curve = list[float | None]  # one value for each strength


def _curves(images: Sequence[Made], trial: Trial) -> dict[str, Curve]:
    """What was measured of one image at each strength, against strength 0; None where either is not finite."""
    first = images[0]
    before = first.image.pixels
    measures: dict[str, Callable[[Made], float | None]] = {
        "edit": lambda made: trial.edit(before, made.image.pixels),
        "identity": lambda made: kept(before, made.image.pixels),
        "resemblance": lambda made: resemblance(trial.course.embedder, before, made.image.pixels),
        "moved": lambda made: moved(first.latents, made.latents),
    }
    return {
        name: [_number(take(made)) if first.finite and made.finite else None for made in images]
        for name, take in measures.items()
    }


def _number(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _responses(strengths: tuple[float, ...], curves: Sequence[dict[str, Curve]]) -> dict[str, Score]:
    """Curves by strength, and what is said of each as a whole, from the curves of each seed."""
    found: dict[str, Score] = {}
    for name in CURVES:
        cells = {f"{a:g}": [curve[name][k] for curve in curves] for k, a in enumerate(strengths)}
        found[name] = Score(score=_mean([_after(curve[name]) for curve in curves]), cells={PLACE: cells})
    wholes = {
        "resistance": [_minus(_after(curve["edit"])) for curve in curves],
        "stillness": [_minus(_after(curve["moved"])) for curve in curves],
    }
    for name, shape in zip(SHAPES, (sharpness, steadiness, midpoint), strict=True):
        wholes[name] = [_shaped(shape, strengths, curve["edit"]) for curve in curves]
    for name, values in wholes.items():
        found[name] = Score(score=_mean(values), cells={PLACE: {WHOLE: values}})
    return found


def _after(curve: Curve) -> float | None:
    """Mean over the strengths above 0."""
    return _mean(curve[1:])


def _mean(values: Curve) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if values and len(known) == len(values) else None


def _minus(value: float | None) -> float | None:
    return None if value is None else -value


def _shaped(
    shape: Callable[[Sequence[float], Sequence[float]], float | None], strengths: tuple[float, ...], curve: Curve
) -> float | None:
    known = [value for value in curve if value is not None]
    return shape(strengths, known) if len(known) == len(curve) else None


def _beside(detectors: Sequence[Detector], trace: Trace) -> dict[str, Score]:
    """Detectors' scores of one item at strength 0, as one cell over the card's layers and timesteps."""
    found: dict[str, Score] = {}
    for detector in detectors:
        scores = detector.score(trace)[0]
        seeds = [_finite(score) for score in scores]
        found[detector.name] = Score(score=_finite(scores.mean()), cells={PLACE: {WHOLE: seeds}})
    return found


def _finite(score: Tensor) -> float | None:
    return score.item() if bool(torch.isfinite(score).all()) else None
