"""The variants of a detector: the same score read at other steps of the run and at single layers.

A detector names the steps that it reads as windows (`probing.needs`). A variant asks for the same captures in another
window, and hands them to the detector under the names that it knows, so that any detector can be moved.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor

from memdetect.adapters import Model
from memdetect.detectors.detector import Detector, Scores
from memdetect.errors import MemdetectError
from memdetect.inputs.prompts import Request
from memdetect.inputs.wording import family_key
from memdetect.probing import Probe, Sampler, probe_prompts
from memdetect.probing.checks import check_seeds, unserved
from memdetect.probing.finished import check_branches
from memdetect.probing.needs import AFTER, Need, Window
from memdetect.probing.trace import Trace

MOST = 10  # steps of a run at which a detector is tried
ALL = ""  # every layer, and the steps that the detector names
FAILURES = (
    MemdetectError,
    ArithmeticError,
    LookupError,
    RuntimeError,
    ValueError,
)  # of a score that cannot be worked out


@dataclass(frozen=True, slots=True)
class Variant:
    """A detector as it is measured: its record under a name of its own, and in words where it is read.

    step, layer: "" = as the detector names it.
    """

    detector: str
    record: Detector
    step: str = ALL
    layer: str = ALL


@dataclass(frozen=True, slots=True)
class Served:
    """The detectors that a model and its settings can serve, and why they cannot serve the others."""

    detectors: tuple[Detector, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict[str, str])


def served(model: Model, sampler: Sampler, detectors: Sequence[Detector], levels: Sequence[float]) -> Served:
    """Which detectors exist on a model under these settings. levels: noise over signal of the steps of a run."""
    missing = {d.name: reason for d in detectors if (reason := why_not(model, sampler, d, levels))}
    return Served(tuple(d for d in detectors if d.name not in missing), missing)


def why_not(model: Model, sampler: Sampler, detector: Detector, levels: Sequence[float]) -> str:
    """Why a detector cannot be measured; "" where it can."""
    try:
        check_branches(model, [detector])
        check_seeds([detector], sampler.num_seeds)
    except MemdetectError as problem:
        return str(problem)
    reason = unserved(model, sampler, detector, levels)
    return f"detector {detector.name!r} {reason}" if reason else ""


def variants_of(detector: Detector, levels: Sequence[float], steps: Sequence[int] = ()) -> list[Variant]:
    """A detector as it is, and moved to other steps of a run with these noise levels.

    steps: numbers from 1; () = at most ten, spread over the run. Moved is a detector of which all captures of the run
    are taken in one window; without `steps` not one that asks the network further (each step would cost as much again),
    and never one that compares with a bank, which holds its own step.
    """
    own = [Variant(detector.name, detector)]
    windows = {need.when for need in detector.needs}
    further = any(need.further for need in detector.needs)
    if len(windows) != 1 or detector.banked or (further and not steps):
        return own
    (window,) = windows
    if window is None or window == AFTER:
        return own
    taken = window.steps(levels)
    for number in steps or spread(len(levels)):
        moved = _window(window, number, levels)
        if number <= len(levels) and moved.steps(levels) != taken:
            own.append(_moved(detector, moved, _said(moved, levels)))
    return own


def spread(count: int) -> list[int]:
    """At most ten numbers of steps, from 1, spread evenly over so many, with the first and the last."""
    if count <= MOST:
        return list(range(1, count + 1))
    return sorted({1 + round(k * (count - 1) / (MOST - 1)) for k in range(MOST)})


def _window(window: Window, number: int, levels: Sequence[float]) -> Window:
    """The window moved to a step: one that ends there, or that step alone."""
    kind = "until" if window.kind in ("run", "until") else "at"
    return Window(kind, levels[min(number, len(levels)) - 1])


def _said(window: Window, levels: Sequence[float]) -> str:
    taken = window.steps(levels)
    return f"step {taken[-1] + 1}" if len(taken) == 1 else f"steps 1-{taken[-1] + 1}"


def _moved(detector: Detector, window: Window, said: str) -> Variant:
    asked = {replace(need, when=window): need for need in detector.needs}
    record = replace(
        detector,
        name=f"{detector.name} @ {said}",
        needs=tuple(asked),
        score=lambda trace: detector.score(_renamed(trace, asked)),
    )
    return Variant(detector.name, record, said)


def _renamed(trace: Trace, asked: Mapping[Need, Need]) -> Trace:
    """The trace with captures under the needs that a detector knows."""
    renamed = {(asked[need], layer): array for (need, layer), array in trace.arrays.items() if need in asked}
    return replace(trace, arrays={**trace.arrays, **renamed})


def tried(
    model: Model, sampler: Sampler, variants: Sequence[Variant], layers: Sequence[str], item: Request
) -> tuple[list[Variant], dict[str, str]]:
    """Those variants that give a score of one prompt, with single layers beside all where there are several.

    Beside them, by detector, why the detector as it is gives none. Scores of finished images are not tried. layers: of
    the network, as `Probe.at` takes them.
    """
    of_run = [variant.record for variant in variants if not variant.record.of_images]
    if not of_run:
        return list(variants), {}
    probe = Probe.at(model, layers=layers, detectors=of_run, call=sampler.call)
    trace = probe_prompts(model, [item.prompt or ""], ids=[item.id], sampler=sampler, probe=probe, images=False)
    trace = replace(trace, families=(family_key(item.meta, item.prompt),))
    kept, missing = list[Variant](), dict[str, str]()
    for variant in variants:
        if variant.record.of_images:
            kept.append(variant)
            continue
        for one in (variant, *_layered(variant, trace)):
            if reason := _failure(one, trace):
                missing |= {variant.detector: reason} if one is variant and not variant.step else {}
                continue
            kept.append(one)
    return [variant for variant in kept if variant.detector not in missing], missing


def _layered(variant: Variant, trace: Trace) -> Iterator[Variant]:
    """A variant for each layer at which a detector of layers was captured, where there are several."""
    deep = [need for need in variant.record.needs if need.where != "output"]
    layers = list(dict.fromkeys(layer for need, layer in trace.arrays if need in deep))
    for layer in layers if len(layers) > 1 else ():
        record = replace(variant.record, name=f"{variant.record.name} | {layer}", score=_at_layer(variant, layer))
        yield replace(variant, record=record, layer=layer)


def _at_layer(variant: Variant, layer: str) -> Callable[[Trace], Scores]:
    return lambda trace: variant.record.score(trace.select(layer=layer))


def _failure(variant: Variant, trace: Trace) -> str:
    """Why a variant gives no score of a trace; "" where it gives one for each seed."""
    try:
        found: Tensor = variant.record.score(trace)
    except FAILURES as problem:
        return f"detector {variant.detector!r} gives no score: {' '.join(f'{problem}'.split())}"
    if tuple(found.shape) != trace.shape:
        return f"detector {variant.detector!r} gives a score of shape {tuple(found.shape)}, expected {trace.shape}"
    return ""
