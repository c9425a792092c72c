"""A small embedder and small pictures for the tests of this folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from memdetect.copies.index import BuildOptions, Row
from memdetect.copies.index.nearby import Candidate


@dataclass(frozen=True)
class Tiny:
    """Centred 8 x 8 thumbnails of unit length, 192 numbers."""

    name: str = "tiny"
    fingerprint: str = "f00d"
    dim: int = 192

    def embed(self, images: Sequence[Image.Image], /) -> np.ndarray:
        small = [np.asarray(i.resize((8, 8), Image.Resampling.BOX), np.float32).ravel() for i in images]
        centred = np.stack(small) - np.mean(small, axis=1, keepdims=True)
        return centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-9)


def picture(seed: int, size: tuple[int, int] = (64, 64)) -> Image.Image:
    """Coarse coloured blocks, so that mild damage leaves it recognisable and no two are alike."""
    blocks = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(blocks).resize(size, Image.Resampling.NEAREST)


def natural(seed: int, side: int = 128) -> Image.Image:
    """Noise of all scales, the coarse the strongest, as in photographs."""
    rng, total = np.random.default_rng(seed), np.zeros((side, side))
    for cells in (4, 8, 16, 32, 64):
        coarse = rng.standard_normal((cells, cells)) / cells
        total += np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC))
    scaled = 255 * (total - total.min()) / np.ptp(total)
    return Image.fromarray(scaled.round().astype(np.uint8)).convert("RGB")


def fill(folder: Path, seeds: Sequence[int], size: tuple[int, int] = (64, 64)) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        picture(seed, size).save(folder / f"{seed:04d}.png")
    return folder


QUICK = BuildOptions(planted=8, null_queries=50, level=0.05)


def texture(seed: int, side: int = 320) -> Image.Image:
    """A square picture with detail of every size, as photographs have: no two alike, none periodic."""
    rng = np.random.default_rng(seed)
    total = np.zeros((side, side, 3), np.float32)
    for cells in (4, 8, 16, 32):
        values = rng.uniform(0, 255, (cells, cells, 3)).astype(np.uint8)
        total += np.asarray(Image.fromarray(values).resize((side, side), Image.Resampling.BICUBIC), np.float32)
    return Image.fromarray((total / 4).astype(np.uint8))


def candidates(*rows: int) -> list[Candidate]:
    """Rows near an image, nearest first, each of a picture of its own."""
    return [Candidate(0.0, k, Row(key=str(k), path="", sha256=str(k), width=1, height=1)) for k in rows]
