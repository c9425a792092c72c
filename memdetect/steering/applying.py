"""apply(): the same prompts at several strengths, from the same noise."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from memdetect.adapters import Model
from memdetect.copies.embedders import Embedder
from memdetect.errors import MemdetectError
from memdetect.probing import Decoded, Sampler, decode, quiet, sample_latents
from memdetect.probing.batches import Batching
from memdetect.steering.edits import border, moved, resemblance
from memdetect.steering.hooks import Window, steer
from memdetect.steering.vector import Vector


def strengths_of(text: str) -> tuple[float, ...]:
    """Strengths from a list such as `0,0.2,0.4`: ascending, each once. Raises MemdetectError for what is no number."""
    found: set[float] = set()
    for part in text.split(","):
        try:
            value = float(part)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise MemdetectError(f"strength {part.strip()!r} is no finite number; expected a list such as 0,0.2,0.4")
        found.add(value + 0.0)  # -0.0 becomes 0.0
    return tuple(sorted(found))


@dataclass(frozen=True, slots=True)
class Course:
    """What is tried: a vector at several strengths in a window of steps (None: all); `embedder` compares the images."""

    vector: Vector
    strengths: tuple[float, ...]
    window: Window | None = None
    embedder: Embedder | None = None


def steered_latents(
    model: Model, prompts: Sequence[str], seeds: Sequence[int], sampler: Sampler, course: Course, strength: float
) -> Float[Tensor, "image chan row col"]:
    """Final latents of one image for each (prompt, seed) at one strength."""
    with quiet(), steer(model, course.vector, strength, course.window):
        return sample_latents(model, prompts, seeds, sampler, Batching(sampler.batch_size))


@dataclass(frozen=True, slots=True)
class Grid:
    """Images by prompt and strength, uint8 [row, col, 3] each, and what was measured of each against strength 0."""

    prompts: tuple[str, ...]
    strengths: tuple[float, ...]
    images: tuple[tuple[np.ndarray, ...], ...]
    rows: tuple[dict[str, Any], ...]


def apply(
    model: Model,
    prompts: Sequence[str],
    course: Course,
    sampler: Sampler,
    progress: Callable[[int, int, str], None] = lambda _done, _planned, _note: None,
) -> Grid:
    """One image for each prompt and strength; the sampler's seed is the seed of every one.

    Strength 0 is always made, for all others are compared with it. rows: prompt, strength, moved (root mean square of
    the latents' change, in the unit of the latents), border (median colour of the outermost pixels), resemblance
    (cosine to the image of strength 0 in the embedder), and finite, whether all of this image's latents and pixels are
    numbers: where they are not, or those of strength 0 are not, nothing is measured (None). Raises MemdetectError.
    """
    if not prompts:
        raise MemdetectError("no prompts to steer; give at least one")
    levels = tuple(sorted({0.0, *course.strengths}))
    seeds = [sampler.seed] * len(prompts)
    made: dict[float, Tensor] = {}
    for done, strength in enumerate(levels):
        progress(done, len(levels), "")
        made[strength] = steered_latents(model, prompts, seeds, sampler, course, strength).float().cpu()
    progress(len(levels), len(levels), "")
    shown = {strength: made_of(model, latents, sampler) for strength, latents in made.items()}
    rows = tuple(
        {"prompt": prompt, "strength": strength, **_numbers(course, shown[0.0][i], shown[strength][i])}
        for i, prompt in enumerate(prompts)
        for strength in levels
    )
    by_prompt = tuple(tuple(shown[strength][i].image.pixels for strength in levels) for i in range(len(prompts)))
    return Grid(tuple(prompts), levels, by_prompt, rows)


@dataclass(frozen=True, slots=True)
class Made:
    """An image at one strength: its latents and what was decoded of them."""

    latents: Float[Tensor, "chan row col"]
    image: Decoded

    @property
    def finite(self) -> bool:
        """Whether all its latents and pixels are numbers."""
        return self.image.finite and bool(self.latents.isfinite().all())


def _numbers(course: Course, before: Made, after: Made) -> dict[str, Any]:
    if not (before.finite and after.finite):
        return {"moved": None, "border": None, "resemblance": None, "finite": after.finite}
    return {
        "moved": moved(before.latents, after.latents),
        "border": [round(float(c)) for c in border(after.image.pixels)],
        "resemblance": resemblance(course.embedder, before.image.pixels, after.image.pixels),
        "finite": True,
    }


def made_of(model: Model, latents: Float[Tensor, "image chan row col"], sampler: Sampler) -> list[Made]:
    """The images of latents, decoded, each beside its own latents."""
    with torch.inference_mode():
        images = decode(model, latents, Batching(sampler.batch_size))
    return [Made(own, image) for own, image in zip(latents, images, strict=True)]


GAP, SIDE, HEAD = 4, 192, 16


def draw(grid: Grid) -> Image.Image:
    """One picture: a row for each prompt, numbered from 0, a column for each strength; large images are reduced."""
    from PIL import ImageDraw

    height, width = grid.images[0][0].shape[:2]
    scale = min(1.0, SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    sheet = Image.new(
        "RGB",
        (2 * HEAD + len(grid.strengths) * (size[0] + GAP), HEAD + len(grid.prompts) * (size[1] + GAP)),
        "white",
    )
    pen = ImageDraw.Draw(sheet)
    for k, strength in enumerate(grid.strengths):
        pen.text((2 * HEAD + k * (size[0] + GAP) + 2, 2), f"{strength:g}", fill="black")
    for i, row in enumerate(grid.images):
        top = HEAD + i * (size[1] + GAP)
        pen.text((4, top + 2), str(i), fill="black")
        for k, image in enumerate(row):
            sheet.paste(Image.fromarray(image).resize(size), (2 * HEAD + k * (size[0] + GAP), top))
    return sheet
