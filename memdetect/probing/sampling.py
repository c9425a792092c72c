"""Generate images with a pipeline, one generator for each, and move between pixels and latents."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from memdetect.adapters import Model
from memdetect.batches import Batching, seed_of


@dataclass(frozen=True, slots=True)
class Sampler:
    """How images are made: steps and guidance of the pipeline, images for each prompt, the run's seed.

    batch_size: images that go through the networks at once; no score depends on it beyond its last bits.
    """

    steps: int
    guidance_scale: float
    num_seeds: int
    seed: int = 0
    batch_size: int = 16
    call: dict[str, Any] = field(default_factory=dict[str, Any])

    @classmethod
    def of(cls, model: Model, **changes: Any) -> "Sampler":
        """The settings of the model's card, with those changes that are not None."""
        card = model.card
        defaults: dict[str, Any] = {
            "steps": card.steps,
            "guidance_scale": card.guidance_scale,
            "num_seeds": card.num_seeds,
        }
        return cls(**{**defaults, **{k: v for k, v in changes.items() if v is not None}})

    def seeds(self, item: str) -> list[int]:
        """The seeds of an item's images; `torch.Generator("cpu").manual_seed(s)` makes image k again."""
        return [seed_of(self.seed, item, k) for k in range(self.num_seeds)]


def sample_latents(
    model: Model, prompts: Sequence[str], seeds: Sequence[int], sampler: Sampler, batching: Batching
) -> Float[Tensor, "image chan row col"]:
    """Final latents of one image for each (prompt, seed), before the decoder."""

    def work(rows: slice) -> Tensor:
        return model.pipe(
            prompt=list(prompts[rows]),
            generator=generators(seeds[rows]),
            num_inference_steps=sampler.steps,
            guidance_scale=sampler.guidance_scale,
            output_type="latent",
            **_for_rows(sampler.call, len(prompts[rows])),
        ).images

    return torch.cat(list(batching.run(len(prompts), work)))


def _for_rows(call: dict[str, Any], rows: int) -> dict[str, Any]:
    # Next to a list of prompts, pipelines refuse a negative prompt that is not a list of the same length.
    negative = {k: [v] * rows for k, v in call.items() if k.startswith("negative_prompt") and isinstance(v, str)}
    return {**call, **negative}


def generators(seeds: Sequence[int]) -> list[torch.Generator]:
    """CPU generators: the same noise on every device, whatever the batch."""
    return [torch.Generator("cpu").manual_seed(seed) for seed in seeds]


def decode(model: Model, latents: Float[Tensor, "image chan row col"], batching: Batching) -> list[np.ndarray]:
    """Latents -> images, uint8 [row, col, 3] each."""
    vae = model.pipe.vae

    def work(rows: slice) -> Tensor:
        pixels = vae.decode(latents[rows] / vae.config.scaling_factor, return_dict=False)[0]
        return ((pixels.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).cpu()

    return [image.numpy() for batch in batching.run(len(latents), work) for image in batch]


def encode(
    model: Model, images: Float[Tensor, "image 3 height width"], batching: Batching
) -> Float[Tensor, "image chan row col"]:
    """Images in [-1, 1] -> latents: the mode of the encoder's posterior, so that a score has no sampling noise."""
    vae = model.pipe.vae

    def work(rows: slice) -> Tensor:
        pixels = images[rows].to(vae.device, vae.dtype)
        return vae.encode(pixels).latent_dist.mode() * vae.config.scaling_factor

    return torch.cat(list(batching.run(len(images), work)))


def image_size(model: Model) -> tuple[int, int]:
    """(height, width) in pixels of what the pipeline makes by default."""
    side = model.denoiser.config["sample_size"] * model.pipe.vae_scale_factor
    return side, side


def truncated_at(model: Model, prompt: str) -> int | None:
    """Number of tokens that the tokenizer keeps of a prompt that is too long for it, else None."""
    tokenizer = model.pipe.tokenizer
    limit = tokenizer.model_max_length
    ids = tokenizer(prompt, truncation=False, verbose=False).input_ids
    return limit if len(ids) > limit else None
