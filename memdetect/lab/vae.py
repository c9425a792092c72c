"""Train the autoencoder of the bundled model on fresh scenes."""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from memdetect.lab.parts import make_vae
from memdetect.lab.world import Scene, World, paint

KL_WEIGHT = 1e-4
BATCH = 16
FAR_AWAY = 1_000_000_000  # scenes of the stream that the denoiser never reaches


def to_tensor(images: list[np.ndarray]) -> Float[Tensor, "image 3 row col"]:
    """uint8 [row, col, 3] arrays -> channels-last float32 batch in [-1, 1]."""
    batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 127.5 - 1
    return batch.contiguous(memory_format=torch.channels_last)


def train_vae(world: World, pictures: Mapping[str, Image.Image], minutes: float, folder: Path) -> AutoencoderKL:
    """Train for `minutes` of wall time, set `scaling_factor` to 1 / std of the latents, save to `folder`/vae.

    A finished autoencoder found in `folder` is returned as it is.
    """
    if (folder / "vae" / "config.json").exists():
        return AutoencoderKL.from_pretrained(folder / "vae")
    torch.manual_seed(world.seed)
    vae = make_vae().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(vae.parameters(), lr=2e-3, betas=(0.9, 0.99), weight_decay=1e-4)
    scenes = world.stream(FAR_AWAY)
    start, seen = time.monotonic(), 0
    while (progress := (time.monotonic() - start) / (60 * minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * min(1, (seen + BATCH) / 3200) * (1 - progress)
        loss = _step(vae, optimizer, _next(scenes, pictures, BATCH))
        seen += BATCH
        if seen % (BATCH * 100) == 0:
            print(f"vae: {seen} images, {100 * progress:.0f} % of the time, loss {loss:.4f}", flush=True)
    vae.eval()
    with torch.no_grad():
        latents = vae.encode(to_tensor(_next_arrays(scenes, pictures, 256))).latent_dist.mode()
    vae.register_to_config(scaling_factor=float(1 / latents.std()))
    vae.save_pretrained(folder / "vae")
    return vae


def _step(vae: AutoencoderKL, optimizer: torch.optim.Optimizer, images: Float[Tensor, "image 3 row col"]) -> float:
    with torch.autocast("cpu", torch.bfloat16):
        posterior = vae.encode(images).latent_dist
        restored = vae.decode(posterior.sample()).sample
    error = restored.float() - images
    mean, logvar = posterior.mean.float(), posterior.logvar.float()
    kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
    loss = error.abs().mean() + error.square().mean() + KL_WEIGHT * kl
    loss.backward()
    torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return float(loss)


def _next(scenes: Iterator[Scene], pictures: Mapping[str, Image.Image], count: int) -> Float[Tensor, "image 3 row col"]:
    return to_tensor(_next_arrays(scenes, pictures, count))


def _next_arrays(scenes: Iterator[Scene], pictures: Mapping[str, Image.Image], count: int) -> list[np.ndarray]:
    return [paint(next(scenes), pictures) for _ in range(count)]
