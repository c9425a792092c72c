"""Training pictures and the captions that they were trained on, in the forms that trainers read."""

import os
import re
import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from memdetect.errors import MemdetectError
from memdetect.files import did_you_mean
from memdetect.inputs.folders import TEXTS, files_in, folder_names, images_in, strays
from memdetect.inputs.prompts import Request, Requests, as_text, item_id
from memdetect.inputs.sidecars import (
    FIELDS,
    META,
    captions_beside,
    composed,
    forget,
    json_captions,
    meta_captions,
    read_text,
    unread_captions,
    whole_in,
)
from memdetect.inputs.spelling import spelled_out
from memdetect.inputs.tables import Row, rows_of
from memdetect.inputs.trainer_settings import SETTINGS, refuse_settings
from memdetect.inputs.wording import BLANK

METADATA = ("metadata.jsonl", "metadata.csv")
NAMES = ("file_name", "image", "image_path")  # of datasets, DiffSynth-Studio and musubi-tuner
CAPTION_TEXTS = (*TEXTS, ".caption", ".cap", ".tags", ".yaml", ".yml", ".xml")  # which may hold captions of pictures
REPEATS = re.compile(r"\d+_(.*\S)")  # kohya's folders: how often its pictures are shown, and their caption
NO_CAPTIONS = re.compile(
    r"readme|licen[cs]e|copying|requirements|.*(config|settings|multidatabackend|dataset_infos?|hparams).*\.(json|ya?ml)"
    r"|.*\blogs?\b",
    re.IGNORECASE,
)
Sourced: TypeAlias = tuple[str, str]  # a caption, and where it stands
MASKS = ("-masklabel.png", "-condlabel.png")  # OneTrainer's, named after the picture that they belong to


def training_pictures(folder: Path) -> list[Path]:
    """The pictures of a training folder at any depth, in the order of their paths, without masks of others of them."""
    found = list(images_in(folder))
    stems = {path.with_suffix("") for path in found}
    return [path for path in found if not any(_without(path, mask) in stems for mask in MASKS)]


def _without(path: Path, ending: str) -> Path | None:
    return path.with_name(path.name.removesuffix(ending)) if path.name.endswith(ending) else None


def captioned(folder: Path, instance_prompt: str | None = None) -> list[tuple[Path, str]]:
    """`understood`, without where the captions stand."""
    return [(picture, caption) for picture, caption, _ in understood(folder, instance_prompt)]


def understood(folder: Path, instance_prompt: str | None = None) -> list[tuple[Path, str, str]]:
    """Pictures of a folder at any depth, in the order of their paths, each once with every caption that it has.

    With each caption its source: the file, the folder whose name it is, or `--instance-prompt`.

    Captions are those of the picture's rows in metadata.jsonl or metadata.csv of its own folder or of one above (its
    name, relative to that; prompt, caption and text, each a text or a list of texts), of kohya's meta_*.json, and of
    the files beside it (`sidecars`). Only where there is none it is `instance_prompt`, else the captions in the names
    of a folder such as `10_sks dog`, of which a linked one has several. Beside NAME.txt alone the names count as well:
    kohya's sd-scripts read .caption unless told otherwise, and train on the name where there is none. What trainers'
    signs stand for is spelled out (`spelling`). Raises MemdetectError for a folder without pictures, a picture without
    a caption, or with a file that may hold some and cannot be read, a row of a picture that is not there, files that do
    not parse, captions that cannot be written, and settings of a trainer that change captions.
    """
    if not folder.is_dir():
        cure = f"{did_you_mean(folder)}give the folder of the training pictures"
        raise MemdetectError(f"--train-images {str(folder)!r} is no folder; {cure}")
    pictures = training_pictures(folder)
    if not pictures:
        raise MemdetectError(f"{str(folder)!r} holds no pictures at any depth; check the path")
    if odd := next((path for path in pictures if re.search("[\ud800-\udfff]", str(path))), None):
        raise MemdetectError(
            f"{str(odd)!r}: a name that is not UTF-8 cannot be written to the records; rename the file"
        )
    forget()
    listed, read = _listed(folder, pictures)
    own = {picture: _clean([*listed[picture], *captions_beside(picture)], picture) for picture in pictures}
    without = [picture for picture in pictures if not own[picture]]
    names, others = folder_names(folder), _texts_of_no_picture(folder) if without else []
    for picture in without:
        _refuse_unread(picture, folder, read, others)
        own[picture] = _fallback(picture, folder, instance_prompt, names, read)
    for picture in pictures:
        if {Path(source).suffix.lower() for _, source in own[picture]} == {".txt"}:
            own[picture] = _clean([*own[picture], *_of_folder(picture, folder, names)], picture)
    texts = strays(list(files_in(folder)), SETTINGS)
    refuse_settings(texts, read, fallback=bool(without) and not instance_prompt)
    return [(picture, caption, source) for picture in pictures for caption, source in own[picture]]


def _listed(folder: Path, pictures: list[Path]) -> tuple[dict[Path, list[Sourced]], set[Path]]:
    """Captions in files about whole folders, by picture, and which files these are."""
    listed: dict[Path, list[Sourced]] = {path: [] for path in pictures}
    homes = sorted({folder, *(above for p in pictures for above in p.parents if above.is_relative_to(folder))})
    read: set[Path] = set()
    ways = ((os.path.normpath(way), picture) for picture in pictures for way in (picture, picture.absolute()))
    known = {composed(way): picture for way, picture in ways}
    for path in [home / name for home in homes for name in METADATA if (home / name).is_file()]:
        for named, captions, place in _rows(path):
            read.add(path)
            picture = named if named in listed else known.get(composed(str(named)))
            if picture is None:
                near = next((f"{str(path)!r} is: " for path in pictures if path.name == named.name), "")
                cure = "correct file_name, seen from the folder of the list" if near else "remove the row"
                raise MemdetectError(f"{place}: names {str(named)!r}, which is not there; {near}{cure}")
            listed[picture] += [(caption, str(path)) for caption in captions]
    for path in [home / name for home in homes for name in whole_in(home) if META.fullmatch(name)]:
        found = meta_captions(path, pictures)
        read |= {path} if found else set()
        for picture, captions in found.items():
            listed[picture] += [(caption, str(path)) for caption in captions]
    return listed, read


def _rows(path: Path) -> Iterator[tuple[Path, list[str], str]]:
    """Picture, captions and place of each row of a metadata file."""
    for line, row in _parsed(path):
        place = f"{str(path)!r}, line {line}"
        if row is None:
            continue
        fields: Mapping[str, Any] = {} if isinstance(row, str) else row
        known = {name: value for name, value in fields.items() if name.lower() in FIELDS}
        name = next((fields[key] for key in NAMES if fields.get(key)), None)
        if not known or not isinstance(name, str) or not name.strip():
            said = "expected an object with file_name and prompt, caption or text; correct the line"
            raise MemdetectError(f"{place}: {said}")
        captions: list[str] = []
        for column, value in known.items():
            texts = [] if value is None or value == [] else json_captions(value)
            if texts is None or isinstance(value, dict):
                said = "expected a text or a list of texts; write it as a text"
                raise MemdetectError(f"{place}: {column} is {value!r:.60}, {said}")
            captions += texts
        yield Path(os.path.normpath(path.parent / name)), captions, place


def _parsed(path: Path) -> Iterator[tuple[int, Row | None]]:
    try:
        yield from rows_of(read_text(path), str(path), path.suffix[1:], None)
    except MemdetectError as problem:  # the advice for prompt files, which name their format, is none here
        raise MemdetectError(str(problem).replace(", or say --prompts-format", "")) from None


def _clean(captions: list[Sourced], picture: Path) -> list[Sourced]:
    """Captions as they are, those that differ in blanks once, without any that shows nothing.

    MemdetectError (usage) for one that cannot be written, or is too long.
    """
    kept: dict[str, Sourced] = {}
    try:
        for caption, source in captions:
            for text in spelled_out(caption) if _shows(caption) else ():
                kept.setdefault(" ".join(text.split()), (text, source))
        return [(as_text(caption, "caption"), source) for caption, source in kept.values()]
    except ValueError as problem:
        raise MemdetectError(f"{str(picture)!r}: {problem}") from None


def _shows(text: str) -> bool:
    return any(unicodedata.category(c)[0] not in "CZ" and c not in BLANK for c in text)


def _texts_of_no_picture(folder: Path) -> list[Path]:
    """Texts and tables anywhere in a folder that go with no picture: they may hold the captions of those without."""
    return [path for path in strays(list(files_in(folder)), CAPTION_TEXTS) if not NO_CAPTIONS.match(path.name)]


def _refuse_unread(picture: Path, folder: Path, read: set[Path], others: list[Path]) -> None:
    homes = [above for above in picture.parents if above.is_relative_to(folder)]
    other = next((path for path in others if path not in read), None)
    if path := unread_captions(picture, homes, read) or other:
        said = "write captions as NAME.txt or metadata.jsonl, or move it away if it holds none"
        raise MemdetectError(f"{str(path)!r} may hold captions of {picture.name!r}, which were not found in it; {said}")


def _fallback(
    picture: Path,
    folder: Path,
    instance_prompt: str | None,
    names: Mapping[tuple[int, int], list[str]],
    read: set[Path],
) -> list[Sourced]:
    given = (instance_prompt or "").strip()
    captions = [(given, "--instance-prompt")] if given else _of_folder(picture, folder, names)
    if not given and (table := next((path for path in sorted(read) if path.parent in picture.parents), None)):
        cure = "add it, give --instance-prompt, or move the picture away if it was not trained on"
        raise MemdetectError(f"{str(table)!r} has captions of pictures, and none of {str(picture)!r}; {cure}")
    if not captions:
        said = f"write it into {picture.stem}.txt or {METADATA[0]}, or give --instance-prompt"
        raise MemdetectError(f"{str(picture)!r} has no caption; {said}; if it was not trained on, move it away")
    return _clean(captions, picture)


def _of_folder(picture: Path, folder: Path, names: Mapping[tuple[int, int], list[str]]) -> list[Sourced]:
    """The captions in the names of a picture's folder, such as `10_sks dog`."""
    place = picture.parent.stat()
    named = [] if picture.parent == folder else names.get((place.st_dev, place.st_ino), [])
    return [(found[1], str(picture.parent)) for found in map(REPEATS.fullmatch, named) if found]


def prompts_of(pictures: list[tuple[Path, str]]) -> Requests:
    """One request for each caption, in the order of the pictures; the first picture's name is its source.

    Captions that differ in nothing but their Unicode form have one id, and are one request.
    """
    kept: dict[str, Request] = {}
    for path, caption in pictures:
        name = item_id(caption, None)
        kept.setdefault(name, Request(name, caption, None, str(path), None, {}))
    return Requests(tuple(kept.values()), 0, len(pictures) - len(kept))
