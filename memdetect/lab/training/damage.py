"""What generation does to a copy: images that are still the same scene, but worse."""

from io import BytesIO
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from scipy import ndimage

from memdetect.lab.training.vae import to_tensor

LATENT_NOISE = 0.5  # at most, of the latents' standard deviation
BLUR, NOISE, SHIFT, GAIN = 1.5, 20.0, 2, 0.08
FADED, BLOBS = 0.35, 3.0  # how much of a picture may be left; how wide a blob may be


def round_trip(
    vae: Any, images: UInt8[np.ndarray, "image row col 3"], seed: int, noise: float = LATENT_NOISE
) -> UInt8[np.ndarray, "image row col 3"]:
    """Encode, add noise of 0 to `noise` standard deviations (a draw for each image), decode."""
    generator = torch.Generator().manual_seed(seed)
    scale = vae.config["scaling_factor"]
    with torch.inference_mode():
        latents = vae.encode(to_tensor(list(images))).latent_dist.mode()
        size = noise * torch.rand(len(images), 1, 1, 1, generator=generator) / scale
        noisy = latents + size * torch.randn(latents.shape, generator=generator)
        decoded = vae.decode(noisy).sample.clamp(-1, 1)
    return ((decoded + 1) * 127.5).round().permute(0, 2, 3, 1).numpy().astype(np.uint8)


def damage(rng: np.random.Generator, image: UInt8[np.ndarray, "row col 3"]) -> UInt8[np.ndarray, "row col 3"]:
    """A copy: partly faded or blobby, then blurred, shifted by up to 2 px, recoloured, noisy, compressed; at random."""
    values = image.astype(np.float32)
    if rng.random() < 0.4:
        values = _faded(rng, values)
    if rng.random() < 0.4:
        values = _blobby(rng, values)
    if rng.random() < 0.5:
        values = ndimage.gaussian_filter(values, (*[rng.uniform(0.2, BLUR)] * 2, 0))
    if rng.random() < 0.4:
        values = _shifted(rng, values)
    if rng.random() < 0.5:
        values = values * rng.uniform(1 - GAIN, 1 + GAIN, 3) + rng.uniform(-GAIN, GAIN) * 128
    if rng.random() < 0.5:
        values = values + rng.normal(0, rng.uniform(0, NOISE), values.shape)
    pixels = values.clip(0, 255).round().astype(np.uint8)
    return _compressed(pixels, int(rng.integers(20, 90))) if rng.random() < 0.2 else pixels


def _faded(rng: np.random.Generator, values: Float[np.ndarray, "row col 3"]) -> Float[np.ndarray, "row col 3"]:
    """Here and there closer to the ground, whose colour is the median of the border."""
    border = np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])
    kept = FADED + (1 - FADED) * _patches(rng, values.shape[0])
    return kept * values + (1 - kept) * np.median(border, axis=0)


def _blobby(rng: np.random.Generator, values: Float[np.ndarray, "row col 3"]) -> Float[np.ndarray, "row col 3"]:
    """Here and there without detail."""
    blobs = ndimage.gaussian_filter(values, (*[rng.uniform(1, BLOBS)] * 2, 0))
    share = _patches(rng, values.shape[0])
    return share * blobs + (1 - share) * values


def _patches(rng: np.random.Generator, side: int) -> Float[np.ndarray, "row col 1"]:
    """A smooth random field in [0, 1]."""
    field = Image.fromarray(rng.random((4, 4)).astype(np.float32)).resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(field).clip(0, 1)[..., None]


def _shifted(rng: np.random.Generator, values: Float[np.ndarray, "row col 3"]) -> Float[np.ndarray, "row col 3"]:
    down, right = rng.uniform(-SHIFT, SHIFT, 2)
    return ndimage.shift(values, (down, right, 0), order=1, mode="nearest")


def _compressed(pixels: UInt8[np.ndarray, "row col 3"], quality: int) -> UInt8[np.ndarray, "row col 3"]:
    file = BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file).convert("RGB"))
