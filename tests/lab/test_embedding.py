"""Training the copy embedder: what a batch holds, the loss in closed form, a run that is continued."""

from dataclasses import replace
from itertools import islice
from math import exp, log
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from memdetect.copies.embedders import load_embedder
from memdetect.errors import MemdetectError
from memdetect.lab.training import embedding
from memdetect.lab.training.embedding import EmbedderJob, batch, contrast, open_vae, rate, train_embedder
from memdetect.lab.training.parts import make_vae
from memdetect.lab.world.labelled import Counts, make_world
from memdetect.lab.world.scenes import paint, sibling
from memdetect.lab.world.stock import Stock

NAMES = ("ball", "block", "disc", "ring", "stone", "tile", "box", "cone", "cube", "dome")
COUNTS = Counts(exposures={0: 2, 3: 2}, verbatim=2, verbatim_controls=1, templates=1, variants=2, siblings=1, clean=0)


@pytest.fixture(scope="module")
def job(tmp_path_factory) -> EmbedderJob:
    pictures = {name: Image.new("RGBA", (96, 96), (25 * i, 255 - 25 * i, 120, 255)) for i, name in enumerate(NAMES)}
    rng = np.random.default_rng(0)
    clips = {f"{k}.png": rng.integers(0, 256, (64, 64, 3), dtype=np.uint8) for k in range(4)}
    world = make_world(3, COUNTS, names=NAMES, clips=list(clips))
    torch.manual_seed(0)
    return EmbedderJob(
        world, Stock(pictures, clips, "MIT"), make_vae().eval(), tmp_path_factory.mktemp("run"), 3, batch=20
    )


# Batches


def test_a_batch_holds_fresh_scenes_their_copies_and_what_is_mistaken_for_them(job):
    originals, copies, hard = batch(job, 2)
    assert originals.shape == copies.shape == hard.shape == (20, 64, 64, 3)
    scenes = list(islice(job.world.stream(embedding.START + 40), 18))
    np.testing.assert_array_equal(originals[:18], np.stack([paint(s, job.stock.pictures) for s in scenes]))
    assert all((a != b).any() for a, b in zip(originals, hard, strict=True))
    again = batch(job, 2)
    assert all((a == b).all() for a, b in zip((originals, copies, hard), again, strict=True))
    assert (batch(job, 3)[0] != originals).any()


def test_copies_are_nearer_than_what_is_mistaken_for_them(job):
    originals, copies, hard = (x.astype(float) for x in batch(job, 0))
    near, far = (np.square(x - originals).mean((1, 2, 3)) for x in (copies, hard))
    assert np.median(near) < np.median(far)


def test_clip_art_of_the_test_split_is_left_out(job):
    test = {e.clip for e in job.world.labelled if e.clip and e.part == "test"}
    assert len(test) == 1
    assert set(job.clips) == set(job.stock.clips) - test
    shown = [image for step in range(5) for image in batch(job, step)[0][18:]]
    (kept_out,) = test
    assert not any((image == job.stock.clips[kept_out]).all() for image in shown)


def test_a_sibling_differs_in_one_picture_in_its_place(job):
    rng = np.random.default_rng(0)
    for scene in islice(job.world.stream(), 20):
        other = sibling(rng, scene, job.world.names)
        pairs = [(a, b) for a, b in zip(scene.pictures, other.pictures, strict=True) if a != b]
        assert len(pairs) == 1
        assert replace(pairs[0][0], name=pairs[0][1].name) == pairs[0][1]
        assert other.ground == scene.ground


def test_a_moved_picture_moves_by_pixels_and_stays_inside(job):
    rng = np.random.default_rng(1)
    for scene in islice(job.world.stream(), 50):
        other = embedding._moved(rng, scene)
        assert [p.name for p in scene.pictures] == [p.name for p in other.pictures]
        far = [np.hypot(a.x - b.x, a.y - b.y) for a, b in zip(scene.pictures, other.pictures, strict=True)]
        assert max(far) > 3
        for p in other.pictures:
            assert p.size / 2 - 0.01 <= p.x <= 64.01 - p.size / 2
            assert p.size / 2 - 0.01 <= p.y <= 64.01 - p.size / 2


# The loss


def test_the_loss_in_closed_form():
    """Orthogonal everything: each softmax has one cosine of 1 among 2n-1 of 0. All equal: log 2n."""
    n, hot = 3, 1 / embedding.TEMPERATURE
    basis = torch.eye(2 * n)
    expected = log(exp(hot) + 2 * n - 1) - hot
    assert contrast(basis[:n], basis[:n], basis[n:]).item() == pytest.approx(expected, abs=1e-6)
    one = torch.ones(n, 1)
    assert contrast(one, one, one).item() == pytest.approx(log(2 * n), abs=1e-6)


def test_a_hard_negative_costs_what_a_copy_gains():
    basis = torch.eye(4)
    good = contrast(basis[:2], basis[:2], basis[2:])
    bad = contrast(basis[:2], basis[2:], basis[:2])
    assert good < 1e-6
    hot = 1 / embedding.TEMPERATURE  # one way nothing is like anything, the other the hard one is the nearest
    assert bad.item() == pytest.approx((log(4) + log(exp(hot) + 3)) / 2, abs=1e-4)


def test_the_rate_rises_and_falls():
    values = [rate(k, 400) for k in range(400)]
    assert np.argmax(values) in range(40, 60)
    assert values[-1] < 1e-3 * embedding.PEAK_RATE
    assert max(values) <= embedding.PEAK_RATE


# A run


def test_a_run_ends_in_an_embedder_and_resumes(job, tmp_path):
    through, parts = (replace(job, folder=tmp_path / name) for name in ("through", "parts"))
    for one in (through, parts):
        one.folder.mkdir()
    out = train_embedder(through)
    asked = iter(range(9))
    half = replace(parts, stop=lambda: next(asked) >= 1)
    assert not train_embedder(half).exists()
    assert torch.load(parts.folder / "state.pt", weights_only=True)["step"] == 1
    train_embedder(parts)

    images = [Image.fromarray(x) for x in batch(job, 7)[0]]
    one, other = (load_embedder("scenes", folder=folder) for folder in (out.parent, parts.folder))
    np.testing.assert_allclose(one.embed(images), other.embed(images), atol=2e-2)
    assert (out / "model.safetensors").stat().st_size <= 1.5e6
    assert "MIT" in (out / "config.json").read_text(encoding="utf-8")


def test_a_state_of_other_settings_is_refused(job):
    train_embedder(replace(job, steps=1))
    with pytest.raises(MemdetectError, match="choose another --run"):
        train_embedder(replace(job, steps=2))


def test_training_lowers_the_loss_on_a_batch(job, tmp_path):
    torch.manual_seed(0)
    net, fixed = embedding.SceneNet(), batch(job, 0)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    losses: list[float] = []
    for _ in range(12):
        loss = embedding._loss(net, *fixed)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2


def test_a_folder_without_an_autoencoder_is_one_line(tmp_path: Path):
    with pytest.raises(MemdetectError, match="holds no autoencoder") as caught:
        open_vae(tmp_path)
    assert "\n" not in str(caught.value)
