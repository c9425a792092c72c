"""What every detector promises, and how one is found by name."""

import sys
from importlib.metadata import EntryPoint

import pytest
import torch
from reordering import reordered

from memdetect.detectors import BUILT_IN, DEFAULT, find
from memdetect.detectors.detector import Detector
from memdetect.errors import Exit, MemdetectError
from memdetect.probing.trace import Trace

every_detector = pytest.mark.parametrize("detector", BUILT_IN, ids=lambda d: d.name)
ITEMS = 6
ORDER = [3, 0, 5, 1, 4, 2]


def trace_for(detector: Detector, arrays: list[torch.Tensor]) -> Trace:
    """A trace in which every capture that the detector needs holds one array for each of two layers."""
    layers = [f"layer{i}" for i in range(len(arrays))]
    named = {(need, layer): array for need in detector.needs for layer, array in zip(layers, arrays, strict=True)}
    return Trace(named, timesteps=(50.0, 200.0), sigmas=(0.1, 0.5))


def random_trace(detector: Detector) -> Trace:
    random = torch.Generator().manual_seed(0)
    return trace_for(detector, [torch.rand(2, ITEMS, 3, channels, generator=random) for channels in (16, 8)])


@every_detector
def test_one_finite_score_for_each_item(detector):
    scores = detector.score(random_trace(detector))
    assert scores.shape == (ITEMS,)
    assert scores.isfinite().all()
    assert len(scores.unique()) == ITEMS


@every_detector
def test_an_item_is_scored_alone(detector):
    trace = random_trace(detector)
    scores = detector.score(trace)
    torch.testing.assert_close(detector.score(reordered(trace, ORDER)), scores[ORDER])
    alone = torch.cat([detector.score(trace.select(item=i)) for i in range(ITEMS)])
    torch.testing.assert_close(alone, scores)


@every_detector
def test_the_order_of_seeds_is_irrelevant(detector):
    trace = random_trace(detector)
    turned = Trace({key: array.flip(2) for key, array in trace.arrays.items()}, trace.timesteps, trace.sigmas)
    torch.testing.assert_close(detector.score(turned), detector.score(trace))


@every_detector
def test_a_score_is_the_mean_of_its_cells(detector):
    """A calibration keeps scores by (layer, step, seed) and makes reference scores of any choice by averaging."""
    trace = random_trace(detector)
    cells = [
        detector.score(trace.select(layer=layer, step=step, seed=seed))
        for layer in trace.layers
        for step in range(2)
        for seed in range(3)
    ]
    torch.testing.assert_close(torch.stack(cells).mean(dim=0), detector.score(trace))


@every_detector
def test_a_spikier_item_scores_higher(detector):
    channels = 16
    maxima = torch.linspace(1.0, 1.5, channels).repeat(ITEMS, 1)
    maxima[:, -1] += torch.arange(ITEMS)  # from nearly flat to a channel that stands out by 5
    scores = detector.score(trace_for(detector, [maxima.expand(2, 3, ITEMS, channels).transpose(1, 2)] * 2))
    assert (scores.diff() > 0).all()


@every_detector
def test_an_input_that_is_not_a_number_spoils_its_own_item_only(detector):
    trace = random_trace(detector)
    before = detector.score(trace)
    for array in trace.arrays.values():
        array[0, 2, 1, 3] = torch.nan
    after = detector.score(trace)
    assert not after[2].isfinite()
    others = torch.arange(ITEMS) != 2
    assert torch.equal(after[others], before[others])


@every_detector
def test_a_missing_capture_is_named(detector):
    trace = Trace({("other", "layer"): torch.rand(1, 2, 1, 4)}, timesteps=(50.0,), sigmas=(0.1,))
    with pytest.raises(MemdetectError, match=f"'{min(detector.needs)}'.*'other'"):
        detector.score(trace)


@every_detector
def test_a_record_says_what_it_is(detector):
    assert detector.needs
    assert all(text.strip() for text in (detector.name, detector.unit, detector.reference, detector.alias))


def test_names_and_aliases_are_unique():
    called = [name for detector in BUILT_IN for name in (detector.name, detector.alias)]
    assert len(called) == len(set(called))
    assert set(DEFAULT) <= set(BUILT_IN)


@every_detector
def test_find_by_name_and_by_alias_gives_a_detector_once(detector):
    assert find([detector.name]) == find([detector.alias]) == (detector,)
    assert find([detector.name, detector.alias, detector.name]) == (detector,)


def test_find_keeps_the_order_asked_for():
    backwards = BUILT_IN[::-1]
    assert find([d.name for d in backwards]) == backwards


def test_an_unknown_name_is_answered_with_the_closest():
    with pytest.raises(
        MemdetectError, match=r"no detector named 'spikyness'; did you mean 'spikiness'\?.*spikiness-l4"
    ) as caught:
        find(["spikyness"])
    assert caught.value.exit is Exit.USAGE
    with pytest.raises(MemdetectError, match=r"no detector named 'zzz'; \(have: "):
        find(["zzz"])


PLUGIN = """
import torch
from memdetect.detectors.detector import Detector

NEEDS = frozenset({"channel_max"})
FIRST = Detector("first", "image", NEEDS, lambda trace: torch.zeros(1), "1", "nobody", "nobody2026")
NOT_ONE = "a string"
"""


@pytest.fixture
def plugin(tmp_path, monkeypatch, request):
    """A module that brings detectors `first`, `not-one` and one called like a built-in, installed for one test."""
    module = f"plugin_of_{request.node.name}"
    (tmp_path / f"{module}.py").write_text(PLUGIN, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    offered = {"first": "FIRST", "not-one": "NOT_ONE", BUILT_IN[0].name: "FIRST"}
    entries = [EntryPoint(name, f"{module}:{value}", "memdetect.detectors") for name, value in offered.items()]
    monkeypatch.setattr("memdetect.detectors.entry_points", lambda group: [e for e in entries if e.group == group])
    yield module
    sys.modules.pop(module, None)


def test_a_plugin_is_imported_only_when_chosen(plugin):
    find([d.name for d in BUILT_IN])
    with pytest.raises(MemdetectError, match=r"did you mean 'first'\?"):
        find(["firts"])
    assert plugin not in sys.modules
    (found,) = find(["first"])
    assert plugin in sys.modules
    assert found.alias == "nobody2026"


def test_a_plugin_that_is_no_detector_is_refused(plugin):
    with pytest.raises(MemdetectError, match="plug-in 'not-one' is a str, expected a memdetect Detector"):
        find(["not-one"])


def test_a_plugin_cannot_take_the_name_of_a_built_in(plugin):
    assert find([BUILT_IN[0].name]) == (BUILT_IN[0],)
    assert plugin not in sys.modules
