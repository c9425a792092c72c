"""From the images of a finished run to what was reproduced: every sample against every image that was trained."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from memdetect.copies import CopyRule, copies_of
from memdetect.errors import MemdetectError
from memdetect.images import open_image
from memdetect.lab.recipe import TruthRow
from memdetect.lab.stock import Stock
from memdetect.lab.world import Entry, World
from memdetect.records import RunFolder


def judge_truth(
    rows: list[TruthRow], run: Path, made: tuple[World, Stock], rule: CopyRule | None = None
) -> list[TruthRow]:
    """The rows with `seeds`, `reproduced` and `copied_other` filled in from the samples of a run of their captions.

    `reproduced`: share of an item's samples that are copies of its own image (absent where it has none);
    `copied_other`: share that are copies of a trained image of another family. Other rows stay as they are.
    Raises MemdetectError when the run has images of none of them.
    """
    world, stock = made
    entries = {entry.id: entry for entry in world.labelled}
    trained = np.stack([stock.image(entry) for entry in world.trained])
    families = np.array([entry.family for entry in world.trained])
    judged: dict[str, dict[str, float | None]] = {}
    for name, images in samples(run):
        if name not in entries:
            continue
        entry, found = entries[name], copies_of(images, trained, rule)
        strangers = found[:, families != entry.family].any(axis=1)
        own = _own_share(images, entry, stock, rule)
        judged[name] = {"seeds": len(images), "reproduced": own, "copied_other": float(strangers.mean())}
    if not judged:
        raise MemdetectError(f"{run} has no images of this world's labelled prompts; scan labelled.jsonl first")
    return [row.model_copy(update=judged.get(row.id, {})) for row in rows]


def disagreements(rows: list[TruthRow], run: Path, made: tuple[World, Stock]) -> Iterator[str]:
    """Every way in which what the rows say of samples differs from what a run of their captions shows."""
    for row, again in zip(rows, judge_truth(rows, run, made), strict=True):
        for key in ("seeds", "reproduced", "copied_other"):
            if getattr(row, key) != getattr(again, key):
                yield f"{row.id}: {key} is {getattr(row, key)!r}, measured {getattr(again, key)!r}"


def copied_share(run: Path, made: tuple[World, Stock], rule: CopyRule | None = None) -> tuple[int, int]:
    """Of all samples of a run: how many are copies of any trained image, and how many there are."""
    world, stock = made
    trained = np.stack([stock.image(entry) for entry in world.trained])
    counts = [(int(copies_of(images, trained, rule).any(axis=1).sum()), len(images)) for _, images in samples(run)]
    return sum(c for c, _ in counts), sum(n for _, n in counts)


def samples(run: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Id and images, uint8 [seed, row, col, 3], of every item of a run that kept its images."""
    for row in RunFolder(run).measurements():
        if row.files:
            yield row.id, np.stack([np.asarray(open_image(run / file).image) for file in row.files])


def _own_share(images: np.ndarray, entry: Entry, stock: Stock, rule: CopyRule | None) -> float | None:
    if entry.scene is None and entry.clip is None:
        return None
    return float(copies_of(images, stock.image(entry)[None], rule).mean())
