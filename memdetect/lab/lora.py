"""Train a LoRA on a few captioned pictures over a Stable Diffusion pipeline: with peft, in minutes on a CPU."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from jaxtyping import Float
from torch import Tensor, nn

from memdetect.adapters import Model
from memdetect.errors import MemdetectError
from memdetect.inputs.images import open_image, to_array
from memdetect.probing import encode, image_size
from memdetect.probing.batches import Batching

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
CONVOLUTIONS = ("conv1", "conv2", "conv_shortcut", "time_emb_proj")
BLANK_CAPTIONS = 0.1  # share trained without caption, so that classifier-free guidance keeps a branch to leave
REPORT = 50  # steps between two lines


@dataclass(frozen=True, slots=True)
class Tuning:
    """How a LoRA is trained: `steps` of `batch` pictures with AdamW at a constant learning rate.

    rank: of the two factors added to each layer (alpha = rank, so that they act at full strength). convolutions: on
    the residual blocks as well as on the attention. seed: of weights, order, noise and times.
    """

    steps: int = 500
    rank: int = 8
    rate: float = 1e-3
    batch: int = 8
    convolutions: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "rank", "batch"):
            if getattr(self, name) < 1:
                raise MemdetectError(f"{name} is {getattr(self, name)}, expected at least 1")
        if not 0 < self.rate < float("inf"):
            raise MemdetectError(f"the learning rate is {self.rate}, expected a number above 0, such as 1e-3")


@dataclass(frozen=True, slots=True)
class Tuned:
    """What came out.

    losses: mean squared error of the network's output over every REPORT steps. parameters: numbers trained. shown: how
    often each picture was shown, on average. seconds: wall time of all.
    """

    file: Path
    losses: tuple[float, ...]
    parameters: int
    shown: float
    seconds: float


@dataclass(frozen=True, slots=True)
class _Lesson:
    """What does not change while training: latents of the pictures, embeddings of their captions and of no caption."""

    latents: Float[Tensor, "image chan row col"]
    texts: Float[Tensor, "image token dim"]
    blank: Float[Tensor, "1 token dim"]
    scheduler: Any  # DDPMScheduler, which asks for times of a type that tensors do not have


def train_lora(
    model: Model,
    pictures: Sequence[tuple[Path, str]],
    out: Path,
    tuning: Tuning | None = None,
    say: Callable[[str], None] = lambda _line: None,
) -> Tuned:
    """Train a LoRA of the model's U-Net on captioned pictures and write it to `out`, for `--lora`.

    The pictures are cropped and resized to the size that the pipeline makes; the text encoder stays as it is. The
    network learns what the model's scheduler says that it predicts. The model keeps the LoRA in it: it is not
    the base any more. Raises MemdetectError without peft, for another pipeline than Stable Diffusion's (1.x, 2.x),
    for a file that is no .safetensors, for no pictures, and when the loss is no number.
    """
    tuning = tuning or Tuning()
    _check(model, pictures, out)
    begun = time.monotonic()
    lesson = _lesson(model, pictures)
    trained = _add_adapter(model.denoiser, tuning)
    losses = _learn(model.denoiser, trained, lesson, tuning, say)
    _save(model.denoiser, out)
    shown = tuning.steps * tuning.batch / len(pictures)
    return Tuned(out, tuple(losses), sum(p.numel() for p in trained), shown, time.monotonic() - begun)


def _check(model: Model, pictures: Sequence[tuple[Path, str]], out: Path) -> None:
    if find_spec("peft") is None:
        raise MemdetectError(
            "training a LoRA needs the package peft, which is not installed; pip install 'memdetect[lora]'"
        )
    if model.adapter.pipeline != "StableDiffusionPipeline":
        raise MemdetectError(
            f"{model.name} is a {model.adapter.pipeline}; expected a StableDiffusionPipeline (1.x, 2.x)"
        )
    if model.dtype != "fp32":
        raise MemdetectError(f"{model.name} is open as {model.dtype}; a LoRA is trained in fp32")
    if out.suffix != ".safetensors":
        raise MemdetectError(f"{str(out)!r} is no .safetensors file; give a name such as mine.safetensors")
    if not pictures:
        raise MemdetectError("there are no pictures to train on; expected at least one")


@torch.no_grad()
def _lesson(model: Model, pictures: Sequence[tuple[Path, str]]) -> _Lesson:
    size = image_size(model)
    pixels = torch.from_numpy(np.stack([to_array(open_image(path).image, size) for path, _ in pictures]))
    texts, blank = (
        model.pipe.encode_prompt(captions, model.place, 1, False)[0] for captions in ([c for _, c in pictures], [""])
    )
    latents = encode(model, pixels, Batching(32))
    return _Lesson(latents, texts, blank, DDPMScheduler.from_config(model.pipe.scheduler.config))


def _add_adapter(unet: Any, tuning: Tuning) -> list[nn.Parameter]:
    """Add the LoRA's layers and return what is to be trained; peft freezes all else."""
    from peft import LoraConfig

    torch.manual_seed(tuning.seed)
    unet.to(memory_format=torch.channels_last)  # a fifth faster on a CPU
    targets = [*ATTENTION, *(CONVOLUTIONS if tuning.convolutions else ())]
    unet.add_adapter(
        LoraConfig(r=tuning.rank, lora_alpha=tuning.rank, init_lora_weights="gaussian", target_modules=targets)
    )
    return [p for p in unet.parameters() if p.requires_grad]


def _learn(
    unet: Any, trained: list[nn.Parameter], lesson: _Lesson, tuning: Tuning, say: Callable[[str], None]
) -> list[float]:
    optimizer = torch.optim.AdamW(trained, lr=tuning.rate, weight_decay=0.01)
    draw, recent = torch.Generator().manual_seed(tuning.seed), list[float]()
    losses: list[float] = []
    for step, rows in enumerate(_batches(len(lesson.latents), tuning, draw), 1):
        loss = _loss(unet, lesson, rows, draw)
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        recent.append(loss.item())
        if not np.isfinite(recent[-1]):
            raise MemdetectError(f"the loss is {recent[-1]} at step {step}; lower --rate (now {tuning.rate:g})")
        if step % REPORT == 0 or step == tuning.steps:
            losses.append(float(np.mean(recent)))
            recent.clear()
            seen = step * tuning.batch / len(lesson.latents)
            say(f"step {step} of {tuning.steps}: loss {losses[-1]:.4f}, each picture shown {seen:.0f} times")
    return losses


def _batches(count: int, tuning: Tuning, draw: torch.Generator) -> list[Tensor]:
    """Rows of every step: the pictures in a new random order each time round, cut into batches."""
    total = tuning.steps * tuning.batch
    rounds = [torch.randperm(count, generator=draw) for _ in range(-(-total // count))]
    return list(torch.cat(rounds)[:total].split(tuning.batch))


def _loss(unet: Any, lesson: _Lesson, rows: Tensor, draw: torch.Generator) -> Tensor:
    """Mean squared error of the network's output for rows of the pictures, at random times and noise from the CPU."""
    clean, scheduler = lesson.latents[rows], lesson.scheduler
    t = torch.randint(0, scheduler.config.num_train_timesteps, (len(rows),), generator=draw).to(clean.device)
    noise = torch.randn(clean.shape, generator=draw).to(clean.device)
    blank = (torch.rand(len(rows), generator=draw) < BLANK_CAPTIONS).to(clean.device)
    texts = torch.where(blank[:, None, None], lesson.blank, lesson.texts[rows])
    wanted = {"epsilon": noise, "sample": clean}.get(scheduler.config.prediction_type)
    if wanted is None:
        wanted = scheduler.get_velocity(clean, noise, t)
    made = unet(scheduler.add_noise(clean, noise, t), t, texts).sample
    return (made.float() - wanted).square().mean()


def _save(unet: Any, out: Path) -> None:
    """Write the adapter as diffusers reads it."""
    from peft import get_peft_model_state_dict

    # In peft's own names: diffusers' renames those of attention alone, and its loader looks at the first name only, so
    # that of a file of both kinds it would silently leave out one.
    layers: dict[str, Any] = get_peft_model_state_dict(unet)
    out.parent.mkdir(parents=True, exist_ok=True)
    StableDiffusionPipeline.save_lora_weights(str(out.parent), unet_lora_layers=layers, weight_name=out.name)
