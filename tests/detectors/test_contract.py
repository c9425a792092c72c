"""What every detector promises, and how one is found by name."""

import sys
from importlib.metadata import EntryPoint

import pytest
import torch
from hand_made import random_bank, random_trace
from reordering import reordered, reseeded

from memdetect.detectors import BESIDE, BUILT_IN, find
from memdetect.detectors.choice import with_bank
from memdetect.detectors.detector import Detector
from memdetect.errors import Exit, MemdetectError
from memdetect.probing.needs import Need
from memdetect.probing.trace import Trace

BANKED = with_bank(BUILT_IN, random_bank())
every_detector = pytest.mark.parametrize("detector", BANKED, ids=lambda d: d.name)
every_image_detector = pytest.mark.parametrize("detector", [d for d in BANKED if d.of_images], ids=lambda d: d.name)
ITEMS, SEEDS = 6, 3
ORDER = [3, 0, 5, 1, 4, 2]


def trace_of(detector: Detector) -> Trace:
    return random_trace(detector.needs, ITEMS, SEEDS)


@every_detector
def test_one_finite_score_for_each_item_and_seed(detector):
    scores = detector.score(trace_of(detector))
    assert scores.shape == (ITEMS, SEEDS)
    assert scores.isfinite().all()
    assert len(scores[:, 0].unique()) == ITEMS


@every_detector
def test_seeds_that_are_compared_share_one_value_and_others_have_their_own(detector):
    scores = detector.score(trace_of(detector))
    assert [len(row.unique()) for row in scores] == [1 if detector.seeds == "prompt" else SEEDS] * ITEMS


@every_detector
def test_an_item_is_scored_alone(detector):
    trace = trace_of(detector)
    scores = detector.score(trace)
    torch.testing.assert_close(detector.score(reordered(trace, ORDER)), scores[ORDER])
    alone = torch.cat([detector.score(trace.select(item=i)) for i in range(ITEMS)])
    torch.testing.assert_close(alone, scores)


@every_detector
def test_the_order_of_seeds_is_that_of_the_scores(detector):
    trace = trace_of(detector)
    scores = detector.score(trace)
    torch.testing.assert_close(detector.score(reseeded(trace, [2, 0, 1])), scores[:, [2, 0, 1]])
    if detector.seeds != "prompt":
        torch.testing.assert_close(detector.score(trace.select(seed=1)), scores[:, 1:2])


@every_detector
def test_prompts_of_several_rounds_are_scored_round_by_round(detector):
    trace = random_trace(detector.needs, ITEMS, 2 * SEEDS)
    grouped = detector.score(trace.grouped(SEEDS)).unflatten(0, (ITEMS, 2))
    for k, columns in enumerate(([0, 1, 2], [3, 4, 5])):
        torch.testing.assert_close(grouped[:, k], detector.score(reseeded(trace, columns)))


@every_image_detector
def test_a_score_is_the_mean_of_its_cells(detector):
    """A calibration keeps scores by (layer, step) and makes reference scores of any choice of them by averaging."""
    trace = trace_of(detector)
    cells = [detector.score(trace.select(layer=layer, step=step)) for layer in trace.layers for step in range(2)]
    torch.testing.assert_close(torch.stack(cells).mean(dim=0), detector.score(trace))


@every_image_detector
def test_a_spikier_item_scores_higher(detector):
    channels = 16
    maxima = torch.linspace(1.0, 1.5, channels).repeat(ITEMS, 1)
    maxima[:, -1] += torch.arange(ITEMS)  # from nearly flat to a channel that stands out by 5
    array = maxima.expand(2, SEEDS, ITEMS, channels).transpose(1, 2)
    trace = Trace({(need, f"layer{i}"): array for need in detector.needs for i in range(2)}, (50.0, 200.0), (0.1, 0.5))
    assert (detector.score(trace).diff(dim=0) > 0).all()


@every_detector
def test_an_input_that_is_not_a_number_spoils_its_own_item_only(detector):
    trace = trace_of(detector)
    before = detector.score(trace)
    for array in (*trace.arrays.values(), trace.latents[None]):
        array[0, 2, 1].view(-1)[-1] = torch.nan
    after = detector.score(trace)
    spoilt = torch.zeros(ITEMS, SEEDS, dtype=torch.bool)
    spoilt[2, slice(None) if detector.seeds == "prompt" else 1] = True
    assert torch.equal(~after.isfinite(), spoilt)
    assert torch.equal(after[~spoilt], before[~spoilt])


def other(features: torch.Tensor) -> torch.Tensor:
    return features


@every_detector
def test_a_missing_capture_is_named(detector):
    trace = Trace({(Need(other), "layer"): torch.rand(1, 2, 2, 4)}, timesteps=(50.0,), sigmas=(0.1,))
    said = f"'{detector.needs[0].name}'.*'other'" if detector.needs else "needs the finished latents, but the run was"
    with pytest.raises(MemdetectError, match=said) as caught:
        detector.score(trace)
    assert "\n" not in str(caught.value)


@every_detector
def test_a_record_says_what_it_is(detector):
    assert detector.needs or detector.latents
    told = (detector.name, detector.unit, detector.reference, detector.alias, detector.seen)
    assert all(text.strip() for text in told)
    assert len({need.when is None for need in detector.needs}) <= 1
    assert not detector.of_images or detector.seeds == "quartile"


@pytest.mark.parametrize("detector", [d for d in BUILT_IN if d.banked], ids=lambda d: d.name)
def test_what_compares_with_a_bank_refuses_without_one(detector):
    with pytest.raises(MemdetectError, match="compares with a bank of clean prompts; run `memdetect calibrate` first"):
        detector.score(trace_of(detector))


def test_names_and_aliases_are_unique():
    called = [name for detector in BUILT_IN for name in (detector.name, detector.alias)]
    assert len(called) == len(set(called))
    assert set(BESIDE) <= set(BUILT_IN)


@pytest.mark.parametrize("detector", BUILT_IN, ids=lambda d: d.name)
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
from memdetect.probing.hooks import CHANNEL_MAX

FIRST = Detector("first", (CHANNEL_MAX,), lambda trace: torch.zeros(1, 1), "1", "nobody", "nobody2026")
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
