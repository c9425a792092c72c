"""What goes into an index: folders, globs and lists of image paths, read a line at a time."""

import csv
import json
import re
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from memdetect.errors import MemdetectError
from memdetect.files import did_you_mean
from memdetect.inputs.folders import BESIDE, images_in, is_image, matching, no_container, strays
from memdetect.inputs.parquet import columns_of, rows_in
from memdetect.inputs.tables import IMAGE_COLUMNS, LONGEST, PROMPT_COLUMNS

LISTS = (".txt", ".jsonl", ".csv", ".tsv", ".parquet")
KEY_COLUMNS = ("key", "id")
PATH_COLUMNS = ("image_path", *IMAGE_COLUMNS, "url")  # of rows of embeddings
Fields = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Listed:
    """An image to take in: its file, the caller's key and caption if there are any, and where it was named."""

    path: Path
    key: str | None = None
    caption: str | None = None
    place: str = ""


def listed(sources: Sequence[str | Path | Listed]) -> Iterator[Listed]:
    """The images that sources stand for: image files, folders at any depth, globs, lists of paths, and images named.

    A list is txt (a path a line), jsonl, csv, tsv or parquet; paths in it are relative to its folder. Columns: `image`,
    `path`, `file` or `file_name`; optional `key` or `id`; optional `caption`, `prompt` or `text`. Hidden files of a
    folder are left out. Raises MemdetectError (usage) for a source that is not there, holds no image, or has a bad row.
    """
    if not sources:
        raise MemdetectError(
            "no images given; name a folder, a glob, or a list of paths (txt, jsonl, csv, tsv, parquet)"
        )
    for given in sources:
        if isinstance(given, Listed):
            yield given
            continue
        source, count = str(given), 0
        for entry in _entries(source):
            count += 1
            yield entry
        if not count:
            raise _problem(source, None, "holds no image; check the path")


def _entries(source: str) -> Iterator[Listed]:
    path = Path(source)
    if not source.strip():
        raise _problem(source, None, "an empty name is no source; name a folder, a glob or a list of paths")
    if path.is_dir():
        yield from (Listed(file, place=source) for file in images_in(path))
    elif path.is_file():
        yield from _file(path)
    elif re.search(r"[*?[]", source):
        try:
            hits = matching(source)
        except ValueError as problem:
            raise _problem(source, None, f"is no glob ({problem}); correct it") from None
        yield from (Listed(hit, place=source) for hit in _images_of(source, hits))
    else:
        raise _problem(source, None, f"no such file or folder; {did_you_mean(Path(source))}check the path")


def _images_of(source: str, hits: Sequence[Path]) -> Iterator[Path]:
    """The images among what a glob hit. MemdetectError for containers, lists, and what does not go with images."""
    lists = strays(hits)
    for hit in map(no_container, hits):
        if hit in lists:
            raise _problem(
                source, None, f"hits {str(hit)!r}, which may be a list; name lists alone, or narrow the glob"
            )
        if is_image(hit):
            yield hit
        elif hit.suffix.lower() not in BESIDE:
            said = "which is no image and goes with none; narrow the glob, or move it away"
            raise _problem(source, None, f"hits {str(hit)!r}, {said}")


def _file(path: Path) -> Iterator[Listed]:
    """An image itself, or the entries of a list."""
    suffix = path.suffix.lower()
    if is_image(path):
        yield Listed(path, place=str(path))
        return
    if suffix not in LISTS:
        raise _problem(str(path), None, f"is neither an image nor a list of paths ({' '.join(LISTS)}); rename it")
    rows = enumerate(_parquet(path), 1) if suffix == ".parquet" else rows_of_list(path)
    yield from (_listed(path, number, row) for number, row in rows)


def rows_of_list(path: Path) -> Iterator[tuple[int, Fields]]:
    """The rows of a list, txt, jsonl, csv, tsv or parquet, with their lines. MemdetectError that names a bad one.

    Of parquet the columns that name an image, a key or a caption, whichever there are.
    """
    if path.suffix.lower() == ".parquet":
        with _blame(path):
            known = {*PATH_COLUMNS, *KEY_COLUMNS, *PROMPT_COLUMNS}
            yield from enumerate(rows_in(path, [name for name in columns_of(path) if name in known]), 1)
        return
    try:
        opened = path.open(encoding="utf-8-sig", newline="")
    except OSError as problem:
        raise _problem(str(path), None, f"cannot be read ({problem.strerror}); give access to it") from None
    with opened as file:
        yield from {".txt": _lines, ".jsonl": _objects}.get(path.suffix.lower(), _table)(path, file)


def _within(file: TextIO) -> Iterator[str]:
    """The lines of a file. Raises ValueError for one that is too long to be held."""
    while line := file.readline(LONGEST + 1):
        if len(line) > LONGEST:
            raise ValueError(f"a line has more than {LONGEST:,} characters")
        yield line


def _lines(path: Path, file: TextIO) -> Iterator[tuple[int, Fields]]:
    with _blame(path) as at:
        for at.line, text in enumerate(_within(file), 1):
            if text.strip():
                yield at.line, {"path": text.rstrip("\r\n")}


def _objects(path: Path, file: TextIO) -> Iterator[tuple[int, Fields]]:
    with _blame(path) as at:
        for at.line, text in enumerate(_within(file), 1):
            if not text.strip():
                continue
            row = json.loads(text)
            if not isinstance(row, dict):
                raise ValueError("an object is expected on each line")
            yield at.line, row


def _table(path: Path, file: TextIO) -> Iterator[tuple[int, Fields]]:
    with _blame(path) as at:
        reader = csv.DictReader(_within(file), delimiter="\t" if path.suffix.lower() == ".tsv" else ",", strict=True)
        reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
        if twice := [name for name, count in Counter(reader.fieldnames).items() if count > 1]:
            raise ValueError(f"the column {twice[0]!r} is there twice")
        for row in reader:
            at.line = reader.line_num
            if None in row or None in row.values():
                raise ValueError(f"the number of cells is not that of the header ({len(reader.fieldnames or ())})")
            yield at.line, row


def _parquet(path: Path) -> Iterator[Fields]:
    with _blame(path):
        columns, known = columns_of(path), {*IMAGE_COLUMNS, *KEY_COLUMNS, *PROMPT_COLUMNS}
        if not set(columns) & set(IMAGE_COLUMNS):
            raise ValueError(f"no path among the columns {columns!s:.200}; name one {' or '.join(IMAGE_COLUMNS)}")
        yield from rows_in(path, [name for name in columns if name in known])


@dataclass(slots=True)
class _At:
    line: int = 1


@contextmanager
def _blame(path: Path) -> Generator[_At]:
    """Give what goes wrong while a list is read its line."""
    at = _At()
    try:
        yield at
    except (ValueError, RecursionError, OSError, csv.Error) as problem:
        raise _problem(str(path), at.line, f"cannot be read ({problem}); correct it, in UTF-8") from None


def _listed(source: Path, line: int, row: Fields) -> Listed:
    """An entry of a row's fields. Raises MemdetectError for one without a path, or with text that cannot be kept."""
    try:
        path = next((row[name] for name in IMAGE_COLUMNS if row.get(name)), None)
        if path is None:
            raise ValueError(f"no path among the columns {list(row)!s:.200}; name one {' or '.join(IMAGE_COLUMNS)}")
        key = next((row[name] for name in KEY_COLUMNS if row.get(name) not in (None, "")), None)
        caption = next((row[name] for name in PROMPT_COLUMNS if str(row.get(name) or "").strip()), None)
        names = text_of(path, "path"), None if key is None else text_of(key, "key")
        place = f"{source}, line {line}"
        return Listed(
            source.parent / names[0], names[1], None if caption is None else text_of(caption, "caption"), place
        )
    except ValueError as problem:
        raise _problem(str(source), line, str(problem)) from None


def text_of(value: object, name: str) -> str:
    """Text that can be written as UTF-8; a number counts as its digits. Raises ValueError."""
    if type(value) not in (int, float, str) or not str(value).strip():
        raise ValueError(f"the {name} is {value!r:.60}, expected text; correct it")
    text = str(value)
    if "\0" in text or re.search("[\ud800-\udfff]", text):
        raise ValueError(f"the {name} is {value!r:.60}, expected text without NUL and lone surrogates; correct it")
    return text


def _problem(source: str, line: int | None, text: str) -> MemdetectError:
    return MemdetectError(f"{source!r}{f', line {line}' if line else ''}: {text}")
