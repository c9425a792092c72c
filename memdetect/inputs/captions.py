"""Training pictures and the captions that they were trained on, in the forms that trainers read."""

import csv
import io
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from memdetect.errors import MemdetectError
from memdetect.inputs.folders import images_in
from memdetect.inputs.prompts import Request, Requests, item_id
from memdetect.inputs.tables import PROMPT_COLUMNS

METADATA = ("metadata.jsonl", "metadata.csv")
BESIDE = (".txt", ".caption")
REPEATS = re.compile(r"\d+_(.*\S)")  # kohya's folders: how often its pictures are shown, and their caption
MASKS = ("-masklabel.png", "-condlabel.png")  # OneTrainer's, named after the picture that they belong to


def training_pictures(folder: Path) -> list[Path]:
    """The pictures of a training folder at any depth, in the order of their paths, without masks of others of them."""
    found = list(images_in(folder))
    stems = {path.with_suffix("") for path in found}
    return [path for path in found if not any(_without(path, mask) in stems for mask in MASKS)]


def _without(path: Path, ending: str) -> Path | None:
    return path.with_name(path.name.removesuffix(ending)) if path.name.endswith(ending) else None


def captioned(folder: Path, instance_prompt: str | None = None) -> list[tuple[Path, str]]:
    """Pictures of a folder at any depth, in the order of their paths, each once with every caption that it has.

    Captions are those of the picture's rows in metadata.jsonl or metadata.csv of its own folder or of one above
    (file_name, relative to it; prompt, caption or text) and of NAME.txt and NAME.caption beside it. Only where there is
    none it is `instance_prompt`, else the caption in the name of a folder such as `10_sks dog`. Raises MemdetectError
    for a folder without pictures, a picture without a caption, a row of a picture that is not there, and files that do
    not parse.
    """
    if not folder.is_dir():
        raise MemdetectError(f"--train-images {str(folder)!r} is no folder; give the folder of the training pictures")
    pictures = training_pictures(folder)
    if not pictures:
        raise MemdetectError(f"{str(folder)!r} holds no pictures at any depth; check the path")
    listed: dict[Path, list[str]] = {path: [] for path in pictures}
    for picture, caption, place in _rows(folder, pictures):
        if picture not in listed:
            raise MemdetectError(f"{place}: names {str(picture)!r}, which is not there; remove the row")
        listed[picture].append(caption)
    found: list[tuple[Path, str]] = []
    for picture, captions in listed.items():
        own = dict.fromkeys([*captions, *_beside(picture)]) or [_fallback(picture, folder, instance_prompt)]
        found += [(picture, caption) for caption in own]
    return found


def _rows(folder: Path, pictures: list[Path]) -> Iterator[tuple[Path, str, str]]:
    """Picture, caption and place of each row of metadata in folders that hold pictures, and those above them."""
    homes = {folder, *(above for p in pictures for above in p.parents if above.is_relative_to(folder))}
    for path in [home / name for home in sorted(homes) for name in METADATA if (home / name).is_file()]:
        text = _read(path)
        for number, row in _table(path, text) if path.suffix == ".csv" else _objects(text):
            try:
                caption = next(str(row[key]) for key in PROMPT_COLUMNS if row.get(key))
                yield Path(os.path.normpath(path.parent / str(row["file_name"]))), caption, f"{path}:{number}"
            except (AttributeError, TypeError, KeyError, StopIteration):
                said = "expected an object with file_name and prompt, caption or text; correct the line"
                raise MemdetectError(f"{path}:{number}: {said}") from None


def _objects(text: str) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError):
                yield number, None


def _table(path: Path, text: str) -> Iterator[tuple[int, Mapping[str | Any, str | Any]]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error as problem:
        raise MemdetectError(f"{path}:{reader.line_num}: is no table ({problem}); correct the line") from None


def _beside(picture: Path) -> Iterator[str]:
    for suffix in BESIDE:
        path = picture.with_suffix(suffix)
        if path.is_file() and (caption := " ".join(_read(path).split())):
            yield caption


def _fallback(picture: Path, folder: Path, instance_prompt: str | None) -> str:
    named = REPEATS.fullmatch(picture.parent.name) if picture.parent != folder else None
    caption = (instance_prompt or "").strip() or (named[1] if named else "")
    if not caption:
        said = f"write it into {picture.stem}.txt or {METADATA[0]}, or give --instance-prompt"
        raise MemdetectError(f"{str(picture)!r} has no caption; {said}; if it was not trained on, move it away")
    return caption


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as problem:
        raise MemdetectError(f"{path} cannot be read as UTF-8 text ({problem}); correct the file") from None


def prompts_of(pictures: list[tuple[Path, str]]) -> Requests:
    """One request for each caption, in the order of the pictures; the picture's name is its source."""
    kept = {
        caption: Request(item_id(caption, None), caption, None, str(path), None, {}) for path, caption in pictures[::-1]
    }
    order = dict.fromkeys(caption for _, caption in pictures)
    return Requests(tuple(kept[caption] for caption in order), 0, len(pictures) - len(order))
