"""Between what a pipeline passes around and feature maps: packed tokens, and the scale of the autoencoder's latents."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


def pack(maps: Float[Tensor, "batch chan row col"]) -> Float[Tensor, "batch token dim"]:
    """Patches of 2x2 as tokens, row by row; the four values of a channel stand side by side."""
    patches = maps.unfold(2, 2, 2).unfold(3, 2, 2)  # batch chan row col 2 2
    return patches.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)


def unpack(tokens: Float[Tensor, "batch token dim"], rows: int, cols: int) -> Float[Tensor, "batch chan row col"]:
    """The maps that `pack` made tokens of; rows and cols are those of the maps, both even."""
    patches = tokens.unflatten(1, (rows // 2, cols // 2)).unflatten(3, (-1, 2, 2))
    return patches.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)


def scaled(vae: Any, raw: Float[Tensor, "batch chan row col"]) -> Float[Tensor, "batch chan row col"]:
    """What the encoder gives -> what the denoiser sees: (raw - shift) * scale, or by each channel's moments."""
    mean, spread = _moments(vae, raw)
    return (raw - mean) * vae.config.scaling_factor / spread


def unscaled(vae: Any, latents: Float[Tensor, "batch chan row col"]) -> Float[Tensor, "batch chan row col"]:
    """What the denoiser sees -> what the decoder takes."""
    mean, spread = _moments(vae, latents)
    return latents * spread / vae.config.scaling_factor + mean


def _moments(vae: Any, like: Tensor) -> tuple[Any, Any]:
    """Offset and scale of each channel where a configuration has them (some SDXL), else the shift, or 0, and 1."""
    means, spreads = vae.config.get("latents_mean"), vae.config.get("latents_std")
    if means is None or spreads is None:
        return vae.config.get("shift_factor") or 0.0, 1.0
    shape = (1, -1, 1, 1)
    return like.new_tensor(means).view(shape), like.new_tensor(spreads).view(shape)


@contextmanager
def ready(vae: Any) -> Generator[Any]:
    """The autoencoder, in fp32 while the body runs where its configuration says that it overflows in fp16.

    Afterwards each of its tensors is in fp16 again, and itself: a pipeline that is run by hand expects it so.
    """
    narrow = vae.dtype == torch.float16 and vae.config.get("force_upcast")
    held = [value for value in (*vae.parameters(), *vae.buffers()) if narrow and value.dtype == torch.float16]
    _cast(held, torch.float32)
    try:
        yield vae
    finally:
        _cast(held, torch.float16)


def _cast(values: Sequence[Tensor], dtype: torch.dtype) -> None:
    with torch.inference_mode(False):  # what is made in that mode could not be trained any more
        for value in values:
            value.data = value.data.to(dtype)
