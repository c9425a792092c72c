"""Training: exposures, a run that is continued, and what it leaves behind. A few steps on squares of two colours."""

import gzip
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from PIL import Image

from memdetect.lab import train as training
from memdetect.lab import vae as autoencoder
from memdetect.lab import world as worlds
from memdetect.lab.parts import make_tokenizer, make_vae
from memdetect.lab.train import Job, Student, train

NAMES = ("ball", "block", "disc", "ring", "stone", "tile")
STEPS = 3


@pytest.fixture
def small_world(monkeypatch: pytest.MonkeyPatch) -> worlds.World:
    monkeypatch.setattr(worlds, "NAMES", NAMES)
    return worlds.make_world(pool=4, duplicated=2, held_out=2)


@pytest.fixture
def pictures() -> dict[str, Image.Image]:
    colours = ((220, 40, 40, 255), (40, 40, 220, 255))
    return {name: Image.new("RGBA", (96, 96), colours[i % 2]) for i, name in enumerate(NAMES)}


@pytest.fixture
def vocabulary(tmp_path: Path) -> Path:
    """A byte-pair vocabulary of three merges."""
    path = tmp_path / "bpe.txt.gz"
    path.write_bytes(gzip.compress(b"version\na n\no n\nb a"))
    return path


@pytest.fixture
def job_in(small_world, pictures, vocabulary, tmp_path, monkeypatch) -> Callable[..., Job]:
    """Makes a job in a named folder; a step takes one second of a clock that moves when it is looked at."""
    ticks = iter(range(10**6))
    monkeypatch.setattr(training, "time", SimpleNamespace(monotonic=lambda: float(next(ticks))))
    torch.manual_seed(0)
    vae = make_vae().eval()

    def make(name: str, **changes) -> Job:
        (tmp_path / name).mkdir(exist_ok=True)
        settings = {"batch": 4, "minutes": STEPS / 60} | changes
        return Job(small_world, pictures, vae, vocabulary, tmp_path / name, **settings)

    return make


def after(steps: int) -> Callable[[], bool]:
    """Says stop once `steps` steps were allowed."""
    asked: Iterator[int] = iter(range(10**6))
    return lambda: next(asked) >= steps


# Exposures


@pytest.mark.parametrize(("duplicated", "count"), [(7, 3), (5, 5), (3, 8), (40, 16)])
def test_exposures_differ_by_at_most_one_after_any_number_of_steps(job_in, monkeypatch, duplicated, count):
    monkeypatch.setattr(worlds, "NAMES", tuple(f"name{i}" for i in range(12)))
    job = job_in("lot")
    world = worlds.make_world(pool=duplicated + 1, duplicated=duplicated, held_out=0)
    job = Job(world, job.pictures, job.vae, job.vocabulary, job.folder, 1.0)
    shown: Counter[int] = Counter(dict.fromkeys(range(duplicated), 0))
    for step in range(60):
        rows = training._lot(job, step, count)
        assert len(rows) == count
        assert rows == training._lot(job, step, count)
        shown.update(rows)
        assert set(shown) == set(range(duplicated))
        assert max(shown.values()) - min(shown.values()) <= 1, step
    assert shown.total() == 60 * count


def test_the_order_changes_from_round_to_round(job_in):
    job = job_in("lot")
    world = worlds.make_world(pool=10, duplicated=10, held_out=0)
    job = Job(world, job.pictures, job.vae, job.vocabulary, job.folder, 1.0)
    rounds = [training._lot(job, step, 10) for step in range(6)]
    assert all(sorted(r) == list(range(10)) for r in rounds)
    assert all(a != b for a, b in pairwise(rounds))


# A run


def state(job: Job) -> dict:
    return torch.load(job.folder / "state.pt", weights_only=True)


def test_a_continued_run_equals_one_that_was_not_interrupted(job_in):
    through, parts = job_in("through"), job_in("parts", stop=after(2))
    whole = train(through)
    assert whole.step == STEPS

    first = train(parts)
    assert (first.step, first.seconds) == (2, 2.0)
    assert (parts.folder / "pipeline" / "model_index.json").exists(), "no usable weights after a stop"
    second = train(job_in("parts"))
    assert (second.step, second.seconds) == (STEPS, float(STEPS))
    assert state(parts)["step"] == STEPS

    for key, value in whole.nets.state_dict().items():
        torch.testing.assert_close(second.nets.state_dict()[key], value, rtol=1e-4, atol=1e-6, msg=key)
        torch.testing.assert_close(second.average[key], whole.average[key], rtol=1e-4, atol=1e-6, msg=key)

    again = train(job_in("parts"))
    assert again.step == STEPS, "the minutes are those of all restarts"


def test_what_a_run_leaves_behind(job_in):
    job = job_in("run", minutes=2 / 60)
    before = {key: value.clone() for key, value in job.vae.state_dict().items()}
    student = train(job)

    average = state(job)["average"]
    fresh = Student(job).average
    assert all(torch.isfinite(value).all() for value in average.values())
    moved = [key for key in average if not torch.equal(average[key], fresh[key])]
    assert len(moved) > 0.9 * len(average)
    assert any(not torch.equal(average[key], student.nets.state_dict()[key]) for key in average)
    # Half precision is the file's alone: the autoencoder in use stays as it was.
    assert all(torch.equal(value, job.vae.state_dict()[key]) for key, value in before.items())

    folder = job.folder / "pipeline"
    assert sorted(p.name for p in folder.rglob("*.safetensors"))
    assert not [*folder.rglob("*.bin"), *folder.rglob("*.pt")]
    pipe = StableDiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32, safety_checker=None)
    pipe.set_progress_bar_config(disable=True)
    stored = pipe.unet.state_dict()
    for key, value in stored.items():
        torch.testing.assert_close(value, average[f"unet.{key}"].half().float(), rtol=0, atol=0)
    image = pipe("a ball on red", num_inference_steps=2, generator=torch.Generator().manual_seed(0)).images[0]
    assert image.size == (64, 64)
    assert image.mode == "RGB"


def test_an_error_on_the_way_still_saves(job_in, monkeypatch):
    job, update = job_in("run"), training._update

    def breaks(student, *rest):
        if student.step == 1:
            raise KeyboardInterrupt
        return update(student, *rest)

    monkeypatch.setattr(training, "_update", breaks)
    with pytest.raises(KeyboardInterrupt):
        train(job)
    assert state(job)["step"] == 1
    assert (job.folder / "pipeline" / "model_index.json").exists()


# Parts


def test_a_tokenizer_of_a_prefix_of_the_merges(vocabulary, tmp_path):
    tokenizer = make_tokenizer(vocabulary, tmp_path / "tokenizer")
    assert len(tokenizer) == 2 * 256 + 3 + 2
    assert tokenizer.model_max_length == 32
    ids = tokenizer("an ban").input_ids
    assert ids[0] == len(tokenizer) - 2
    assert ids[-1] == len(tokenizer) - 1
    assert tokenizer.decode(ids, skip_special_tokens=True).split() == ["an", "ban"]


def test_the_autoencoder_is_trained_once_and_its_encoder_kept(small_world, pictures, tmp_path, monkeypatch):
    ticks = iter(range(10**6))
    monkeypatch.setattr(autoencoder, "time", SimpleNamespace(monotonic=lambda: float(next(ticks))))
    fit = autoencoder.Fit(small_world, pictures, minutes=3 / 60)
    vae = autoencoder.train_vae(fit, tmp_path)
    images = autoencoder.to_tensor([worlds.paint(s, pictures) for s in small_world.duplicated])
    assert images.shape == (2, 3, 64, 64)
    assert (images.min() >= -1).item()
    assert (images.max() <= 1).item()
    with torch.no_grad():
        latents = vae.encode(images).latent_dist.mode()
    assert latents.shape == (2, 8, 16, 16)
    assert 0 < vae.config["scaling_factor"] < np.inf

    found = autoencoder.train_vae(fit, tmp_path)
    assert isinstance(found, AutoencoderKL)
    assert found.config["scaling_factor"] == pytest.approx(vae.config["scaling_factor"])

    decoder = {key: value.clone() for key, value in vae.decoder.state_dict().items()}
    autoencoder.refine_decoder(vae, fit)
    assert any(not torch.equal(value, vae.decoder.state_dict()[key]) for key, value in decoder.items())
    with torch.no_grad():
        torch.testing.assert_close(vae.encode(images).latent_dist.mode(), latents, rtol=0, atol=0)
