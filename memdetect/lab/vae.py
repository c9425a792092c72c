"""Train the autoencoder of the bundled model on fresh scenes."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn

from memdetect.lab.parts import make_vae
from memdetect.lab.world import World, paint

PEAK_RATE = 2e-3
WARM_UP = 200
KL_WEIGHT = 1e-4
LATENT_NOISE = 0.05  # of the latents' standard deviation; what a sampler leaves
BATCH = 16
FAR_AWAY = 1_000_000_000  # scenes of the stream that the denoiser never reaches


def to_tensor(images: list[np.ndarray]) -> Float[Tensor, "image 3 row col"]:
    """uint8 [row, col, 3] arrays -> channels-last float32 batch in [-1, 1]."""
    batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 127.5 - 1
    return batch.contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True, slots=True)
class Fit:
    """What an autoencoder is fitted to: fresh scenes of a world, drawn from `pictures`, for minutes of wall time."""

    world: World
    pictures: Mapping[str, Image.Image]
    minutes: float

    def batches(self, start: int) -> Iterator[Float[Tensor, "image 3 row col"]]:
        """Endless batches of scenes that the denoiser never reaches."""
        scenes = self.world.stream(FAR_AWAY + start)
        while True:
            yield to_tensor([paint(next(scenes), self.pictures) for _ in range(BATCH)])


def train_vae(fit: Fit, folder: Path) -> AutoencoderKL:
    """Train an autoencoder, set `scaling_factor` to 1 / std of its latents, save it to `folder`/vae.

    A finished autoencoder found in `folder` is returned as it is.
    """
    if (folder / "vae" / "diffusion_pytorch_model.safetensors").exists():
        return AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=torch.float32)
    torch.manual_seed(fit.world.seed)
    vae: Any = make_vae()
    vae.to(memory_format=torch.channels_last)
    _fit(vae, list(vae.parameters()), fit, 0, lambda images: _whole_loss(vae, images))
    with torch.no_grad():
        latents = torch.cat([vae.encode(next(fit.batches(k))).latent_dist.mode() for k in range(0, 256, BATCH)])
    vae.register_to_config(scaling_factor=float(1 / latents.std()))
    vae.save_pretrained(folder / "vae")
    return vae


def refine_decoder(vae: Any, fit: Fit) -> None:
    """Train the decoder further on slightly noisy latents of the frozen encoder; latents, and so scores, stay."""
    parameters = [*vae.decoder.parameters(), *vae.post_quant_conv.parameters()]
    _fit(vae, parameters, fit, FAR_AWAY, lambda images: _decoder_loss(vae, images))


def _fit(
    vae: AutoencoderKL, parameters: list[nn.Parameter], fit: Fit, start: int, loss_of: Callable[[Tensor], Tensor]
) -> None:
    optimizer = torch.optim.AdamW(parameters, lr=PEAK_RATE, betas=(0.9, 0.99), weight_decay=1e-4)
    vae.train()
    begun = time.monotonic()
    for step, images in enumerate(fit.batches(start)):
        progress = (time.monotonic() - begun) / (60 * fit.minutes)
        if progress >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = PEAK_RATE * min(1, (step + 1) / WARM_UP) * (1 - progress)
        loss = loss_of(images)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if step % 100 == 0:
            print(f"vae: {step * BATCH} images, {100 * progress:.0f} % of the time, loss {loss.item():.4f}", flush=True)
    vae.eval()


def _whole_loss(vae: Any, images: Float[Tensor, "image 3 row col"]) -> Float[Tensor, ""]:
    with torch.autocast("cpu", torch.bfloat16):
        posterior = vae.encode(images).latent_dist
        restored = vae.decode(posterior.sample()).sample
    mean, logvar = posterior.mean.float(), posterior.logvar.float()
    kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
    return _distance(restored.float(), images) + KL_WEIGHT * kl


def _decoder_loss(vae: Any, images: Float[Tensor, "image 3 row col"]) -> Float[Tensor, ""]:
    with torch.autocast("cpu", torch.bfloat16):
        with torch.no_grad():
            latents = vae.encode(images).latent_dist.mode()
        noisy = latents + LATENT_NOISE / vae.config["scaling_factor"] * torch.randn_like(latents)
        restored = vae.decode(noisy).sample
    return _distance(restored.float(), images)


def _distance(restored: Tensor, images: Tensor) -> Float[Tensor, ""]:
    error = restored - images
    return error.abs().mean() + error.square().mean()
