"""Each detector is asked once a place for all items and seeds, and says what it says of each number alone."""

from collections import Counter
from dataclasses import replace

import pytest
import torch

from memdetect.detectors import BUILT_IN
from memdetect.detectors.detector import Detector
from memdetect.probing.trace import Trace
from memdetect.scanning.scoring import scores_in

LAYERS, TIMES, SEEDS, ITEMS = [f"block.{i}" for i in range(13)], (10.0, 50.0, 100.0, 200.0, 400.0), 2, 3


@pytest.fixture(scope="module")
def trace() -> Trace:
    rng = torch.Generator().manual_seed(0)
    captures = sorted({need for detector in BUILT_IN for need in detector.needs})
    arrays = {
        (capture, layer): torch.rand(len(TIMES), ITEMS, SEEDS, 16 + i, generator=rng)
        for i, layer in enumerate(LAYERS)
        for capture in captures
    }
    return Trace(arrays, TIMES, tuple(0.1 for _ in TIMES), torch.zeros(ITEMS, SEEDS, 4, 2, 2))


def counted(detector: Detector, calls: Counter[str]) -> Detector:
    def score(trace: Trace) -> torch.Tensor:
        calls[detector.name] += 1
        return detector.score(trace)

    return replace(detector, score=score)


def test_a_sweep_asks_each_detector_once_a_place(trace: Trace) -> None:
    calls: Counter[str] = Counter()
    assert len(BUILT_IN) == 8
    scores_in(trace, [counted(detector, calls) for detector in BUILT_IN])
    assert calls == {detector.name: len(LAYERS) * len(TIMES) + 1 for detector in BUILT_IN}


def test_scores_and_cells_are_those_of_each_number_alone(trace: Trace) -> None:
    found = scores_in(trace, BUILT_IN)
    assert [list(own) for own in found] == [[detector.name for detector in BUILT_IN]] * ITEMS
    for detector in BUILT_IN:
        for i, own in enumerate(found):
            alone = trace.select(item=i)
            assert own[detector.name].score == pytest.approx(detector.score(alone).item(), rel=1e-6)
            for layer in LAYERS:
                for s, t in enumerate(TIMES):
                    cell = own[detector.name].cells[layer][f"{t:g}"]
                    expected = [detector.score(alone.select(layer=layer, step=s, seed=k)).item() for k in range(SEEDS)]
                    assert cell == pytest.approx(expected, rel=1e-6)


def test_what_is_not_finite_is_none_where_it_is(trace: Trace) -> None:
    arrays = {key: array.clone() for key, array in trace.arrays.items()}
    arrays["channel_max", LAYERS[4]][2, 1, 0, 3] = float("nan")
    found = scores_in(replace(trace, arrays=arrays), BUILT_IN[:1])
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
