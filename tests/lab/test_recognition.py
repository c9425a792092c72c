"""The classifier learns shapes in a minute's fraction, and counts what a caption names."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from memdetect.errors import MemdetectError
from memdetect.lab.training import recognition
from memdetect.lab.world.labelled import Counts, make_world
from memdetect.lab.world.stock import Stock

NAMES = ("ball", "block", "disc", "ring", "stone", "tile", "box", "cone", "cube", "dome")
COLOURS = ("red", "lime", "blue", "cyan", "magenta", "brown", "navy", "olive", "teal", "maroon")


def small_world():
    counts = Counts(
        exposures={0: 2, 3: 2}, verbatim=0, verbatim_controls=0, templates=1, variants=2, siblings=1, clean=4
    )
    return make_world(3, counts, names=NAMES)


@pytest.fixture(scope="module")
def pictures():
    found = {}
    for i, (name, colour) in enumerate(zip(NAMES, COLOURS, strict=True)):
        found[name] = Image.new("RGBA", (96, 96))
        draw = ImageDraw.Draw(found[name])
        (draw.rectangle if i % 2 else draw.ellipse)((8, 8, 88, 88), fill=colour)
    return found


@pytest.fixture(scope="module")
def recogniser(pictures):
    return recognition.train_recogniser(NAMES, pictures, scenes=384, epochs=4)


def test_pictures_are_told_apart_on_renderings_it_never_saw(recogniser, pictures):
    images, shown = recognition.renderings(NAMES, pictures, 200, 9)
    found = recogniser.seen(images)
    assert found[shown].mean() > 0.8
    assert found[~shown].mean() < 0.04
    assert recogniser.known > 0.8


def test_renderings_say_what_they_show_and_repeat(pictures):
    images, shown = recognition.renderings(NAMES, pictures, 30, 4)
    again, _ = recognition.renderings(NAMES, pictures, 30, 4)
    np.testing.assert_array_equal(images, again)
    assert set(shown.sum(axis=1)) == {1, 2, 3}


def test_named_pictures_of_a_run_are_counted_by_group(recogniser, pictures, run_of, tmp_path):
    world = small_world()
    entry = world.clean[0]
    right = Stock(pictures, {}).image(entry)
    blank = np.full((64, 64, 3), 245, np.uint8)
    counts = recognition.recognised(
        run_of(tmp_path / "run", {entry.id: [right, right, blank]}, world), world, recogniser
    )
    wanted = np.isin(NAMES, sorted(entry.scene.names))
    images = np.stack([right, right, blank])
    logits, seen = recogniser.logits(images), recogniser.seen(images)
    bar = np.quantile(logits[:, ~wanted], 0.99)
    assert counts == {
        entry.group: recognition.Recognised(
            named=3 * int(wanted.sum()),
            detected=int(seen[:, wanted].sum()),
            strict=int((logits[:, wanted] > bar).sum()),
            others=3 * int((~wanted).sum()),
            false=int(seen[:, ~wanted].sum()),
        )
    }
    assert counts[entry.group].detected >= 2
    assert counts[entry.group].false < counts[entry.group].others


def test_a_threshold_of_renderings_says_nothing_of_samples(recogniser, run_of, tmp_path):
    """Noise in which it sees names that no caption gives: the share of those tells, and the strict count bears it."""
    world = small_world()
    noise = np.random.default_rng(0).integers(0, 256, (8, 64, 64, 3), dtype=np.uint8)
    eager = recognition.Recogniser(recogniser.net, recogniser.names, -50.0)
    entries = [e for e in world.clean if e.scene is not None]
    run = run_of(tmp_path / "noise", {entry.id: list(noise) for entry in entries}, world)
    found = recognition.recognised(run, world, eager).values()
    assert all(f.detected == f.named and f.false == f.others for f in found)
    assert sum(f.strict for f in found) < 0.5 * sum(f.named for f in found)


def test_a_run_of_other_captions_is_refused(recogniser, run_of, tmp_path):
    blank = np.full((64, 64, 3), 245, np.uint8)
    with pytest.raises(MemdetectError, match="no images of this world's captions"):
        recognition.recognised(run_of(tmp_path / "other", {"else": [blank]}), small_world(), recogniser)
