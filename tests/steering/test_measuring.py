"""Grids and responses: strength 0 is the scan's own image, numbers are those of their definition, groups are told."""

import numpy as np
import pytest
import torch
from steered_pipes import random_vector, request_of

from memdetect.adapters import load
from memdetect.copies.embedders import load_embedder
from memdetect.detectors import BESIDE
from memdetect.errors import MemdetectError
from memdetect.evaluation import Question, labels_of
from memdetect.evaluation.response import as_data, contrasts, render, separations
from memdetect.probing import Sampler, probe_prompts
from memdetect.runs.records import Measurement, Score
from memdetect.steering import CURVES, DETECTORS, SHAPES, Course, Trial, apply, draw, measure, strengths_of, to_ground

PROMPTS = ["a cat", "a dog", "red"]
SAMPLER = Sampler(2, 2.0, 1, seed=5, batch_size=2)


def test_strengths():
    assert strengths_of("0.4,0, 0.2,0") == (0.0, 0.2, 0.4)
    assert strengths_of("-1,1e-1") == (-1.0, 0.1)
    assert str(strengths_of("-0")[0]) == "0.0"
    for bad in ("", "0,,1", "much", "0;1", "nan", "inf", "0,1x"):
        with pytest.raises(MemdetectError, match="is no finite number"):
            strengths_of(bad)


def test_a_grid_shares_one_seed_and_starts_from_the_unsteered_image(any_pipe):
    model, vector = load(any_pipe), random_vector(any_pipe)
    seen = []
    embedder = load_embedder("pixels")
    course = Course(vector, (0.5, 1.0), None, embedder)
    grid = apply(model, PROMPTS, course, SAMPLER, lambda done, planned, _note: seen.append((done, planned)))
    assert grid.strengths == (0.0, 0.5, 1.0)
    assert [len(row) for row in grid.images] == [3, 3, 3]
    assert seen[-1] == (3, 3)
    own = [torch.Generator("cpu").manual_seed(5) for _ in PROMPTS[:2]]
    plain = any_pipe(PROMPTS[:2], generator=own, num_inference_steps=2, guidance_scale=2.0, output_type="np").images
    assert np.abs(np.rint(plain * 255) - np.stack([row[0] for row in grid.images[:2]])).max() <= 1
    first = [row for row in grid.rows if row["strength"] == 0]
    assert [row["prompt"] for row in first] == PROMPTS
    assert all(row["moved"] == 0 and row["resemblance"] == pytest.approx(1) for row in first)
    assert all(row["moved"] > 0 for row in grid.rows if row["strength"])
    picture = draw(grid)
    assert picture.size == (2 * 16 + 3 * (32 + 4), 16 + 3 * (32 + 4))
    assert np.array_equal(np.asarray(picture)[16:48, 32:64], grid.images[0][0])
    with pytest.raises(MemdetectError, match="no prompts"):
        apply(model, [], course, SAMPLER)


def test_an_image_that_is_not_finite_is_none_and_said(pipe, monkeypatch):
    """The second strength's first image of two: its numbers are None, all others are as they were."""
    course = Course(random_vector(pipe), (0.5, 1.0), None, load_embedder("pixels"))
    plain = apply(load(pipe), PROMPTS[:2], course, SAMPLER)
    spoil_decoder(pipe, monkeypatch, call=2)
    grid = apply(load(pipe), PROMPTS[:2], course, SAMPLER)
    assert [row["finite"] for row in grid.rows] == [True, False, True, True, True, True]
    bad = {"prompt": "a cat", "strength": 0.5, "moved": None, "border": None, "resemblance": None, "finite": False}
    assert grid.rows[1] == bad
    assert [row for k, row in enumerate(grid.rows) if k != 1] == [row for k, row in enumerate(plain.rows) if k != 1]


def spoil_decoder(pipe, monkeypatch, call):
    """NaN in a pixel of the first image of one call of the decoder, counted from 1."""
    own, calls = pipe.vae.decode, []

    def spoilt(latents, **options):
        (pixels,) = own(latents, **options)
        calls.append(1)
        if len(calls) == call:
            pixels[0, 0, 0, 0] = float("nan")
        return (pixels,)

    monkeypatch.setattr(pipe.vae, "decode", spoilt)


def test_a_response_over_an_image_that_is_not_finite_says_so(pipe, monkeypatch):
    requests = [request_of(prompt, group="control") for prompt in PROMPTS[:2]]
    spoil_decoder(pipe, monkeypatch, call=2)  # of the two prompts at strength 0.5
    first, second = measure(load(pipe), requests, trial(pipe), SAMPLER)
    assert (first.status, first.notes) == ("nonfinite", ["image 0 is not finite at strength 0.5"])
    assert (second.status, second.notes) == ("ok", [])
    cells = first.scores["moved"].cells["steered"]
    assert cells["0.5"] == [None]
    assert cells["1"][0] > 0
    assert first.scores["stillness"].score is None


def test_latents_that_are_not_finite_are_no_response(pipe, monkeypatch):
    from memdetect.steering import measuring

    own = measuring.steered_latents

    def spoilt(*given):
        made = own(*given).clone()
        made[0, 0, 0, 0] = float("inf") if given[-1] == 0 else made[0, 0, 0, 0]
        return made

    monkeypatch.setattr(measuring, "steered_latents", spoilt)
    first, second = measure(load(pipe), [request_of(p, group="control") for p in PROMPTS[:2]], trial(pipe), SAMPLER)
    assert first.notes == ["image 0 is not finite at strength 0"]
    assert {v for name in CURVES for (v,) in first.scores[name].cells["steered"].values()} == {None}
    assert second.status == "ok"


def test_large_images_are_reduced(pipe):
    grid = apply(load(pipe), ["a cat"], Course(random_vector(pipe), (0.0,)), SAMPLER)
    big = (np.zeros((400, 800, 3), np.uint8),)
    picture = draw(type(grid)(grid.prompts, grid.strengths, (big,), grid.rows))
    assert picture.size == (2 * 16 + 196, 16 + 100)


def trial(pipe, strengths=(0.0, 0.5, 1.0)):
    return Trial(Course(random_vector(pipe), strengths), to_ground((0, 0, 0)), BESIDE)


def test_a_response_is_what_its_parts_say(pipe):
    model, requests = load(pipe), [request_of(prompt, group="control") for prompt in PROMPTS]
    sampler = Sampler(2, 2.0, 2, seed=5, batch_size=2)
    rows = measure(model, requests, trial(pipe), sampler)
    assert [row.id for row in rows] == PROMPTS
    assert [row.seeds for row in rows] == [sampler.seeds(prompt) for prompt in PROMPTS]
    trace = probe_prompts(model, PROMPTS, sampler=sampler)
    for i, row in enumerate(rows):
        assert set(row.scores) == {*CURVES, *SHAPES, *DETECTORS, *(d.name for d in BESIDE)}
        cells = {name: row.scores[name].cells["steered"] for name in row.scores}
        assert list(cells["edit"]) == ["0", "0.5", "1"]
        assert cells["edit"]["0"] == [0, 0]
        assert cells["moved"]["0"] == [0, 0]
        assert cells["resemblance"]["1"] == [None, None]
        mean = np.mean([cells["edit"]["0.5"], cells["edit"]["1"]])
        assert row.scores["resistance"].score == pytest.approx(-mean)
        assert row.scores["stillness"].score == pytest.approx(-np.mean([cells["moved"]["0.5"], cells["moved"]["1"]]))
        assert row.scores["stillness"].score < 0
        # Strength 0 is the very image that a scan would score.
        expected = BESIDE[0].score(trace)[i].mean().item()
        assert row.scores["spikiness"].score == pytest.approx(expected, rel=1e-4)


def test_an_edit_that_is_there_already_has_no_response(pipe):
    model = load(pipe)
    known = measure(model, [request_of("a cat")], trial(pipe), SAMPLER)[0]
    grid = apply(model, ["a cat"], Course(random_vector(pipe), (0.0,)), Sampler(2, 2.0, 1, seed=known.seeds[0]))
    there = Trial(Course(random_vector(pipe), (0.0, 1.0)), to_ground(grid.rows[0]["border"]))
    row = measure(model, [request_of("a cat")], there, SAMPLER)[0]
    assert row.scores["edit"].cells["steered"]["1"] == [None]
    assert row.scores["resistance"].score is row.scores["sharpness"].score is None
    assert row.scores["stillness"].score < 0


def test_what_cannot_be_measured(pipe, tmp_path):
    model = load(pipe)
    for strengths in ((0.5, 1.0), (0.0,), (), (-1.0, 0.0, 1.0), (0.0, 1.0, 0.5)):
        with pytest.raises(MemdetectError, match="from strength 0 up"):
            measure(model, [request_of("a cat")], trial(pipe, strengths), SAMPLER)
    for requests in ([], [request_of(image=tmp_path)]):
        with pytest.raises(MemdetectError, match="only prompts can be steered"):
            measure(model, requests, trial(pipe), SAMPLER)


def made(index, group, edit, resistance):
    cells = {"steered": {"0": [0.0], "1": [edit]}}
    scores = {
        "edit": Score(score=edit, cells=cells),
        "resistance": Score(score=resistance, cells={"steered": {"all": [resistance]}}),
    }
    return Measurement(index=index, id=f"i{index}", prompt="p", source="s", meta={"group": group}, scores=scores)


def test_groups_are_compared_with_intervals():
    """Means and area worked out by hand: half the edit, and resistance that separates perfectly."""
    rows = [made(k, "duplicated", 0.2 + 0.01 * k, -0.1) for k in range(12)]
    rows += [made(20 + k, "control", 0.6 + 0.01 * k, -0.9) for k in range(12)]
    rows.append(made(99, "seen", None, None))
    labels = labels_of(rows, None, Question("duplicated"))
    compared = contrasts(rows, labels, ("edit", "identity"))
    assert list(compared) == ["edit"]
    found = compared["edit"]["1"]
    assert found.groups["duplicated"].mean == pytest.approx(0.255)
    assert found.differences["control"].mean == pytest.approx(-0.4)
    assert found.differences["control"].low < -0.4 < found.differences["control"].high < -0.35
    areas = separations(rows, labels, ("resistance", "stillness"))
    assert list(areas) == ["resistance"]
    assert areas["resistance"]["control"].auroc == 1
    assert areas["resistance"]["control"].low > 0.6
    text = render(compared, areas)
    assert "| edit | 1 | 0.255 [" in text
    assert "| resistance | 1.000 [" in text
    assert as_data(compared, areas)["responses"]["edit"]["1"]["groups"]["control"]["items"] == 12


def test_few_families_have_no_interval():
    rows = [made(k, group, 0.1, 0.0) for k, group in enumerate(["duplicated"] * 3 + ["control"] * 3)]
    labels = labels_of(rows, None, Question("duplicated"))
    found = contrasts(rows, labels, ("edit",))["edit"]["1"]
    assert found.groups["duplicated"].low is None
    assert str(found.differences["control"]) == "0.000 (too few)"
    assert "nothing could be compared" in render({}, {})
