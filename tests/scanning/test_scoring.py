"""Each detector is asked once a place for all items and seeds, and says what it says of each number alone."""

from collections import Counter
from dataclasses import replace

import pytest
import torch
from hand_made import LAYERS as ATTENTIONS
from hand_made import MAPS, SHAPES, STEPS, random_bank
from reordering import reseeded

from memdetect.detectors import BUILT_IN
from memdetect.detectors.choice import with_bank
from memdetect.detectors.detector import Detector
from memdetect.probing.needs import Need
from memdetect.probing.trace import Trace
from memdetect.runs.plan import RUN
from memdetect.scanning.scoring import scores_in

LAYERS, TIMES, SEEDS, ITEMS = [f"block.{i}" for i in range(13)], (10.0, 50.0, 100.0, 200.0, 400.0), 2, 3
BANKED = with_bank(BUILT_IN, random_bank())
OF_IMAGES, OF_RUN = [d for d in BANKED if d.of_images], [d for d in BANKED if not d.of_images]
WHOLE = {
    "quartile": lambda own: sorted(own)[int(0.75 * (len(own) - 1))],
    "mean": lambda own: sum(own) / len(own),
    "prompt": min,
}


def traced(seeds: int) -> Trace:
    rng = torch.Generator().manual_seed(0)
    arrays: dict[tuple[Need, str], torch.Tensor] = {}
    for need in dict.fromkeys(need for detector in BUILT_IN for need in detector.needs):
        if need.when is not None:
            shape = (STEPS.get(need.name, 1), ITEMS, seeds, *SHAPES.get(need.name, ()))
            for layer in ATTENTIONS if need.where in ("attention", "values") else ("",):
                arrays[need, layer] = torch.rand(shape, generator=rng)
            continue
        for i, layer in enumerate(LAYERS):
            arrays[need, layer] = torch.rand(len(TIMES), ITEMS, seeds, 16 + i, generator=rng)
    latents = torch.randn(ITEMS, seeds, *MAPS, generator=rng)
    return Trace(arrays, TIMES, tuple(0.1 for _ in TIMES), latents, families=("family 1", "x", "family 2"))


@pytest.fixture(scope="module")
def trace() -> Trace:
    return traced(SEEDS)


def counted(detector: Detector, calls: Counter[str]) -> Detector:
    def score(trace: Trace) -> torch.Tensor:
        calls[detector.name] += 1
        return detector.score(trace)

    return replace(detector, score=score)


def test_a_sweep_asks_each_detector_once_a_place(trace: Trace) -> None:
    calls: Counter[str] = Counter()
    scores_in(trace, [counted(detector, calls) for detector in BANKED])
    assert calls == {d.name: len(LAYERS) * len(TIMES) if d.of_images else 1 for d in BANKED}


def test_scores_and_cells_are_those_of_each_number_alone(trace: Trace) -> None:
    found = scores_in(trace, BANKED)
    assert [list(own) for own in found] == [[detector.name for detector in BANKED]] * ITEMS
    for detector in OF_IMAGES:
        for i, own in enumerate(found):
            alone = trace.select(item=i)
            by_seed = [detector.score(alone.select(seed=k)).item() for k in range(SEEDS)]
            assert own[detector.name].score == pytest.approx(WHOLE[detector.seeds](by_seed), rel=1e-5)
            for layer in LAYERS:
                for s, t in enumerate(TIMES):
                    cell = own[detector.name].cells[layer][f"{t:g}"]
                    expected = [detector.score(alone.select(layer=layer, step=s, seed=k)).item() for k in range(SEEDS)]
                    assert cell == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("detector", OF_RUN, ids=lambda d: d.name)
def test_a_detector_of_the_run_has_one_place(trace: Trace, detector: Detector) -> None:
    expected = detector.score(trace).tolist()
    for own, values in zip(scores_in(trace, [detector]), expected, strict=True):
        layer, when = RUN
        assert own[detector.name].cells == {layer: {when: values}}
        assert own[detector.name].score == pytest.approx(WHOLE[detector.seeds](values))


@pytest.mark.parametrize("rounds", [2, 3])
def test_rounds_of_seeds_are_scored_apart(rounds: int) -> None:
    """Two seeds a round: each round's values are those of a run of these two seeds alone."""
    whole = traced(SEEDS * rounds)
    found = scores_in(whole, BANKED, SEEDS)
    for k in range(rounds):
        columns = range(SEEDS * k, SEEDS * (k + 1))
        alone = scores_in(reseeded(whole, list(columns)), BANKED)
        for i in range(ITEMS):
            for detector in BANKED:
                for layer, times in found[i][detector.name].cells.items():
                    for t, values in times.items():
                        assert len(values) == SEEDS * rounds
                        expected = alone[i][detector.name].cells[layer][t]
                        assert [values[c] for c in columns] == pytest.approx(expected, rel=1e-5)


def test_of_several_rounds_compared_together_seeds_would_agree_otherwise() -> None:
    whole = traced(SEEDS * 2)
    prompts = [d for d in BANKED if d.seeds == "prompt"]
    together, apart = scores_in(whole, prompts), scores_in(whole, prompts, SEEDS)
    assert all(together[i][d.name].cells != apart[i][d.name].cells for i in range(ITEMS) for d in prompts)


def test_what_is_not_finite_is_none_where_it_is(trace: Trace) -> None:
    (spikiness,) = [d for d in BANKED if d.name == "spikiness"]
    arrays = {key: array.clone() for key, array in trace.arrays.items()}
    arrays[spikiness.needs[0], LAYERS[4]][2, 1, 0, 3] = float("nan")
    found = scores_in(replace(trace, arrays=arrays), [spikiness])
    assert [own["spikiness"].score is None for own in found] == [False, True, False]
    gone = [
        (i, layer, t, k)
        for i, own in enumerate(found)
        for layer, times in own["spikiness"].cells.items()
        for t, values in times.items()
        for k, value in enumerate(values)
        if value is None
    ]
    assert gone == [(1, LAYERS[4], "100", 0)]
