"""Prompt files, images, folders, globs and stdin -> requests; whatever cannot be examined is an error with its line."""

import gzip
import hashlib
import io
import re
import sys
import unicodedata
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memdetect.errors import MemdetectError
from memdetect.files import open_regular, read_given
from memdetect.inputs.encoding import decoded
from memdetect.inputs.folders import files_of, is_image, names_image
from memdetect.inputs.tables import FORMATS, IMAGE_COLUMNS, PROMPT_COLUMNS, Row, blame, parquet_rows, problem, rows_of
from memdetect.inputs.wording import unseen

MAX_CHARS = 2**20
SHARED = 4096  # different further columns of a file that are kept to be shared
MAX_BYTES = 2**28  # of a source and of its text, for a small gzip file can hold terabytes, and a pipe may never end


@dataclass(frozen=True, slots=True)
class Request:
    """A prompt or an image to examine: exactly one of `prompt` and `image` is set.

    `id`: the row's own, else 16 hex digits of sha256 over the NFC-normalised prompt or the image file's bytes.
    `prompt`: exactly as given. `source`: file name, "-" for stdin. `line`: where the row starts, from 1; None for an
    image that is itself the source. `meta`: the row's other columns.
    """

    id: str
    prompt: str | None
    image: Path | None
    source: str
    line: int | None
    meta: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Requests:
    """What `read` found, in order, and how many blank lines and repetitions it left out.

    beside: rows that name an image beside their prompt, of which the prompt alone was taken. further: rows with another
    text in a further column that is called as prompts are, which was not taken. labels: whether they are classes.
    """

    items: tuple[Request, ...]
    blank: int
    repeated: int
    beside: int = 0
    further: int = 0
    labels: bool = False


def read(sources: Sequence[str | Path], *, column: str | None = None, format: str | None = None) -> Requests:
    """Read prompt files (txt, jsonl, json, csv, tsv, each also gzipped; parquet), images, folders, globs and "-".

    `column` names the prompt column of rows. `format`, one of FORMATS, holds for every prompt file; without it the
    extension tells, and for stdin how it begins (`{`: jsonl, `["`: json, else txt); a text that looks like JSON or a
    table is refused. Folders are searched for images as
    `folders.images_in` does. What has the id and the content of an earlier request is dropped and counted.
    Raises MemdetectError (usage) that names file and line: nothing found, not UTF-8, a broken row, a prompt that is
    missing, empty, too long, not encodable or the path of an image, an image that is not there, one id for two
    different things, an archive in a folder.
    """
    if not sources:
        raise MemdetectError("no prompts given; name a prompt file, a folder of images, a glob, or - for stdin")
    if format not in (None, *FORMATS):
        raise MemdetectError(f"no format {format!r}; --prompts-format takes one of {', '.join(FORMATS)}")
    kept: dict[str, Request] = {}
    blank = repeated = 0
    for source in [file for entry in sources for file in _expand(str(entry))]:
        found = list(_requests(source, column, format))
        requests = [request for request in found if request is not None]
        if not requests:
            raise problem(source, None, f"holds no prompts ({len(found)} blank lines); add some, or leave it out")
        blank += len(found) - len(requests)
        repeated += sum(not keep(kept, request) for request in requests)
    return gathered(kept, blank, repeated, column)


def gathered(kept: Mapping[str, Request], blank: int, repeated: int, column: str | None = None) -> Requests:
    """The requests that were kept, with what was left beside their prompts; column: as for `read`."""
    items = tuple(kept.values())
    beside = sum(item.prompt is not None and _image_column(item.meta) is not None for item in items)
    return Requests(items, blank, repeated, beside, 0 if column else sum(map(_further, items)))


def every_row(
    sources: Sequence[str | Path], *, column: str | None = None, format: str | None = None
) -> Iterator[Request]:
    """The request of every row, repeated ones too, read as `read` does; raises as that does, but for repeated ids."""
    for source in [file for entry in sources for file in _expand(str(entry))]:
        yield from (request for request in _requests(source, column, format) if request is not None)


def _expand(source: str) -> list[str]:
    """List the files that a source stands for; "-" stays."""
    with blame(source, None):
        return [source] if source == "-" else [str(file) for file in files_of(source)]


def _requests(source: str, column: str | None, format: str | None) -> Iterator[Request | None]:
    """Yield the requests of one file, None for a blank line."""
    if re.search("[\ud800-\udfff]", source):
        raise problem(source, None, "a file name that is not UTF-8 cannot be written to the records; rename the file")
    path = Path(source)
    if source != "-" and is_image(path):
        with blame(source, None):
            yield Request(item_id(None, path), None, path, source, None, {})
        return
    table = source != "-" and (format or path.suffix.lower().removeprefix(".")) == "parquet"
    if format == "parquet" and not table:
        raise problem(source, None, "parquet cannot be read from stdin; name the file")
    columns: dict[Any, dict[str, Any]] = {}
    for line, row in parquet_rows(path) if table else rows_of(_text(source), source, format, column):
        with blame(source, line):
            yield None if row is None else request_of(row, column, source, line, columns)


def _text(source: str) -> str:
    """Read and decode a file or stdin: unzipped if it is gzip, UTF-8 or UTF-16 with a byte order mark."""
    try:
        data = sys.stdin.buffer.read(MAX_BYTES + 1) if source == "-" else read_given(Path(source), MAX_BYTES)
        if data.startswith(b"\x1f\x8b"):  # the mark of gzip, with which no UTF-8 text can start
            data = gzip.GzipFile(fileobj=io.BytesIO(data)).read(MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise problem(source, None, f"cannot be read ({error}); check the file and its permissions") from error
    if len(data) > MAX_BYTES:
        raise problem(source, None, f"more than {MAX_BYTES:,} bytes; split it")
    try:
        return decoded(data)
    except UnicodeDecodeError as error:
        line = len(re.findall(rb"\r\n?|\n", data[: error.start])) + 1
        raise problem(source, line, f"not UTF-8 at byte offset {error.start}; save the file as UTF-8") from error


def request_of(
    row: Row, column: str | None, source: str, line: int, columns: dict[Any, dict[str, Any]] | None = None
) -> Request:
    """Make a request of a row: its prompt if it has one, else its image. Raises ValueError, OSError.

    columns: the further columns of former rows, of which equal ones are the same object.
    """
    rest = {"prompt": row} if isinstance(row, str) else dict(row)
    name = _prompt_column(rest, None if isinstance(row, str) else column)
    key = _image_column(rest)
    if name is None and key is None:
        raise ValueError(f"no prompt among the columns {list(rest)!s:.400}; name its column with --prompt-column")
    value, given = rest.pop(name) if name else None, rest.pop("id", None)
    own = None if _empty(given) else as_text(str(given) if type(given) in (int, float) else given, "id")
    prompt = image = None
    if _empty(value) and key is not None:
        image = (Path() if source == "-" else Path(source).parent) / as_text(rest.pop(key), key)
    else:
        prompt = as_text(value, "prompt")
        if code := unseen(prompt):
            raise ValueError(
                f"the prompt holds {code}, which nobody sees but the model; remove it, or break the line there"
            )
        if names_image(prompt.strip(), Path() if source == "-" else Path(source).parent):
            raise ValueError(
                f"{prompt!r:.200} is an image, no prompt; list images as csv or jsonl, in a column `image`"
            )
    return Request(own or item_id(prompt, image), prompt, image, source, line, _shared(rest, columns))


def _shared(rest: dict[str, Any], columns: dict[Any, dict[str, Any]] | None) -> dict[str, Any]:
    """Further columns, or equal ones of a former row: a million rows of one group need them once."""
    if columns is None or not all(type(value) is str for value in rest.values()):
        return rest
    key = tuple(rest.items())
    return columns.setdefault(key, rest) if len(columns) < SHARED else columns.get(key, rest)


def _prompt_column(row: Mapping[str, Any], column: str | None) -> str | None:
    """Name the column that holds the prompt: the given one, else a known one in whatever case, else None."""
    if column is not None and column not in row:
        raise ValueError(f"no column {column!r} among {list(row)!s:.400}; name one of them with --prompt-column")
    loose = [name for known in PROMPT_COLUMNS for name in row if name.lower() == known]
    return column or next((name for name in (*PROMPT_COLUMNS, *loose) if name in row), None)


def _further(item: Request) -> bool:
    """Whether a prompt's row has another text under a further name that prompts go by."""
    texts = (value for name, value in item.meta.items() if name.lower() in PROMPT_COLUMNS)
    return item.prompt is not None and any(not _empty(text) and text != item.prompt for text in texts)


def _image_column(row: Mapping[str, Any]) -> str | None:
    return next((key for key in IMAGE_COLUMNS if not _empty(row.get(key))), None)


def _empty(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def as_text(value: object, name: str) -> str:
    """Return a value that must be text: not empty, at most MAX_CHARS characters, no NUL, UTF-8. Raises ValueError."""
    if _empty(value):
        raise ValueError(f"the {name} is empty or null; fill it in or remove the row")
    if not isinstance(value, str):
        raise ValueError(f"the {name} is {value!r:.40}, not text; write it as a string or remove the row")
    if len(value) > MAX_CHARS:
        raise ValueError(f"the {name} has {len(value):,} characters, more than {MAX_CHARS:,}; shorten it")
    if "\0" in value:
        raise ValueError(f"the {name} holds a NUL character; remove it")
    if re.search("[\ud800-\udfff]", value):
        raise ValueError(f"the {name} holds a lone surrogate, which no file in UTF-8 can; correct it")
    return value


def item_id(prompt: str | None, image: Path | None) -> str:
    """Hash what is asked about: 16 hex digits of sha256 over the file's bytes or the normalised prompt."""
    if image is None:
        return hashlib.sha256(unicodedata.normalize("NFC", prompt or "").encode()).hexdigest()[:16]
    if not image.is_file():
        raise OSError(f"there is no image file {str(image)!r}; correct the path")
    with open_regular(image) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:16]


def keep(kept: dict[str, Request], new: Request) -> bool:
    """Add a request by its id; False if it is there already, an error if its id stands for something else."""
    old = kept.setdefault(new.id, new)
    if old is not new and item_id(old.prompt, old.image) != item_id(new.prompt, new.image):
        first = f"{old.source!r}" + (f", line {old.line}" if old.line else "")
        raise problem(new.source, new.line, f"the id {new.id!r:.80} is taken ({first}); give each item its own id")
    return old is new
