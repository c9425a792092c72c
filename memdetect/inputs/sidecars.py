"""Captions in files beside pictures: NAME.txt and its kin, JSON of kohya's tools; and which of them cannot be read."""

import json
import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from memdetect import files
from memdetect.errors import MemdetectError
from memdetect.inputs.encoding import decoded
from memdetect.inputs.folders import IMAGE_SUFFIXES

TEXTS = (".txt", ".caption", ".cap")
JSON = ".json"
CACHES = (".npz", ".npy", ".safetensors", ".pt")
FIELDS = ("prompt", "caption", "text")  # in whatever case
TAGS = "tags"
META = re.compile(r"meta(_\w+)?\.json", re.IGNORECASE)  # of kohya's merge_captions_to_metadata and the like
# What may hold captions of a whole folder; metadata.jsonl, metadata.csv and META are read, if they are what they seem.
WHOLE = re.compile(
    r"metadata\.\w+|(meta(_\w+)?|captions?|prompts?)\.(jsonl?|ndjson|csv|tsv|txt|ya?ml|parquet)", re.IGNORECASE
)
MADE_BY = re.compile(r"(\.[^.\s]+)?(\.\w+)")  # of a suffix such as .wd14.txt what it is by, and what it is


@lru_cache(256)
def _listing(folder: Path) -> Mapping[str, list[str]]:
    """The files of a folder by each beginning of their names that ends before a dot, however accents are written."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if not entry.is_dir() and not entry.name.startswith("."))
    except OSError as problem:
        said = f"cannot be read ({problem.strerror}); give access to it"
        raise MemdetectError(f"{str(problem.filename or folder)!r}: {said}") from None
    for name in names:
        own = composed(name)
        for dot in re.finditer(r"\.", own):
            found[own[: dot.start()]].append(name)
    return found


def composed(name: str) -> str:
    """A name with its accents in one form: some systems write them apart (NFD), others together (NFC)."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def _beside(picture: Path) -> Iterator[tuple[Path, str]]:
    """Files named after a picture, with their last suffix, in lower case: a.txt, a.png.txt, a.wd14.txt."""
    listing = _listing(picture.parent)
    for stem in dict.fromkeys((composed(picture.stem), composed(picture.name))):
        for name in listing.get(stem, ()):
            rest = MADE_BY.fullmatch(composed(name)[len(stem) :].lower())
            if name != picture.name and rest and not (rest[1] and _is_anothers(listing, stem, rest[1])):
                yield picture.parent / name, rest[2]


def _is_anothers(listing: Mapping[str, list[str]], stem: str, middle: str) -> bool:
    """Whether a file such as a.b.txt goes with a picture a.b or a.b.png rather than with a.png."""
    own = listing.get(f"{stem}{middle}", ())
    return middle in IMAGE_SUFFIXES or any(Path(name).suffix.lower() in IMAGE_SUFFIXES for name in own)


def captions_beside(picture: Path) -> list[tuple[str, str]]:
    """The captions, each with its file, in NAME.txt, NAME.caption, NAME.cap and NAME.json.

    Also as NAME.png.txt and NAME.wd14.txt, and in capitals.

    Of a text every line that is not blank (OneTrainer picks one, kohya takes the first), and all of it as one line, as
    most trainers read it. Raises MemdetectError for a text that cannot be read.
    """
    found: list[tuple[str, str]] = []
    for path, rest in sorted(_beside(picture), key=lambda pair: (_rank(pair[1]), pair[0].name)):
        if rest in TEXTS:
            found += [(caption, str(path)) for caption in lines_of(read_text(path))]
        elif rest == JSON:
            found += [(caption, str(path)) for caption in json_captions(_parsed(path)) or []]
    return found


def lines_of(text: str) -> list[str]:
    """Every line of a text, and all of them as one, blanks collapsed."""
    return [" ".join(part.split()) for part in (*text.split("\n"), text)]


def _rank(rest: str) -> int:
    return (*TEXTS, JSON).index(rest) if rest in (*TEXTS, JSON) else len(TEXTS) + 1


def json_captions(value: Any) -> list[str] | None:
    """The captions that a JSON value holds, as kohya trains on them: None where it is of another form.

    A text, a list of texts, or an object with prompt, caption or text (a text or a list of texts) and tags: with tags,
    each caption, each followed by the tags, and the tags alone. In an object each line of a text is one, as in a file.
    """
    if isinstance(value, str):
        return [value]
    if isinstance(value, list):
        return list(value) if value and all(isinstance(text, str) for text in value) else None
    if not isinstance(value, dict):
        return None
    fields: dict[str, Any] = {str(key).lower(): held for key, held in value.items()}
    parts = [json_captions(fields[name]) for name in FIELDS if fields.get(name) is not None]
    tags = fields.get(TAGS)
    named = [", ".join(tags)] if isinstance(tags, list) and json_captions(tags) else [tags] if tags else []
    if None in parts or not all(isinstance(tag, str) for tag in named) or not (parts or named):
        return None
    held = [text for part in parts for text in part or []]
    plain = [line for text in held for line in (lines_of(text) if "\n" in text else [text]) if line]
    return [*(f"{text}, {tag}" for text in plain for tag in named), *plain, *map(str, named)]


def meta_captions(path: Path, pictures: list[Path]) -> dict[Path, list[str]]:
    """Captions of pictures in a file such as kohya's meta_cap.json; {} where it is of another form, or names none.

    Its keys are paths, absolute or seen from its folder, or bare names, each with or without the suffix.
    """
    held = _parsed(path)
    if not isinstance(held, dict):
        return {}
    values = {os.path.normpath(str(key).replace("\\", "/")): json_captions(value) for key, value in held.items()}
    found: dict[Path, list[str]] = {}
    for picture in pictures:
        if not picture.is_relative_to(path.parent):
            continue
        whole = (Path(os.path.normpath(way)) for way in (picture.absolute(), picture))
        ways = (*whole, picture.relative_to(path.parent), Path(picture.name))
        keys = [str(key) for way in ways for key in (way, way.with_suffix(""))]
        if captions := next((values[key] for key in keys if values.get(key)), None):
            found[picture] = captions
    return found


def unread_captions(picture: Path, homes: list[Path], read: set[Path]) -> Path | None:
    """A file that may hold captions of a picture, though none were found in it: named after it, or of its folders."""
    known = (*IMAGE_SUFFIXES, *TEXTS, *CACHES)
    own = (path for path, rest in _beside(picture) if rest not in known)
    whole = (home / name for home in homes for name in whole_in(home) if home / name not in read)
    return next(own, None) or next(whole, None)


@lru_cache(256)
def whole_in(folder: Path) -> list[str]:
    """The names of the files of a folder that may hold captions of all its pictures, sorted."""
    return sorted({name for names in _listing(folder).values() for name in names if WHOLE.fullmatch(name)})


def forget() -> None:
    """Forget what was listed: folders change between two readings."""
    _listing.cache_clear()
    whole_in.cache_clear()


def read_text(path: Path) -> str:
    """A file as text; MemdetectError (usage) where that cannot be done."""
    try:
        return decoded(files.read_regular(path)).replace("\r\n", "\n").replace("\r", "\n")
    except (OSError, UnicodeDecodeError) as problem:
        raise MemdetectError(f"{path} cannot be read as UTF-8 text ({problem}); correct the file") from None


def _parsed(path: Path) -> Any:
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError):
        return None
