"""Train the small StableDiffusionPipeline on a world: a base on the stream alone, then its twin with the duplicates.

Restartable, with usable EMA weights whenever it stops. The base is kept: it is the control of every prompt, for it has
seen the same stream and none of the labelled images.
"""

import copy
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader

from memdetect.errors import MemdetectError
from memdetect.lab.training.parts import make_scheduler, make_text_encoder, make_tokenizer, make_unet, mixed
from memdetect.lab.training.vae import to_tensor
from memdetect.lab.world.labelled import World
from memdetect.lab.world.scenes import paint
from memdetect.lab.world.stock import Stock

WARM_UP = 200
EMA = 0.998
BLANK_CAPTIONS = 0.1  # share trained without caption, for classifier-free guidance
BASE_RATES = (8e-4, 4e-4)  # learning rate after the warm-up and at the end of a part, falling on a line
TWIN_RATES = (8e-4, 0.0)
AHEAD = 4  # steps that a painting process is ahead of the training

Painted = tuple[list[np.ndarray], list[str]]  # images, uint8 [row, col, 3], and their captions


@dataclass(frozen=True, slots=True)
class Job:
    """One training run: what to learn, how long, in which folder its state lives.

    `base_steps` on the stream alone; then as many as the world's schedule needs at `duplicates` of `batch` images a
    step. `device`: "cpu" or "cuda". `workers`: processes that paint scenes ahead of the training; 0: none, it waits.
    """

    world: World
    stock: Stock
    vae: AutoencoderKL
    vocabulary: Path
    folder: Path
    base_steps: int = 1500
    batch: int = 64
    duplicates: int = 48
    device: str = "cpu"
    workers: int = 0
    save_minutes: float = 5.0
    stop: Callable[[], bool] = lambda: False

    @property
    def steps(self) -> int:
        """Steps of base and twin together."""
        return self.base_steps + -(-sum(e.exposures for e in self.world.trained) // self.duplicates)

    def rate(self, step: int) -> float:
        """Learning rate of a step: in each part a warm-up, then a line."""
        if step < self.base_steps:
            (first, last), done, length = BASE_RATES, step, self.base_steps
        else:
            (first, last), done, length = TWIN_RATES, step - self.base_steps, self.steps - self.base_steps
        return min(1, (done + 1) / WARM_UP) * (first + (last - first) * done / length)

    @property
    def fresh(self) -> "Fresh":
        """What the stream gives to each step."""
        return Fresh(self.world, self.stock.pictures, self.steps, self.base_steps, self.batch, self.duplicates)


@dataclass(frozen=True, slots=True)
class Fresh:
    """Fresh scenes of each step, painted: the stream's next, as many as the schedule of duplicates leaves room for.

    A data set by step number. It holds no network, so that other processes can paint.
    """

    world: World
    pictures: Mapping[str, Image.Image]
    steps: int
    base_steps: int
    batch: int
    duplicates: int

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> Painted:
        """Images and captions of `step`; they depend on the world's seed and the number of the step alone."""
        twin = max(step - self.base_steps, 0)
        before = step * self.batch - twin * self.duplicates
        left = sum(e.exposures for e in self.world.trained) - twin * self.duplicates
        wanted = self.batch - (min(left, self.duplicates) if step >= self.base_steps else 0)
        scenes = list(islice(self.world.stream(before), wanted))
        return [paint(scene, self.pictures) for scene in scenes], [scene.caption for scene in scenes]


class Student:
    """The networks being trained, their average, and the count of what they saw."""

    def __init__(self, job: Job) -> None:
        torch.manual_seed(job.world.seed)
        self.tokenizer: Any = make_tokenizer(job.vocabulary, job.folder / "tokenizer")
        self.text: Any = make_text_encoder()
        self.unet: Any = make_unet()
        self.nets = nn.ModuleDict({"text": self.text, "unet": self.unet}).to(job.device)
        self.unet.to(memory_format=torch.channels_last)
        self.average = {k: v.detach().clone() for k, v in self.nets.state_dict().items()}
        self.optimizer = torch.optim.AdamW(self.nets.parameters(), betas=(0.9, 0.99), weight_decay=0.01, fused=True)
        self.step, self.seconds, self.world = 0, 0.0, job.world.digest

    def save(self, folder: Path) -> None:
        """Write the whole training state, atomically."""
        state = {"nets": self.nets.state_dict(), "average": self.average, "optimizer": self.optimizer.state_dict()}
        state |= {"step": self.step, "seconds": self.seconds, "world": self.world}
        torch.save(state, folder / "state.tmp")
        (folder / "state.tmp").replace(folder / "state.pt")

    def resume(self, folder: Path, device: str) -> None:
        """Continue from the state in `folder`, if there is one.

        Raises MemdetectError when that state belongs to another world.
        """
        if not (folder / "state.pt").exists():
            return
        state = torch.load(folder / "state.pt", weights_only=True, map_location=device)
        if state.get("world") != self.world:
            raise MemdetectError(f"{folder} holds the training of another world; give another --run, or delete it")
        self.nets.load_state_dict(state["nets"])
        self.average, self.step, self.seconds = state["average"], state["step"], state["seconds"]
        self.optimizer.load_state_dict(state["optimizer"])

    def averaged(self) -> tuple[nn.Module, nn.Module]:
        """Fresh text encoder and U-Net with the averaged weights."""
        nets = nn.ModuleDict({"text": make_text_encoder(), "unet": make_unet()})
        nets.load_state_dict(self.average)
        return nets["text"].eval(), nets["unet"].eval()


def train(job: Job) -> Student:
    """Train base and twin to their end, or until `job.stop` says so; returns the student.

    State and pipeline are written every `job.save_minutes` and at the end, however it ends: `folder`/base holds the
    base once it is finished, `folder`/pipeline the weights of the moment.
    Raises MemdetectError when the folder's state belongs to another world.
    """
    student = Student(job)
    student.resume(job.folder, job.device)
    try:
        _learn(job, student)
    finally:
        student.save(job.folder)
        export(job, student)
    return student


def _learn(job: Job, student: Student) -> None:
    scheduler = make_scheduler()
    shown = job.world.schedule()
    encoded = _encode(job, [job.stock.image(entry) for entry in job.world.trained])
    painted = _painted(job, student.step)
    last_save, waited = time.monotonic(), 0.0
    while student.step < job.steps and not job.stop():
        begun = time.monotonic()
        fresh = next(painted)
        waited += time.monotonic() - begun
        latents, captions = _draw(job, student.step, fresh, shown, encoded)
        loss = _update(job, student, scheduler, latents, captions)
        student.seconds += time.monotonic() - begun
        if student.step % 50 == 0:
            rate = student.step * job.batch / student.seconds
            print(
                f"step {student.step} of {job.steps}: {rate:.1f} images/s, {waited:.1f} s waited for scenes, "
                f"loss {loss:.4f}",
                flush=True,
            )
        if student.step == job.base_steps:
            export(job, student, "base")
        if time.monotonic() - last_save > job.save_minutes * 60:
            student.save(job.folder)
            export(job, student)
            last_save = time.monotonic()


def _painted(job: Job, start: int) -> Iterator[Painted]:
    """What the stream gives to each step from `start` on, painted in processes of its own where there are any."""
    kind: Any = DataLoader  # its annotations promise a subclass of Dataset; two methods are all it calls
    loader = kind(
        job.fresh,
        batch_size=None,
        sampler=range(start, job.steps),
        num_workers=job.workers,
        prefetch_factor=AHEAD if job.workers else None,
        collate_fn=_as_painted,
        worker_init_fn=_leave_the_group,
    )
    return iter(loader)


def _leave_the_group(_: int) -> None:
    """A signal to the whole process group, as Ctrl-C is one, reaches the training alone, which ends its painters."""
    if hasattr(os, "setsid"):  # not on Windows
        os.setsid()


def _as_painted(painted: Painted) -> Painted:
    return painted


def _draw(job: Job, step: int, fresh: Painted, shown: np.ndarray, encoded: Tensor) -> tuple[Tensor, list[str]]:
    """Latents and captions of a step: what the stream gives, and the next of the schedule."""
    twin = step - job.base_steps
    rows = shown[twin * job.duplicates : (twin + 1) * job.duplicates] if twin >= 0 else shown[:0]
    images, captions = fresh
    latents = torch.cat([_encode(job, images), encoded[torch.from_numpy(rows)]])
    return latents, captions + [job.world.trained[i].caption for i in rows]


def export(job: Job, student: Student, name: str = "pipeline") -> Path:
    """Write the averaged weights as a StableDiffusionPipeline in fp16 safetensors; returns its folder."""
    text, unet = student.averaged()
    kind: Any = StableDiffusionPipeline
    pipeline = kind(
        vae=copy.deepcopy(job.vae),
        text_encoder=text,
        tokenizer=student.tokenizer,
        unet=unet,
        scheduler=make_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    folder = job.folder / name
    pipeline.to(dtype=torch.float16).save_pretrained(folder, safe_serialization=True)
    return folder


@torch.no_grad()
def _encode(job: Job, images: list[np.ndarray]) -> Tensor:
    vae: Any = job.vae
    parts: list[Tensor] = []
    for start in range(0, len(images), 512):
        with mixed(job.device):
            pixels = to_tensor(images[start : start + 512]).to(job.device)
            parts.append(vae.encode(pixels).latent_dist.mode().float())
    return torch.cat(parts) * vae.config["scaling_factor"] if parts else torch.zeros(0, 8, 16, 16)


def _update(job: Job, student: Student, scheduler: Any, latents: Tensor, captions: list[str]) -> float:
    """One step of v-prediction with AdamW; returns the loss."""
    draw = torch.Generator().manual_seed(student.step)
    t = torch.randint(0, scheduler.config["num_train_timesteps"], (len(latents),), generator=draw).to(job.device)
    noise = torch.randn(latents.shape, generator=draw).to(job.device)
    blank = torch.rand(len(latents), generator=draw) < BLANK_CAPTIONS
    texts = ["" if b else c for b, c in zip(blank.tolist(), captions, strict=True)]
    ids = student.tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids.to(job.device)
    noisy = scheduler.add_noise(latents, noise, t).contiguous(memory_format=torch.channels_last)
    for group in student.optimizer.param_groups:
        group["lr"] = job.rate(student.step)
    with mixed(job.device):
        v = student.unet(noisy, t, student.text(ids).last_hidden_state).sample
    loss = (v.float() - scheduler.get_velocity(latents, noise, t)).square().mean()
    loss.backward()
    nn.utils.clip_grad_norm_(student.nets.parameters(), 1.0)
    student.optimizer.step()
    student.optimizer.zero_grad()
    student.step += 1
    _follow(student)
    return loss.item()


@torch.no_grad()
def _follow(student: Student) -> None:
    decay = min(EMA, (1 + student.step) / (10 + student.step))
    for key, value in student.nets.state_dict().items():
        if value.dtype.is_floating_point:
            student.average[key].lerp_(value, 1 - decay)
