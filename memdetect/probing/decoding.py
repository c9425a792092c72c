"""Between latents and pixels: the pipeline's decoder and encoder."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from memdetect.adapters import Model
from memdetect.adapters.latents import ready, scaled, unscaled
from memdetect.errors import MemdetectError
from memdetect.probing.batches import Batching


@dataclass(frozen=True, slots=True)
class Decoded:
    """An image, and whether every number that the decoder gave for it was finite; those that were not are black."""

    pixels: UInt8[np.ndarray, "row col 3"]
    finite: bool


def decode(model: Model, latents: Float[Tensor, "image chan row col"], batching: Batching) -> list[Decoded]:
    """Latents -> images; a model of pixels has its images as latents.

    Whether the numbers are finite is asked before they are cut to [-1, 1] and rounded, which would hide it.
    """

    def work(rows: slice) -> tuple[Tensor, Tensor]:
        pixels = latents[rows]
        if vae is not None:
            moved = pixels.to(model.place, vae.dtype)
            pixels = vae.decode(unscaled(vae, moved), return_dict=False)[0]
        sound = pixels.isfinite()
        shown = pixels.float().where(sound, -1.0).clamp(-1, 1)
        bytes_ = ((shown + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).cpu()
        return bytes_, sound.flatten(1).all(dim=1).cpu()

    with autoencoder(model) as vae:
        return [
            Decoded(image.numpy(), bool(whole))
            for images, finite in batching.run(len(latents), work)
            for image, whole in zip(images, finite, strict=True)
        ]


def encode(
    model: Model, images: Float[Tensor, "image 3 height width"], batching: Batching
) -> Float[Tensor, "image chan row col"]:
    """Images in [-1, 1] -> latents: the mode of the encoder's posterior, so that a score has no sampling noise.

    A model of pixels has its images as latents. Raises MemdetectError where those are not of three channels.
    """

    def work(rows: slice) -> Tensor:
        pixels = images[rows].to(model.place, vae.dtype)
        return scaled(vae, vae.encode(pixels).latent_dist.mode())

    with autoencoder(model) as vae:
        if vae is not None:
            return torch.cat(list(batching.run(len(images), work)))
    if (channels := model.denoiser.config["in_channels"]) != images.shape[1]:
        raise MemdetectError(f"the model takes images of {channels} channels, expected 3; sample it instead")
    return images


def autoencoder(model: Model) -> AbstractContextManager[Any]:
    """The pipeline's autoencoder as it computes while the body runs; None for a model of pixels."""
    vae = getattr(model.pipe, "vae", None)
    return nullcontext() if vae is None else ready(vae)


def vae_factor(model: Model) -> int:
    """Pixels along a side for each latent."""
    vae = getattr(model.pipe, "vae", None)
    return 1 if vae is None else 2 ** (len(vae.config.block_out_channels) - 1)


@dataclass(frozen=True, slots=True)
class Pictures:
    """The finished images of a batch, as a capture is given them, and the model that they are of."""

    model: Model
    shown: tuple[Decoded, ...]


def decoded(model: Model, latents: Float[Tensor, "image chan row col"]) -> Pictures:
    """The images of finished latents."""
    return Pictures(model, tuple(decode(model, latents, Batching(len(latents)))))
