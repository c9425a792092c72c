"""Training: exposures, a run that is continued, and what it leaves behind. A few steps on squares of two colours."""

import gzip
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from PIL import Image
from recorded_runs import MODEL
from safetensors.torch import load_file

from memdetect.errors import MemdetectError
from memdetect.lab.training import train as training
from memdetect.lab.training import vae as autoencoder
from memdetect.lab.training.parts import make_tokenizer, make_unet, make_vae
from memdetect.lab.training.train import Job, Student, train
from memdetect.lab.world.labelled import Counts, World, make_world
from memdetect.lab.world.scenes import paint
from memdetect.lab.world.stock import Stock

NAMES = ("ball", "block", "disc", "ring", "stone", "tile", "cone", "cube")
STEPS = 4  # 2 of the base, 2 with the duplicates


COUNTS = Counts(exposures={0: 2, 2: 2}, verbatim=0, verbatim_controls=0, templates=0, variants=1, siblings=0, clean=0)


@pytest.fixture
def small_world() -> World:
    return make_world(0, COUNTS, names=NAMES)


@pytest.fixture
def pictures() -> dict[str, Image.Image]:
    colours = ((220, 40, 40, 255), (40, 40, 220, 255))
    return {name: Image.new("RGBA", (96, 96), colours[i % 2]) for i, name in enumerate(NAMES)}


@pytest.fixture
def vocabulary(tmp_path: Path) -> Path:
    """A byte-pair vocabulary of three merges."""
    path = tmp_path / "bpe.txt.gz"
    path.write_bytes(gzip.compress(b"version\na n\no n\nb a", mtime=0))
    return path


def thin_unet() -> UNet2DConditionModel:
    """make_unet's with 32 channels in each block."""
    with torch.device("meta"):
        config = make_unet().config
    return UNet2DConditionModel.from_config({**config, "block_out_channels": (32, 32, 32)})


@pytest.fixture
def job_in(small_world, pictures, vocabulary, tmp_path, monkeypatch) -> Callable[..., Job]:
    """Makes a job in a named folder; a step takes one second of a clock that moves when it is read.

    Its U-Net is thin, for what takes time is writing and reading all weights.
    """
    ticks = iter(range(10**6))
    monkeypatch.setattr(training, "time", SimpleNamespace(monotonic=lambda: float(next(ticks))))
    torch.manual_seed(0)
    vae = make_vae().eval()
    monkeypatch.setattr(training, "make_unet", thin_unet)

    def make(name: str, **changes) -> Job:
        (tmp_path / name).mkdir(exist_ok=True)
        settings = {"base_steps": 2, "batch": 4, "duplicates": 2} | changes
        return Job(small_world, Stock(pictures, {}), vae, vocabulary, tmp_path / name, **settings)

    return make


def after(steps: int) -> Callable[[], bool]:
    """Says stop once `steps` steps were allowed."""
    asked: Iterator[int] = iter(range(10**6))
    return lambda: next(asked) >= steps


# Exposures


def test_each_step_shows_the_next_of_the_schedule_and_of_the_stream(job_in):
    job = job_in("job")
    assert job.steps == STEPS
    shown, encoded = job.world.schedule(), torch.zeros(len(job.world.trained), 8, 16, 16)
    stream = [s.caption for s in islice(job.world.stream(), 12)]
    captions = [training._draw(job, step, job.fresh[step], shown, encoded)[1] for step in range(job.steps)]
    assert captions[0] + captions[1] + captions[2][:2] + captions[3][:2] == stream
    late = captions[2][2:] + captions[3][2:]
    assert Counter(late) == {e.caption: e.exposures for e in job.world.trained}


def test_a_last_step_that_the_schedule_does_not_fill_is_filled_from_the_stream(job_in):
    job = job_in("job", duplicates=3)
    shown, encoded = job.world.schedule(), torch.zeros(len(job.world.trained), 8, 16, 16)
    assert job.steps == STEPS
    latents, captions = training._draw(job, 3, job.fresh[3], shown, encoded)
    assert len(captions) == len(latents) == 4
    stream = [s.caption for s in islice(job.world.stream(), 12)]
    assert captions[:3] == stream[9:12]


@pytest.mark.parametrize("workers", [0, 2])
def test_painting_ahead_changes_neither_scenes_nor_their_order(job_in, workers):
    job = job_in("job", duplicates=3, workers=workers)
    stream = list(islice(job.world.stream(), 12))
    steps = list(training._painted(job, 1))
    assert [captions for _, captions in steps] == [
        [s.caption for s in stream[4:8]], [s.caption for s in stream[8:9]], [s.caption for s in stream[9:12]],
    ]  # fmt: skip
    painted = [image for images, _ in steps for image in images]
    np.testing.assert_array_equal(painted, [paint(s, job.stock.pictures) for s in stream[4:12]])


GROUP = """\
import signal, time
from types import SimpleNamespace
from memdetect.lab.training import train

class Scenes:
    def __len__(self):
        return 1000

    def __getitem__(self, step):
        time.sleep(0.01)
        return [], [str(step)]

told = []
signal.signal(signal.SIGTERM, lambda *_: told.append(1))
painted = train._painted(SimpleNamespace(fresh=Scenes(), steps=1000, workers=1), 0)
assert next(painted) == ([], ["0"])
print("begun", flush=True)
while not told:
    next(painted)
for _ in range(20):
    last = next(painted)
print("painted on", int(last[1][0]) >= 20)
"""


def test_a_signal_to_the_process_group_does_not_take_the_painters_away(ready):
    """The training is told to stop, finishes its batch and saves; it needs what is still painted for it."""
    process = ready.start(GROUP)
    with process.stdin, process.stdout, process.stderr:
        assert process.stdout.readline() == "begun\n"
        os.killpg(process.pid, signal.SIGTERM)
        assert process.stdout.read() == "painted on True\n", process.stderr.read()
        assert process.wait() == 0


def test_the_rate_warms_up_and_falls_in_both_parts(job_in, monkeypatch):
    monkeypatch.setattr(training, "WARM_UP", 4)
    job = job_in("rate", base_steps=100, duplicates=1)
    assert job.rate(0) == pytest.approx(8e-4 / 4)
    assert job.rate(50) == pytest.approx((8e-4 + 4e-4) / 2)
    assert job.rate(100) == pytest.approx(8e-4 / 4)
    assert 0 < job.rate(job.steps - 1) <= 8e-4 / 4


# A run


def state(job: Job) -> dict:
    return torch.load(job.folder / "state.pt", weights_only=True)


def test_a_continued_run_equals_one_that_was_not_interrupted(job_in):
    through, parts = job_in("through"), job_in("parts", stop=after(2))
    whole = train(through)
    assert whole.step == STEPS

    first = train(parts)
    assert first.step == 2
    assert first.seconds > 0
    assert (parts.folder / "pipeline" / "model_index.json").exists(), "no usable weights after a stop"
    second = train(job_in("parts"))
    assert second.step == STEPS
    assert state(parts)["step"] == STEPS

    for key, value in whole.nets.state_dict().items():
        torch.testing.assert_close(second.nets.state_dict()[key], value, rtol=1e-4, atol=1e-6, msg=key)
        torch.testing.assert_close(second.average[key], whole.average[key], rtol=1e-4, atol=1e-6, msg=key)

    again = train(job_in("parts"))
    assert again.step == STEPS


def test_the_base_is_kept_as_it_was_before_the_duplicates(job_in):
    job = job_in("run", stop=after(2))
    student = train(job)
    base = StableDiffusionPipeline.from_pretrained(job.folder / "base", torch_dtype=torch.float32, safety_checker=None)
    for key, value in base.unet.state_dict().items():
        torch.testing.assert_close(value, student.average[f"unet.{key}"].half().float(), rtol=0, atol=0)


def test_another_world_is_not_trained_on_with(job_in):
    train(job_in("run", stop=after(1)))
    other = job_in("run")
    other = replace(other, world=make_world(1, COUNTS, names=NAMES))
    with pytest.raises(MemdetectError, match="another world"):
        train(other)


def test_what_a_run_leaves_behind(job_in, monkeypatch):
    job = job_in("run")
    monkeypatch.setattr(training, "make_unet", make_unet)
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

    def breaks(job, student, *rest):
        if student.step == 1:
            raise KeyboardInterrupt
        return update(job, student, *rest)

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
    fit = autoencoder.Fit(0, pictures, [np.zeros((64, 64, 3), np.uint8)], minutes=3 / 60)
    vae = autoencoder.train_vae(fit, tmp_path)
    images = autoencoder.to_tensor([paint(e.scene, pictures) for e in small_world.trained])
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


def test_an_autoencoder_is_trained_further_from_that_of_a_pipeline(tmp_path):
    given = MODEL / "vae" / "diffusion_pytorch_model.safetensors"
    weights = autoencoder._first(MODEL).state_dict()
    for name, value in load_file(given).items():
        torch.testing.assert_close(weights[name], value.float(), rtol=0, atol=0)
    assert not torch.equal(autoencoder._first(None).state_dict()["quant_conv.weight"], weights["quant_conv.weight"])
    with pytest.raises(MemdetectError, match="no autoencoder to start from"):
        autoencoder._first(tmp_path)
