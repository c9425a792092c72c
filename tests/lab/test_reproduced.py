"""What was reproduced, counted from the images of a run."""

import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from memdetect.errors import MemdetectError
from memdetect.lab.world import recipe, reproduced
from memdetect.lab.world.labelled import Counts, make_world
from memdetect.lab.world.stock import Stock

NAMES = ("ball", "block", "disc", "ring", "stone", "tile", "box", "cone", "cube", "dome")
COUNTS = Counts(exposures={0: 2, 3: 2}, verbatim=1, verbatim_controls=1, templates=1, variants=2, siblings=1, clean=0)


@pytest.fixture(scope="module")
def made():
    pictures = {name: Image.new("RGBA", (96, 96), (25 * i, 255 - 25 * i, 120, 255)) for i, name in enumerate(NAMES)}
    clip = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    return make_world(3, COUNTS, names=NAMES, clips=["clip.png"]), Stock(pictures, {"clip.png": clip})


def test_own_copies_and_copies_of_others_are_counted_apart(made, run_of, tmp_path):
    world, stock = made
    own, other = (e for e in world.labelled if e.group == "duplicated")
    title = next(e for e in world.labelled if e.group == "verbatim-control")
    a, b, blank = stock.image(own), stock.image(other), np.zeros((64, 64, 3), np.uint8)
    run = run_of(tmp_path / "run", {own.id: [a, a, b, blank], title.id: [b, blank]}, made[0])
    rows = [recipe.truth_row(e, stock) for e in world.labelled]
    found = {r.id: r for r in reproduced.judge_truth(rows, run, made)}
    assert (found[own.id].seeds, found[own.id].reproduced, found[own.id].copied_other) == (4, 0.5, 0.25)
    assert (found[title.id].seeds, found[title.id].reproduced, found[title.id].copied_other) == (2, None, 0.5)
    assert found[other.id].seeds is None
    assert reproduced.copied_share(run, made) == (4, 6)


def test_a_variant_of_the_own_template_is_no_copy_of_another(made, run_of, tmp_path):
    world, stock = made
    one, two = (e for e in world.labelled if e.group == "template")
    run = run_of(tmp_path / "run", {one.id: [stock.image(two)]}, made[0])
    rows = reproduced.judge_truth([recipe.truth_row(one, stock)], run, made)
    assert rows[0].copied_other == 0


def test_a_run_without_these_prompts_is_refused(made, run_of, tmp_path):
    run = run_of(tmp_path / "run", {"else": [np.zeros((64, 64, 3), np.uint8)]})
    with pytest.raises(MemdetectError, match="no images of this world"):
        reproduced.judge_truth([], run, made)


def test_what_truth_says_is_measured_again(made, run_of, tmp_path):
    own, other = (e for e in made[0].labelled if e.group == "duplicated")
    image = made[1].image(own)
    run = run_of(tmp_path / "run", {own.id: [image, image], other.id: [image]}, made[0])
    rows = reproduced.judge_truth([recipe.truth_row(e, made[1]) for e in made[0].labelled], run, made)
    assert list(reproduced.disagreements(rows, run, made)) == []
    wrong = [row.model_copy(update={"reproduced": 0.5}) if row.id == own.id else row for row in rows]
    assert list(reproduced.disagreements(wrong, run, made)) == [f"{own.id}: reproduced is 0.5, measured 1.0"]


def test_runs_that_say_nothing_of_a_world_are_refused(made, run_of, tmp_path):
    world, stock = made
    one = next(e for e in world.labelled if e.group == "duplicated")
    image = stock.image(one)
    refused = [
        ({one.id: [image]}, None, None, f"{one.id} is 'p', in this world {one.caption!r}"),
        ({one.id: [image]}, world, 2, "holds 1 of 2 items; finish the scan first"),
        ({one.id: []}, world, None, "kept no images"),
        ({one.id: [image[:, :40]]}, world, None, "has 40 x 64 pixels, expected a square"),
    ]
    for i, (images, of, planned, said) in enumerate(refused):
        run = run_of(tmp_path / f"{i}", images, of, planned)
        for judge in (
            lambda run: reproduced.copied_share(run, made),
            lambda run: reproduced.judge_truth([], run, made),
        ):
            with pytest.raises(MemdetectError, match=re.escape(said)):
                judge(run)
    with pytest.raises(MemdetectError, match=r"run\.json|no run"):
        reproduced.copied_share(tmp_path / "nothing", made)
    with pytest.raises(MemdetectError, match="shows no labelled image"):
        reproduced.trained_images(replace(world, labelled=()), stock)


def test_larger_images_are_scaled_to_those_of_the_world(made, run_of, tmp_path):
    world, stock = made
    one = next(e for e in world.labelled if e.group == "duplicated")
    large = np.kron(stock.image(one), np.ones((8, 8, 1), np.uint8))
    assert reproduced.copied_share(run_of(tmp_path / "run", {one.id: [large]}, world), made) == (1, 1)
