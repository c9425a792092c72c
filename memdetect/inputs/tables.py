"""The rows of prompt files: lines of text, JSON and tables, each with the line on which it starts."""

import csv
import json
import re
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice, zip_longest
from pathlib import Path
from sys import intern
from typing import Any, TypeAlias

from memdetect.errors import MemdetectError
from memdetect.files import GIVEN
from memdetect.inputs.parquet import rows_in

BROKEN_JSON = re.compile(r"\s*(\{\s*[\"']|\[\s*[\"'{]|[\[{]\s*$)")
FORMATS = ("txt", "jsonl", "json", "csv", "tsv", "parquet")
PROMPT_COLUMNS = ("prompt", "caption", "text", "Prompt", "Caption", "TEXT")
IMAGE_COLUMNS = ("image", "path", "file", "file_name")
DELIMITERS = ",\t;|"
SAMPLED = re.compile(r".*\s--([whd]\s+\d+|n\s+\S)")  # kohya's lists of sample prompts: a prompt, then its settings
SEPARATOR = re.compile(r'"?sep=([,;|\t])"?[ \t]*(?:\r\n?|\n)', re.IGNORECASE)
LINE = re.compile(r"[^\r\n]*(?:\r\n?|\n)|[^\r\n]+\Z")
LONGEST = 2**24  # characters of a cell
DEEPEST = 100  # a table within a table within a row; readers of JSON stop at some 200
NO_DELIMITER = "\ud800"  # a lone surrogate: no text decoded from UTF-8 holds it, so nothing is split at it
Row: TypeAlias = Mapping[str, Any] | str  # fields by name, or a bare prompt


def rows_of(text: str, source: str, format: str | None, column: str | None) -> Iterator[tuple[int, Row | None]]:
    """The rows of a prompt file, with their first lines; None for a blank one.

    format: one of FORMATS; None = by the extension, or of stdin by its beginning. Raises MemdetectError (usage) that
    names the line, and for a text that is JSON or a table by the look of it, unless `format` says that it is text.
    """
    found = format or format_of(source, text)
    if format is None and found == "txt" and (other := _other_format(text)):
        raise problem(
            source, None, f"looks like {other}, not like a prompt a line; say --prompts-format {other} or txt"
        )
    if format is None and found == "txt" and (line := next(filter(SAMPLED.match, lines_of(text)), "")):
        said = f"{line!r:.80} holds settings of sample prompts (--n, --w, --h, --d), which are no part of the prompt"
        raise problem(source, None, f"{said}; take them out, or say --prompts-format txt")
    yield from _csv_rows(text, source, column) if found in ("csv", "tsv") else _rows(text, source, found)


def _other_format(text: str) -> str:
    """json, jsonl, csv or tsv where a text can hardly be anything else, else ""."""
    if _is_json(text):
        return "json" if text.lstrip().startswith("[") else "jsonl"
    first = list(islice(filter(str.strip, lines_of(text)), 2))
    said = all(map(_is_json, filter(str.strip, lines_of(text)))) or any(map(BROKEN_JSON.match, lines_of(text)))
    if first and said:
        return "jsonl"
    return next((kind for line in first if (kind := _header(line))), "")


def lines_of(text: str) -> Iterator[str]:
    """The lines of a text with their ends, LF, CR LF or CR, one at a time.

    `str.splitlines` would also cut prompts at U+2028, U+0085 and form feeds, `io.StringIO` take four bytes a character.
    """
    return (found[0] for found in LINE.finditer(text))


def _header(line: str) -> str:
    """Csv or tsv where a line can hardly be anything but the names of columns, else "".

    Names are single words, in quotes or not; with blanks between them, as in a list of tags, a prompt's or file's own.
    """
    for sign in DELIMITERS:
        cells = [cell.strip().strip("\"'").lower() for cell in line.split(sign)]
        known = {*PROMPT_COLUMNS, *IMAGE_COLUMNS} if " " not in line else {"prompt", "caption", "file_name"}
        if len(cells) > 1 and all(re.fullmatch(r"[\w. -]{1,30}", cell) for cell in cells) and known & {*cells}:
            return "tsv" if sign == "\t" else "csv"
    return ""


def _is_json(text: str) -> bool:
    """Whether a text is a JSON object or list."""
    if not text.lstrip().startswith(("{", "[")):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


@contextmanager
def blame(source: str, line: int | None) -> Generator[None]:
    """Give what goes wrong in a row, or in a source as a whole (None), its place."""
    try:
        yield
    except (json.JSONDecodeError, RecursionError) as error:
        at, reason = getattr(error, "lineno", 1) + (line or 1) - 1, getattr(error, "msg", error)
        raise problem(source, at, f"broken JSON ({reason}); correct it, or say --prompts-format") from error
    except (ValueError, OSError) as error:
        raise problem(source, line, str(error)) from error


def format_of(source: str, text: str) -> str:
    """The format of a prompt file by its extension; of stdin and other pipes by how it begins. MemdetectError else."""
    if source == "-" or GIVEN.fullmatch(source):
        begins = text.lstrip()
        # A weight as in [a cat:1.2] is no JSON.
        return "jsonl" if begins.startswith("{") else "json" if re.match(r'\[\s*["{\[\]]', begins) else "txt"
    suffix = Path(source.lower().removesuffix(".gz")).suffix
    if suffix[1:] not in FORMATS:
        raise problem(source, None, f"unknown extension {suffix!r}; pass --prompts-format, one of {' '.join(FORMATS)}")
    return suffix[1:]


def _rows(text: str, source: str, format: str) -> Iterator[tuple[int, Row | None]]:
    """Yield the lines of a text, or the items of a JSON list, with their first lines; None for a blank line."""
    whole = re.sub("\r\n?", "\n", text) if format == "json" and "\r" in text else text
    items = _json_items(whole, source) if format == "json" else enumerate(lines_of(text), 1)
    for line, item in items:
        with blame(source, line):
            content = item.rstrip("\r\n") if format != "json" else item
            yield line, None if not content.strip() else content if format == "txt" else _json(content)


def parquet_rows(path: Path) -> Iterator[tuple[int, Row]]:
    """The rows of a parquet file, each with its number, from 1, such that it can be written as strict JSON.

    What is not a number, which is how tables write that there is none, is none.
    """
    with blame(str(path), None):
        for number, row in enumerate(rows_in(path), 1):
            told = {name: None if value != value else value for name, value in row.items()}
            with blame(str(path), number):
                yield number, _json(json.dumps(told))


def _json(text: str) -> Row:
    """Parse a row: an object or a string, and such that it can be written again as UTF-8 and strict JSON."""
    value = json.loads(text, object_pairs_hook=_unique)
    check_row(value)
    if not isinstance(value, dict | str):
        raise ValueError(f"an object or a string is expected, not {text!r:.40}; correct it, or say --prompts-format")
    return value


def check_row(value: Any) -> None:
    """Refuse a row that could not be written as UTF-8 and strict JSON, or not be read back. Raises ValueError."""
    names = list(value) if isinstance(value, Mapping) else []
    if others := [name for name in names if not isinstance(name, str)]:
        raise ValueError(f"a column is called {others[0]!r:.40}, which is no text; rename it")
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, TypeError) as error:
        said = "a lone surrogate, a number that is not finite, or what JSON has no form for"
        raise ValueError(f"{said} ({error}); correct it") from error
    level = [value]
    for _ in range(DEEPEST):
        level = [own for each in level for own in _within(each)]
    if level:
        raise ValueError(f"columns nested deeper than {DEEPEST}, which records cannot hold; flatten them")


def _within(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()


def _json_items(text: str, source: str) -> Iterator[tuple[int, str]]:
    """Cut a JSON list into the line and text of each item; it is parsed as a whole first, to know that it is sound."""
    with blame(source, 1):
        if not isinstance(json.loads(text), list):
            raise ValueError("a JSON list is expected; if there is one object a line, say --prompts-format jsonl")
    decoder, start = json.JSONDecoder(), re.compile(r"[^ \t\n,]")
    end, line, begin = text.index("[") + 1, 1, 0
    while (spot := start.search(text, end)) and spot[0] != "]":
        line, begin = line + text.count("\n", begin, spot.start()), spot.start()
        end = decoder.raw_decode(text, begin)[1]
        yield line, text[begin:end]


def _unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Make a dict; ValueError for a name that is there twice, of which a plain dict would keep the last in silence."""
    listed = [(intern(name), value) for name, value in pairs]  # of a million rows each name is there once
    if len(made := dict(listed)) < len(listed):
        raise ValueError(f"a name is there twice among {[name for name, _ in listed]!s:.400}; rename one")
    return made


def _csv_rows(text: str, source: str, column: str | None) -> Iterator[tuple[int, Row | None]]:
    """Yield the records of a table by the names in its first line (RFC 4180); columns without a name are left out.

    A first line `sep=;`, as spreadsheets write it, names the delimiter. Cells between tabs are as they stand, quotation
    marks and all, unless the table is `_quoted`.
    """
    csv.field_size_limit(LONGEST)
    named = SEPARATOR.match(text)
    skipped, body = (1, text[named.end() :]) if named else (0, text)
    line, header = 1 + skipped, list[str]()
    delimiter = named[1] if named else _delimiter(body, column)
    plain = delimiter == "\t" and not _quoted(body)
    try:
        reader = _reader(body, delimiter, plain)
        for cells in reader:
            if cells and len(cells) != len(header or cells):
                raise ValueError(f"{len(cells)} cells under a header of {len(header)}")
            if header or not cells:
                pairs = zip(header, cells, strict=True) if cells else ()
                yield line, _unique(pair for pair in pairs if pair[0]) or None
            header = header or [name.strip() for name in cells]
            line = reader.line_num + 1 + skipped
    except (csv.Error, ValueError) as error:
        raise problem(source, line, f'broken table ({error}); put cells with commas in quotes, " as ""') from error


def _reader(text: str, delimiter: str, plain: bool) -> Any:
    quoting = csv.QUOTE_NONE if plain else csv.QUOTE_MINIMAL
    return csv.reader(lines_of(text), delimiter=delimiter, quoting=quoting, strict=True)


def _quoted(text: str) -> bool:
    """Whether quotation marks about cells between tabs are the table's own, as `csv` and spreadsheets write them.

    They are where the whole table can be read so, with as many cells in each row, and every cell has them, or only such
    cells that need them: with a tab, a line break or a quotation mark inside.
    """
    try:
        widths = {len(cells) for cells in _reader(text, "\t", False) if cells}
    except csv.Error:
        return False
    if len(widths) > 1:
        return False
    plain, read = ((cell for cells in _reader(text, "\t", way) for cell in cells) for way in (True, False))
    every = needed = True
    for raw, own in zip_longest(plain, read):
        if raw is None or own is None:
            return True
        every, needed = every and (not raw or raw[0] == '"'), needed and (raw == own or '"' in own)
    return every or needed


def _delimiter(text: str, column: str | None) -> str:
    """Tell the delimiter by the header, for prompts are full of commas: one that sets a known column apart, if any."""
    known = {column} if column else {name.lower() for name in (*PROMPT_COLUMNS, *IMAGE_COLUMNS)}
    first = next((line for line in lines_of(text) if line.strip("\r\n")), "")
    heads = {sign: next(csv.reader([first], delimiter=sign), [""]) for sign in DELIMITERS}
    names = {sign: {(cell if column else cell.lower()).strip() for cell in head} for sign, head in heads.items()}
    best = max(heads, key=lambda sign: (bool(known & names[sign]), len(heads[sign])))
    return best if len(heads[best]) > 1 else NO_DELIMITER


def problem(source: str, line: int | None, text: str) -> MemdetectError:
    """Make the error about a place; the name is quoted, for it may hold line breaks."""
    return MemdetectError(f"{source!r}{f', line {line}' if line else ''}: {text}")
