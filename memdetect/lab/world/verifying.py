"""Whether a folder holds the world that its world.json makes: every label, list, image and showing."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from memdetect.errors import MemdetectError
from memdetect.inputs.images import open_image
from memdetect.lab.world.labelled import World
from memdetect.lab.world.recipe import (
    PICTURES,
    TRAINED,
    TruthRow,
    picture_lines,
    pixel_digest,
    read_recipe,
    read_truth,
    read_world,
    trained_lines,
    truth_row,
)
from memdetect.lab.world.stock import Stock

SCHEMA = 2


def differences(folder: Path) -> Iterator[str]:
    """Every way in which the files of a folder differ from the world that its world.json makes.

    Compared are world.json itself, pictures.jsonl, trained.jsonl, truth.jsonl with its images, and of a training set
    how often each labelled image is there and under which caption. Raises MemdetectError as `read_world`.
    """
    world, stock = read_world(folder)
    recipe = read_recipe(folder / "world.json")
    if (recipe.schema_version, recipe.names, recipe.clips) != (SCHEMA, world.names, tuple(stock.clips)):
        yield "world.json: schema_version, names or clips are not those of this world"
    lists = {PICTURES: "".join(picture_lines(world, stock, recipe.pictures))}
    lists[TRAINED] = trained_lines([truth_row(entry, stock) for entry in world.trained])
    for name, wanted in lists.items():
        path = folder / name
        if not path.is_file() or path.read_bytes() != wanted.encode():
            yield f"{name}: missing, or it lists other pictures"
    yield from _truth_differences(folder, read_truth(folder), world, stock)
    yield from _training_differences(folder / "train", world)


def _truth_differences(folder: Path, truth: Sequence[TruthRow], world: World, stock: Stock) -> Iterator[str]:
    yield from (f"{name}: {n} times in truth.jsonl" for name, n in Counter(row.id for row in truth).items() if n > 1)
    rows = {row.id: row for row in truth}
    for entry in world.labelled:
        row, expected = rows.pop(entry.id, None), truth_row(entry, stock)
        if row is None:
            yield f"{entry.id}: missing"
            continue
        judged = {key: getattr(row, key) for key in ("seeds", "reproduced", "copied_other")}
        for key, value in expected.model_copy(update=judged).model_dump().items():
            if getattr(row, key) != value:
                yield f"{entry.id}: {key} is {getattr(row, key)!r}, expected {value!r}"
        if expected.image and _file_digest(folder / expected.image) != expected.sha256:
            yield f"{entry.id}: the pixels of {expected.image} differ"
    yield from (f"{name}: not in this world" for name in rows)


def _training_differences(train: Path, world: World) -> Iterator[str]:
    """Of the training set, where there is one: every labelled image that is not there as often as it is shown."""
    if not train.is_dir():
        return
    try:
        lines = [json.loads(line) for line in (train / "metadata.jsonl").read_bytes().splitlines()]
        found = Counter((line["file_name"].rpartition("-")[0], line["text"]) for line in lines)
        gone = sum(not (train / line["file_name"]).is_file() for line in lines)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        yield "train: there is no metadata.jsonl with file_name and text in each line"
        return
    if gone:
        yield f"train: {gone} of {len(lines)} files are missing"
    for entry in world.trained:
        if (shown := found[entry.id, entry.caption]) != entry.exposures:
            yield f"train: {entry.id} is shown {shown} times, expected {entry.exposures}"


def _file_digest(path: Path) -> str:
    try:
        return pixel_digest(np.asarray(open_image(path).image))
    except MemdetectError:
        return ""
