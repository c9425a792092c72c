"""Every detector on every adapter that it exists for: finite scores in any batch, and the passes that it says."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from hand_made import random_bank

from memdetect.adapters import Model, load
from memdetect.detectors import BUILT_IN, NEURONS
from memdetect.detectors.agreement import EARLY_CLEAN
from memdetect.detectors.choice import with_bank
from memdetect.detectors.detector import Detector
from memdetect.errors import MemdetectError
from memdetect.probing import Probe, Sampler, probe_prompts
from memdetect.probing.checks import check_run
from memdetect.probing.needs import AFTER
from memdetect.probing.trace import Trace

pytestmark = pytest.mark.usefixtures("short_texts")
PROMPTS = {"prompt": ["a cat", "a photo of a red dog"], "label": ["207", "1"], "none": ["", ""]}
TRUE_CFG = {"true_cfg_scale": 3.0, "negative_prompt": ""}


def sampler_of(model: Model, batch: int) -> Sampler:
    flux = model.adapter.halves == "two calls" and not model.distilled
    return Sampler(6, 3.0, 2, batch_size=batch, call=TRUE_CFG if flux else {})


def served(model: Model) -> tuple[Detector, ...]:
    """Those of the run that a model's settings can serve."""
    found = list[Detector]()
    for detector in (d for d in BUILT_IN if not d.of_images):
        try:
            check_run(model, sampler_of(model, 1), (detector,))
        except MemdetectError:
            continue
        found.append(detector)
    return tuple(found)


def probed(model: Model, detectors: tuple[Detector, ...], batch: int, first: int = 0) -> Trace:
    return probe_prompts(
        model,
        PROMPTS[model.adapter.condition][first:],
        ids=["x", "y"][first:],
        sampler=sampler_of(model, batch),
        probe=Probe.at(model, detectors=detectors),
        images=False,
    )


def bound(detectors: tuple[Detector, ...], trace: Trace) -> tuple[Detector, ...]:
    """With a bank that fits the trace."""
    bank = random_bank()
    numbers = trace.output(EARLY_CLEAN)[0, 0, 0].numel()
    pictures = torch.randn(30, numbers, generator=torch.Generator().manual_seed(3)).half() / numbers**0.5
    early = next(i for i, sigma in enumerate(trace.run_sigmas) if sigma <= 8)
    held = {layer: array for (need, layer), array in trace.arrays.items() if need == NEURONS.needs[0]}
    neurons = {layer: torch.ones(2, array.shape[-1]) for layer, array in held.items()}
    return with_bank(detectors, replace(bank, pictures=pictures, ways=torch.ones(2, early), neurons=neurons))


def passes(model: Model, detectors: tuple[Detector, ...], trace: Trace) -> int:
    """As many further passes as the needs say, of one batch; a step of two calls asks twice."""
    total, calls = 0, 2 if model.adapter.halves == "two calls" and not model.distilled else 1
    for need in dict.fromkeys(need for detector in detectors for need in detector.needs if need.further):
        assert need.when is not None
        times = 1 if need.when == AFTER else len(need.when.steps(trace.run_sigmas))
        total += need.further * times * (1 if need.embedding else calls)
    return total


def test_scores_are_finite_the_same_in_any_batch_and_cost_what_is_said(adapter_pipe: Any) -> None:
    model = load(adapter_pipe)
    detectors = served(model)
    assert len(detectors) >= 10
    together, alone = probed(model, detectors, 4), probed(model, detectors, 1, first=1)
    assert together.notes.get("further_passes", 0) == passes(model, detectors, together)
    for detector in bound(detectors, together):
        scores, single = (detector.score(trace) for trace in (together, alone))
        assert scores.isfinite().all(), detector.name
        torch.testing.assert_close(single, scores[1:], rtol=2e-3, atol=1e-4, msg=detector.name)
