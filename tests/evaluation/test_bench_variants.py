"""A detector is moved to other steps without knowing it; what a model cannot serve is said, whatever its name."""

import math

import pytest
import torch

from memdetect.adapters import load
from memdetect.detectors import find
from memdetect.detectors.detector import Detector
from memdetect.evaluation.bench.variants import served, spread, tried, variants_of
from memdetect.inputs.prompts import Request
from memdetect.probing import Probe, Sampler, probe_prompts
from memdetect.probing.checks import run_levels
from memdetect.probing.needs import AFTER, FIRST, LAST, RUN, Need, Window

LEVELS = (math.inf, 20.0, 9.0, 5.0, 2.0, 0.5)
ITEM = Request("one", "a cat", None, "p", 1, {})


def mean_clean(step):
    """Mean of the clean estimate."""
    return step.clean.flatten(1).mean(dim=1)


def at(window, **more):
    """A detector of one's own that reads the mean clean estimate, of the last step of its window."""
    need = Need(mean_clean, window, **more)
    return Detector("own", (need,), lambda trace: trace.output(need)[-1], "1", "this test", "mine", "mean")


@pytest.mark.parametrize(
    ("window", "steps"),
    [
        (FIRST, ["", "step 2", "step 3", "step 4", "step 5", "step 6"]),
        (LAST, ["", "step 1", "step 2", "step 3", "step 4", "step 5"]),
        (Window("at", 8.0), ["", "step 1", "step 2", "step 3", "step 5", "step 6"]),
        (Window("until", 8.0), ["", "step 1", "steps 1-2", "steps 1-3", "steps 1-5", "steps 1-6"]),
        (RUN, ["", "step 1", "steps 1-2", "steps 1-3", "steps 1-4", "steps 1-5"]),
        (AFTER, [""]),
        (None, [""]),
    ],
)
def test_a_window_is_moved_to_every_other_step(window, steps):
    found = variants_of(at(window), LEVELS)
    assert [variant.step for variant in found] == steps
    assert len({variant.record.name for variant in found}) == len(found)
    for variant in found[1:]:
        taken = variant.record.needs[0].when.steps(LEVELS)
        assert variant.step == (f"step {taken[-1] + 1}" if len(taken) == 1 else f"steps 1-{taken[-1] + 1}")


def test_what_compares_with_a_bank_or_asks_further_stays_unless_steps_are_named():
    banked = find(["specificity"])[0]
    assert len(variants_of(banked, LEVELS)) == len(variants_of(banked, LEVELS, (2,))) == 1
    asking = at(FIRST, further=2)
    assert len(variants_of(asking, LEVELS)) == 1
    assert [variant.step for variant in variants_of(asking, LEVELS, (2, 4, 99))] == ["", "step 2", "step 4"]


def test_ten_steps_of_a_long_run_with_both_ends():
    assert spread(4) == [1, 2, 3, 4]
    found = spread(50)
    assert (len(found), found[0], found[-1]) == (10, 1, 50)


def test_a_moved_detector_reads_what_stands_at_that_step(pipe):
    model = load(pipe)
    sampler = Sampler.of(model, steps=4, num_seeds=2)
    levels = run_levels(model, sampler)
    every = Need(mean_clean, RUN)
    variants = variants_of(at(FIRST), levels)
    whole = Detector("whole", (every,), lambda trace: trace.output(every)[0], "1", "this test", "w", "mean")
    probe = Probe.at(model, detectors=[*(v.record for v in variants), whole])
    trace = probe_prompts(model, ["a cat", "a dog"], sampler=sampler, probe=probe)
    steps = trace.output(every)
    assert len(variants) == len(steps) == 4
    for number, variant in enumerate(variants):
        torch.testing.assert_close(variant.record.score(trace), steps[number])
    assert not torch.allclose(steps[0], steps[1]), "steps differ"


def test_single_layers_are_tried_where_a_detector_reads_several(pipe):
    model = load(pipe)
    sampler = Sampler.of(model, steps=2, num_seeds=2)
    need = Need(lambda features: features.float().flatten(1).mean(dim=1), FIRST, where="features")
    deep = Detector(
        "deep", (need,), lambda t: torch.stack([a[0] for a in t.need(need).values()]).mean(dim=0), "1", "t", "d", "mean"
    )
    found, missing = tried(model, sampler, variants_of(deep, [9.0]), ["mid_block.resnets.*"], ITEM)
    assert [variant.layer for variant in found] == ["", "mid_block.resnets.0", "mid_block.resnets.1"]
    assert missing == {}
    probe = Probe.at(model, layers=["mid_block.resnets.*"], detectors=[deep])
    trace = probe_prompts(model, ["a cat"], ids=["one"], sampler=sampler, probe=probe)
    arrays = trace.need(need)
    for variant in found[1:]:
        torch.testing.assert_close(variant.record.score(trace), arrays[variant.layer][0])


def test_a_detector_that_gives_no_score_is_named_and_others_go_on(pipe):
    model = load(pipe)
    sampler = Sampler.of(model, steps=2, num_seeds=2)
    good = at(FIRST)
    broken = Detector("broken", good.needs, lambda trace: trace.output(good.needs[0])[7], "1", "t", "b", "mean")
    flat = Detector("flat", good.needs, lambda trace: torch.zeros(1), "1", "t", "f", "mean")
    variants = [variant for each in (broken, flat, good) for variant in variants_of(each, [9.0])]
    found, missing = tried(model, sampler, variants, (), ITEM)
    assert [variant.detector for variant in found] == ["own"]
    assert missing["broken"].startswith("detector 'broken' gives no score: index 7 is out of bounds")
    assert missing["flat"] == "detector 'flat' gives a score of shape (1,), expected (1, 2)"


def test_why_a_model_cannot_serve_a_detector_is_said(pipe):
    model = load(pipe)
    names = ("agreement-final", "noise-gap", "sharpness")
    alone = Sampler.of(model, steps=2, num_seeds=1, guidance_scale=1.0)
    found = served(model, alone, find(names), run_levels(model, alone))
    assert [detector.name for detector in found.detectors] == ["sharpness"]
    assert "compares the images of a prompt with each other" in found.missing["agreement-final"]
    assert found.missing["noise-gap"].startswith("detector 'noise-gap' ")
