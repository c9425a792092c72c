"""From the images of a finished run to what was reproduced: every sample against every image that was trained."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from memdetect.copies.pixels import CopyRule, copies_of
from memdetect.errors import MemdetectError
from memdetect.inputs.images import open_image
from memdetect.lab.world.entry import Entry
from memdetect.lab.world.labelled import World
from memdetect.lab.world.recipe import TruthRow
from memdetect.lab.world.stock import Stock
from memdetect.runs.folder import RunFolder

SIDE = 64  # of a world's images


def judge_truth(
    rows: list[TruthRow], run: Path, made: tuple[World, Stock], rule: CopyRule | None = None
) -> list[TruthRow]:
    """The rows with `seeds`, `reproduced` and `copied_other` filled in from the samples of a run of their captions.

    `reproduced`: share of an item's samples that are copies of its own image (absent where it has none);
    `copied_other`: share that are copies of a trained image of another family. Other rows stay as they are.
    Raises MemdetectError as `samples`, and when the run has images of none of them.
    """
    world, stock = made
    entries = {entry.id: entry for entry in world.labelled}
    trained = trained_images(world, stock)
    families = np.array([entry.family for entry in world.trained])
    judged: dict[str, dict[str, float | None]] = {}
    for name, images in samples(run, world):
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
    trained = trained_images(world, stock)
    found = samples(run, world)
    counts = [(int(copies_of(images, trained, rule).any(axis=1).sum()), len(images)) for _, images in found]
    return sum(c for c, _ in counts), sum(n for _, n in counts)


def trained_images(world: World, stock: Stock) -> np.ndarray:
    """What the training shows beside the stream, uint8 [entry, 64, 64, 3]; MemdetectError when that is nothing."""
    if not world.trained:
        raise MemdetectError("this world shows no labelled image at all; make one with exposures above 0")
    return np.stack([stock.image(entry) for entry in world.trained])


def samples(run: Path, world: World) -> Iterator[tuple[str, np.ndarray]]:
    """Id and images, uint8 [seed, 64, 64, 3], of every item of a finished run that kept its images.

    Square images of another size are scaled to that of the world. Raises MemdetectError for a run that is not finished,
    kept no images or has others than square ones, and where an item of the world's has another prompt than there.
    """
    folder = RunFolder(run)
    header, rows = folder.header(), list(folder.measurements())
    if len(rows) != header.planned:
        raise MemdetectError(f"{run} holds {len(rows)} of {header.planned} items; finish the scan first")
    kept = [row for row in rows if row.files]
    if not kept:
        raise MemdetectError(f"{run} kept no images; scan again without --no-save-images")
    captions = {entry.id: entry.caption for entry in (*world.labelled, *world.clean)}
    for row in kept:
        if captions.get(row.id, row.prompt) != row.prompt:
            here = f"{row.id} is {row.prompt!r}, in this world {captions[row.id]!r}"
            raise MemdetectError(f"{run}: {here}; scan the prompts of this world")
    return ((row.id, np.stack([_square(run / file) for file in row.files])) for row in kept)


def _square(path: Path) -> np.ndarray:
    image = open_image(path).image
    if image.width != image.height:
        found = f"{image.width} x {image.height} pixels"
        raise MemdetectError(f"{path} has {found}, expected a square; scan with square images")
    return np.asarray(image if image.width == SIDE else image.resize((SIDE, SIDE), Image.Resampling.BOX))


def _own_share(images: np.ndarray, entry: Entry, stock: Stock, rule: CopyRule | None) -> float | None:
    if entry.scene is None and entry.clip is None:
        return None
    return float(copies_of(images, stock.image(entry)[None], rule).mean())
