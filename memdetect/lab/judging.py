"""From the images of a finished run to what was reproduced: every sample against every image that was trained."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float

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
    judged: dict[str, tuple[int, float | None, float]] = {}
    for name, images in samples(run):
        if name in entries:
            own, other = _shares(images, entries[name], world, stock, rule)
            judged[name] = (len(images), own, other)
    if not judged:
        raise MemdetectError(f"{run} has no images of this world's labelled prompts; scan labelled.jsonl first")
    return [_filled(row, *judged[row.id]) if row.id in judged else row for row in rows]


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


def _shares(
    images: np.ndarray, entry: Entry, world: World, stock: Stock, rule: CopyRule | None
) -> tuple[float | None, float]:
    strangers = [e for e in world.trained if e.family != entry.family]
    other = _hits(images, strangers, stock, rule)
    if entry.scene is None and entry.clip is None:
        return None, other
    return _hits(images, [entry], stock, rule), other


def _hits(images: np.ndarray, entries: list[Entry], stock: Stock, rule: CopyRule | None) -> float:
    found: Float[np.ndarray, "image other"] = copies_of(images, np.stack([stock.image(e) for e in entries]), rule)
    return float(found.any(axis=1).mean())


def _filled(row: TruthRow, seeds: int, own: float | None, other: float) -> TruthRow:
    return row.model_copy(update={"seeds": seeds, "reproduced": own, "copied_other": other})
