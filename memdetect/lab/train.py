"""Train the small StableDiffusionPipeline on a world: restartable, with usable EMA weights whenever it stops."""

import copy
import time
from collections.abc import Callable, Mapping
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
from torch.nn.attention import SDPBackend, sdpa_kernel

from memdetect.lab.parts import make_scheduler, make_text_encoder, make_tokenizer, make_unet
from memdetect.lab.vae import to_tensor
from memdetect.lab.world import World, paint

PEAK_RATE = 8e-4
WARM_UP = 400
EMA = 0.998
BLANK_CAPTIONS = 0.1  # share trained without caption, for classifier-free guidance
DUPLICATE_SHARE = 0.4


@dataclass(frozen=True, slots=True)
class Job:
    """One training run: what to learn, for how many minutes in all, in which folder its state lives."""

    world: World
    pictures: Mapping[str, Image.Image]
    vae: AutoencoderKL
    vocabulary: Path
    folder: Path
    minutes: float
    batch: int = 64
    save_minutes: float = 5.0
    stop: Callable[[], bool] = lambda: False


class Student:
    """The networks being trained, their average, and the count of what they saw."""

    def __init__(self, job: Job) -> None:
        torch.manual_seed(job.world.seed)
        self.tokenizer: Any = make_tokenizer(job.vocabulary, job.folder / "tokenizer")
        self.text: Any = make_text_encoder()
        self.unet: Any = make_unet()
        self.unet.to(memory_format=torch.channels_last)
        self.nets = nn.ModuleDict({"text": self.text, "unet": self.unet})
        self.average = {k: v.detach().clone() for k, v in self.nets.state_dict().items()}
        self.optimizer = torch.optim.AdamW(self.nets.parameters(), lr=PEAK_RATE, betas=(0.9, 0.99), weight_decay=0.01)
        self.step, self.seconds = 0, 0.0

    def save(self, folder: Path) -> None:
        """Write the whole training state, atomically."""
        state = {"nets": self.nets.state_dict(), "average": self.average, "optimizer": self.optimizer.state_dict()}
        state |= {"step": self.step, "seconds": self.seconds}
        torch.save(state, folder / "state.tmp")
        (folder / "state.tmp").replace(folder / "state.pt")

    def resume(self, folder: Path) -> None:
        """Continue from the state in `folder`, if there is one."""
        if not (folder / "state.pt").exists():
            return
        state = torch.load(folder / "state.pt", weights_only=True)
        self.nets.load_state_dict(state["nets"])
        self.average, self.step, self.seconds = state["average"], state["step"], state["seconds"]
        self.optimizer.load_state_dict(state["optimizer"])

    def averaged(self) -> tuple[nn.Module, nn.Module]:
        """Fresh text encoder and U-Net with the averaged weights."""
        nets = nn.ModuleDict({"text": make_text_encoder(), "unet": make_unet()})
        nets.load_state_dict(self.average)
        return nets["text"].eval(), nets["unet"].eval()


def train(job: Job) -> Student:
    """Train until `job.minutes` of wall time are spent over all restarts, or `job.stop` says so.

    State and pipeline are written every `job.save_minutes` and at the end, however it ends.
    """
    student = Student(job)
    student.resume(job.folder)
    try:
        _learn(job, student)
    finally:
        student.save(job.folder)
        export(job, student)
    return student


def _learn(job: Job, student: Student) -> None:
    scheduler = make_scheduler()
    duplicates = _encode(job.vae, [paint(s, job.pictures) for s in job.world.duplicated])
    fresh = round(job.batch * (1 - DUPLICATE_SHARE))
    stream = job.world.stream(student.step * fresh)
    last_save = mark = time.monotonic()
    while student.seconds < job.minutes * 60 and not job.stop():
        scenes = list(islice(stream, fresh))
        rows = _lot(job, student.step, job.batch - fresh)
        latents = torch.cat([_encode(job.vae, [paint(s, job.pictures) for s in scenes]), duplicates[rows]])
        captions = [s.caption for s in scenes] + [job.world.duplicated[i].caption for i in rows]
        loss = _update(student, scheduler, latents, captions, student.seconds / (job.minutes * 60))
        now = time.monotonic()
        student.seconds, mark = student.seconds + now - mark, now
        if student.step % 50 == 0:
            seen = student.step * job.batch
            print(f"step {student.step}: {seen} images, {seen / student.seconds:.1f}/s, loss {loss:.4f}", flush=True)
        if now - last_save > job.save_minutes * 60:
            student.save(job.folder)
            export(job, student)
            last_save = mark = time.monotonic()


def export(job: Job, student: Student) -> Path:
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
    folder = job.folder / "pipeline"
    pipeline.to(dtype=torch.float16).save_pretrained(folder, safe_serialization=True)
    return folder


def _lot(job: Job, step: int, count: int) -> list[int]:
    """Which duplicated scenes this step shows: a fresh permutation each round, so exposures differ by at most one."""
    total = len(job.world.duplicated)
    rounds = [divmod(step * count + i, total) for i in range(count)]
    orders = {r: np.random.default_rng([job.world.seed, 3, r]).permutation(total) for r in {r for r, _ in rounds}}
    return [int(orders[r][i]) for r, i in rounds]


@torch.no_grad()
def _encode(vae: Any, images: list[np.ndarray]) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        latents = vae.encode(to_tensor(images)).latent_dist.mode()
    return latents.float() * vae.config["scaling_factor"]


def _update(student: Student, scheduler: Any, latents: Tensor, captions: list[str], progress: float) -> float:
    """One step of v-prediction with AdamW, warm-up and linear decay; returns the loss."""
    draw = torch.Generator().manual_seed(student.step)
    t = torch.randint(0, scheduler.config["num_train_timesteps"], (len(latents),), generator=draw)
    noise = torch.randn(latents.shape, generator=draw)
    blank = torch.rand(len(latents), generator=draw) < BLANK_CAPTIONS
    shown = ["" if b else c for b, c in zip(blank.tolist(), captions, strict=True)]
    ids = student.tokenizer(shown, padding="max_length", truncation=True, return_tensors="pt").input_ids
    noisy = scheduler.add_noise(latents, noise, t).contiguous(memory_format=torch.channels_last)
    for group in student.optimizer.param_groups:
        group["lr"] = PEAK_RATE * min(1, (student.step + 1) / WARM_UP) * (1 - progress)
    # The fused CPU attention kernel is slow in its backward pass; plain matrix products are half again as fast.
    with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
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
