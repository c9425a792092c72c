"""The references of a vector: prompts are sampled, image files opened and fitted; then both are latents."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from memdetect.adapters import Model, Point
from memdetect.adapters.schedule import add_noise, levels
from memdetect.errors import MemdetectError
from memdetect.inputs.images import open_image, to_array
from memdetect.inputs.prompts import Request
from memdetect.probing import Sampler, decode, encode, generators, image_size, quiet, record, sample_latents, watch
from memdetect.probing.batches import Batching, seed_of
from memdetect.probing.hooks import MEAN

PURPOSE = "steering"  # of the noise that references are probed with


@dataclass(frozen=True, slots=True)
class References:
    """One side's references: an image each, as latents and as pixels; its prompt ("" for a given file) and name."""

    names: tuple[str, ...]
    prompts: tuple[str, ...]
    latents: Float[Tensor, "item chan row col"]
    images: tuple[Image.Image, ...]
    generated: bool
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.names)


def gather(model: Model, requests: Sequence[Request], sampler: Sampler, side: str) -> References:
    """Sample each prompt `num_seeds` times, or open each image file. side: what the messages call them.

    An image of another size or shape than the model's is centre-cropped and resized, and `notes` say how many were.
    Raises MemdetectError when prompts and images are mixed, there are none, a file cannot be opened, or the model gives
    latents or pixels that are not finite, of which nothing can be learned.
    """
    if len({request.image is None for request in requests}) != 1:
        found = "prompts and images" if requests else "nothing"
        raise MemdetectError(f"{side} references hold {found}; give prompts only, or images only")
    return (_made if requests[0].image is None else _opened)(model, requests, sampler, side)


def _made(model: Model, requests: Sequence[Request], sampler: Sampler, _side: str) -> References:
    draws = range(sampler.num_seeds)
    prompts = [request.prompt or "" for request in requests for _ in draws]
    seeds = [seed for request in requests for seed in sampler.seeds(request.id)]
    batching = Batching(sampler.batch_size)
    with quiet():
        latents = sample_latents(model, prompts, seeds, sampler, batching)
        images = decode(model, latents, batching)
    names = tuple(f"{request.id}-{k}" for request in requests for k in draws)
    _check_finite([image.finite for image in images], latents, names)
    pictures = tuple(Image.fromarray(image.pixels) for image in images)
    return References(names, tuple(prompts), latents, pictures, generated=True)


def _opened(model: Model, requests: Sequence[Request], sampler: Sampler, side: str) -> References:
    size = image_size(model)
    images = [open_image(request.image or Path()).image for request in requests]
    arrays = np.stack([to_array(image, size) for image in images])
    other = sum((image.height, image.width) != size for image in images)
    said = f"{other} of {len(images)} {side} images were cropped to their centre and resized to {size[1]}x{size[0]}"
    with quiet():
        latents = encode(model, torch.from_numpy(arrays), Batching(sampler.batch_size))
    names = tuple(request.id for request in requests)
    _check_finite([True] * len(names), latents, names)
    notes = (said,) if other else ()
    return References(names, ("",) * len(names), latents, tuple(images), generated=False, notes=notes)


def _check_finite(pixels: Sequence[bool], latents: Tensor, names: Sequence[str]) -> None:
    whole = latents.isfinite().flatten(1).all(dim=1).tolist()
    bad = [name for name, *both in zip(names, pixels, whole, strict=True) if not all(both)]
    if bad:
        raise MemdetectError(
            f"{len(bad)} of {len(names)} references are not finite, {bad[0]!r} first; use --dtype fp32 or bf16"
        )


def features(
    model: Model, points: Sequence[Point], references: References, timestep: int, sampler: Sampler
) -> dict[str, Float[Tensor, "item chan"]]:
    """Features at each point, averaged over positions: noised to a timestep and passed once under its own prompt.

    A given file, which has none, is passed under the unconditional branch, as a scan does.
    The noise of a reference comes from (run seed, its name), whatever its batch; float32 on the CPU.
    """
    level = levels(model.pipe.scheduler, timestep)
    shape = (1, *references.latents.shape[1:])
    seeds = [seed_of(sampler.seed, name, 0, PURPOSE) for name in references.names]
    noise = torch.cat([torch.randn(shape, generator=g) for g in generators(seeds)])

    def work(rows: slice) -> dict[str, Tensor]:
        clean = references.latents[rows].to(model.place, torch.float32)
        noisy = add_noise(clean, noise[rows].to(clean.device), level).to(model.denoiser.dtype)
        replay = record(model, references.prompts[rows] if references.generated else None)
        with watch(model.denoiser, points, (MEAN,), stop=True) as seen:
            replay(noisy, torch.full((len(noisy),), timestep, device=noisy.device))
        return {layer: found[0].float().cpu() for (_, layer), found in seen.arrays.items()}

    with quiet():
        parts = list(Batching(sampler.batch_size).run(len(references), work))
    return {point.name: torch.cat([part[point.name] for part in parts]) for point in points}
