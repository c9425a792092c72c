"""A run on disk with pictures, for the tests of the page: outputs, the training images that they mirror, another."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin
from synthetic_runs import INDEX, calibration, header, row, searched, words, write_run

from memdetect.copies.match import Match
from memdetect.runs.policy import Policy

CLEAN = calibration(np.random.default_rng(0).normal(size=999).tolist())
MIRRORED = (-1.0, 0.0, 1.0, 0.0, 1.0, 0.0)
MARK = "who made this picture"  # in the metadata of every file


def draw(path: Path, seed: int, side: int = 64) -> Path:
    """A picture of random patches, with metadata."""
    path.parent.mkdir(parents=True, exist_ok=True)
    told = PngImagePlugin.PngInfo()
    told.add_text("Author", MARK)
    patches = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(patches).resize((side, side), Image.Resampling.NEAREST).save(path, pnginfo=told)
    return path


def near(train: Path, seed: int, k: int, **changes: Any) -> list[Match]:
    """What was found near an image: a mirrored copy, of which a part agrees, and another training image."""
    first = Match(
        seed=k, rank=1, key=f"train-{seed}", path=str(train / f"{seed}.png"), caption=words(0), similarity=0.97,
        similar=True, copy_found=True, tile=0.1, ssim=0.9, p=0.001, affine=MIRRORED, agreed=0.5, p_agreed=0.001,
        region=(0.1, 0.2, 0.6, 0.8),
    )  # fmt: skip
    other = Match(seed=k, rank=2, key="train-9", path=str(train / "9.png"), similarity=0.3)
    return [first.model_copy(update=changes), other]


def pictured(folder: Path, prompts: Sequence[str] = (), **changes: Any) -> Path:
    """A run of eight prompts: two copies, one suspicious, one inconclusive, the rest clear; two images each."""
    train = folder.parent / "train"
    for seed in (0, 1, 9):
        draw(train / f"{seed}.png", seed)
    scores: list[float | None] = [-1.0, -2.0, 9.0, None, *(-3.0 - i for i in range(4))]
    rows = [row(i, score, line=i + 1, seeds=[i * 10, i * 10 + 1]) for i, score in enumerate(scores)]
    for i in range(2):
        rows[i] = rows[i].model_copy(update={"matches": [m for k in range(2) for m in near(train, i, k)]})
    rows = searched(r.model_copy(update={"files": [f"images/{r.index}-{k}.png" for k in range(2)]}) for r in rows)
    rows = [r.model_copy(update={"prompt": p}) for r, p in zip(rows, prompts, strict=False)] + rows[len(prompts) :]
    made = write_run(folder, header(8, CLEAN, Policy(), index=INDEX, **changes), rows, CLEAN)
    for r in rows:
        for k, name in enumerate(r.files):
            draw(made / name, 100 + r.index * 2 + k)
    return made
