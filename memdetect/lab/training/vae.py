"""Train the autoencoder of the bundled model on fresh scenes."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from jaxtyping import Float
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from memdetect.errors import MemdetectError
from memdetect.lab.training.parts import make_vae, mixed
from memdetect.lab.world.scenes import clutter, compose, paint

PEAK_RATE = 2e-3
WARM_UP = 300
KL_WEIGHT = 1e-4
LATENT_NOISE = 0.05  # of the latents' standard deviation; what a sampler leaves
BATCH = 16
CROP_SHARE = 0.7  # of the time on quarters of images: four times the steps for the same pixels
FAR_AWAY = 1_000_000  # batches that training never reaches: for the scale, and for the decoder alone
STREAM = 5  # of the world's random streams: nothing that the autoencoder sees is a scene of the denoiser's


def to_tensor(images: list[np.ndarray]) -> Float[Tensor, "image 3 row col"]:
    """uint8 [row, col, 3] arrays -> channels-last float32 batch in [-1, 1]."""
    batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 127.5 - 1
    return batch.contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True, slots=True)
class Fit:
    """What an autoencoder is fitted to: cluttered images, scenes and clip art, for minutes of wall time.

    `start`: folder of a pipeline of the same architecture, whose autoencoder is trained further; None: a new one.
    """

    seed: int
    pictures: Mapping[str, Image.Image]
    clips: Sequence[np.ndarray]
    minutes: float
    start: Path | None = None

    def images(self, start: int = 0) -> Iterator[np.ndarray]:
        """Endless images, uint8 [64, 64, 3]; image i depends on (seed, i) alone."""
        names = list(self.pictures)
        for index in count(start):
            rng = np.random.default_rng([self.seed, STREAM, index])
            kind = rng.random()
            if self.clips and kind < 0.25:
                yield self.clips[int(rng.integers(len(self.clips)))]
            elif kind < 0.65:
                yield clutter(rng, self.pictures)
            else:
                chosen = rng.choice(len(names), int(rng.integers(1, 4)), replace=False)
                yield paint(compose(rng, [names[int(i)] for i in chosen]), self.pictures)

    def batch(self, index: int, crops: bool) -> Float[Tensor, "image 3 row col"]:
        """Batch number `index`: whole images, or the four quarters of a fourth as many."""
        wanted = BATCH // 4 if crops else BATCH
        whole = to_tensor(list(islice(self.images(index * BATCH), wanted)))
        if not crops:
            return whole
        quarters = [half.chunk(2, dim=3) for half in whole.chunk(2, dim=2)]
        return torch.cat([q for row in quarters for q in row]).contiguous(memory_format=torch.channels_last)


def train_vae(fit: Fit, folder: Path) -> AutoencoderKL:
    """Train an autoencoder, set `scaling_factor` to 1 / std of its latents, save it to `folder`/vae.

    A finished autoencoder found in `folder` is returned as it is.
    Raises MemdetectError where the pipeline to start from has none of this architecture.
    """
    if (folder / "vae" / "diffusion_pytorch_model.safetensors").exists():
        return AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=torch.float32)
    torch.manual_seed(fit.seed)
    vae: Any = _first(fit.start)
    vae.to(memory_format=torch.channels_last)
    _fit(vae, list(vae.parameters()), fit, 0, lambda images: _whole_loss(vae, images))
    with torch.no_grad():
        latents = torch.cat([vae.encode(fit.batch(FAR_AWAY + k, False)).latent_dist.mode() for k in range(16)])
    vae.register_to_config(scaling_factor=float(1 / latents.std()))
    vae.save_pretrained(folder / "vae")
    return vae


def _first(start: Path | None) -> AutoencoderKL:
    vae = make_vae()
    if start is None:
        return vae
    place = start / "vae" / "diffusion_pytorch_model.safetensors"
    try:
        vae.load_state_dict({name: value.float() for name, value in load_file(place).items()})
    except (OSError, RuntimeError, SafetensorError) as e:
        why = str(e).splitlines()[0]
        raise MemdetectError(f"{start} has no autoencoder to start from ({why}); give a pipeline of `lab train`") from e
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
    for step in count():
        progress = (time.monotonic() - begun) / (60 * fit.minutes)
        if progress >= 1:
            break
        images = fit.batch(start + step, crops=progress < CROP_SHARE)
        for group in optimizer.param_groups:
            group["lr"] = PEAK_RATE * min(1, (step + 1) / WARM_UP) * (1 - progress)
        loss = loss_of(images)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if step % 200 == 0:
            print(f"vae: step {step}, {100 * progress:.0f} % of the time, loss {loss.item():.4f}", flush=True)
    vae.eval()


def _whole_loss(vae: Any, images: Float[Tensor, "image 3 row col"]) -> Float[Tensor, ""]:
    with mixed("cpu"):
        posterior = vae.encode(images).latent_dist
        restored = vae.decode(posterior.sample()).sample
    mean, logvar = posterior.mean.float(), posterior.logvar.float()
    kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
    return _distance(restored.float(), images) + KL_WEIGHT * kl


def _decoder_loss(vae: Any, images: Float[Tensor, "image 3 row col"]) -> Float[Tensor, ""]:
    with mixed("cpu"):
        with torch.no_grad():
            latents = vae.encode(images).latent_dist.mode()
        noisy = latents + LATENT_NOISE / vae.config["scaling_factor"] * torch.randn_like(latents)
        restored = vae.decode(noisy).sample
    return _distance(restored.float(), images)


def _distance(restored: Tensor, images: Tensor) -> Float[Tensor, ""]:
    error = restored - images
    return error.abs().mean() + error.square().mean()
