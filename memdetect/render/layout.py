"""Columns and paragraphs of a terminal. Written out, for a gate that draws one table would wait for rich longer."""

import unicodedata
from collections.abc import Iterator, Sequence

GAP = "  "
CODES = {"bold": "1", "red": "31", "green": "32", "yellow": "33", "magenta": "35", "cyan": "36"}


def cells(text: str) -> int:
    """How many cells of a terminal a text takes: wide letters two, marks on letters none."""
    return len(text) if text.isascii() else sum(map(_cell, text))


def _cell(letter: str) -> int:
    if unicodedata.category(letter) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def cut(text: str, width: int) -> str:
    """A text of at most so many cells; where something is left out it ends in an ellipsis."""
    if cells(text) <= width:
        return text
    kept, taken = "", 1  # the ellipsis
    for letter in text:
        if (taken := taken + _cell(letter)) > width:
            break
        kept += letter
    return f"{kept}\N{HORIZONTAL ELLIPSIS}" if width > 0 else ""


def styled(text: str, style: str) -> str:
    """A text between the codes of a style such as `bold red`."""
    return f"\x1b[{';'.join(CODES[word] for word in style.split())}m{text}\x1b[0m" if style else text


def columns(rows: Sequence[Sequence[str]], right: Sequence[bool], width: int) -> list[list[str]]:
    """The cells of a table, padded to the widths of their columns; the last column has what is left of the line.

    Where even the other columns are too wide, those at the end are cut to nothing.
    """
    widths = [max(map(cells, column)) for column in zip(*rows, strict=True)]
    left, room = width, list[int]()
    for wanted in widths:
        room.append(max(0, min(wanted, left)))
        left -= room[-1] + len(GAP)
    return [[_padded(*cell) for cell in zip(row, right, room, strict=True)] for row in rows]


def _padded(text: str, right: bool, width: int) -> str:
    shown = cut(text, width)
    space = " " * (width - cells(shown))
    return space + shown if right else shown + space


def paragraph(text: str, width: int) -> Iterator[str]:
    """The lines of a text, broken between words; a word that is longer than a line is broken in itself."""
    line = ""
    for word in text.split(" "):
        joined = f"{line} {word}" if line else word
        if cells(joined) <= width:
            line = joined
            continue
        if line:
            yield line
        *whole, line = _pieces(word, width)
        yield from whole
    yield line


def _pieces(word: str, width: int) -> list[str]:
    pieces = [""]
    for letter in word:
        if cells(pieces[-1] + letter) > width:
            pieces.append("")
        pieces[-1] += letter
    return pieces
