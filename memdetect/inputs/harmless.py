"""Hostile text made fit for a terminal, a log of a CI runner, or a table: nothing of it acts, all that is seen stays.

What acts: control and direction characters; a line that begins with `::`, blanks apart, which GitHub's runner takes for
a command to itself; `##[` and `##vso[` anywhere in a line, which it and Azure's agent take for one. Runners may compare
texts without regard to letters and marks that show nothing, so that these count as blanks here.
"""

import re
import unicodedata
from collections.abc import Iterable

_UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # control, format (direction, zero width), surrogates, separators
_GONE = "\N{REPLACEMENT CHARACTER}"
_HIDDEN = "\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef"
_BEGINS = re.compile(rf"([\s{_HIDDEN}]*):(?=[\s{_HIDDEN}]*:)")
_COMMAND = re.compile(
    rf"(?P<first>#[{_HIDDEN}]*)#(?=[{_HIDDEN}]*(?:v[{_HIDDEN}]*s[{_HIDDEN}]*o[{_HIDDEN}]*)?\[)", re.IGNORECASE
)


def _unseen(letter: str) -> bool:
    return unicodedata.category(letter) in _UNSEEN


def plain(text: str, width: int = 60) -> str:
    """A text fit for a line of a terminal or a log: no control or direction characters, at most `width` characters.

    It may begin with `::`; what makes a line of it says so to `line`.
    """
    shown = text[: width + 1]
    if not (shown.isascii() and shown.isprintable()):
        shown = "".join(_GONE if _unseen(c) else c for c in shown)
    clean = _COMMAND.sub(rf"\g<first>{_GONE}", shown)
    return clean if len(clean) <= width else f"{clean[: width - 1]}\N{HORIZONTAL ELLIPSIS}"


def line(text: str) -> str:
    """The whole of a line for a terminal or a log, such that it neither moves the cursor nor commands a runner."""
    return begun(plain(text, len(text)))


def begun(text: str) -> str:
    """A line that is `plain` already, colours aside, such that it does not begin with a command."""
    return _BEGINS.sub(rf"\1{_GONE}", text, count=1) if begins_command(text) else text


def begins_command(text: str) -> bool:
    """Whether a line that begins with this text is a command to GitHub's runner."""
    return _BEGINS.match(text) is not None


def lines(texts: Iterable[str]) -> str:
    """Lines for a person, each made harmless, with a line feed at the end of each."""
    return "".join(f"{line(text)}\n" for text in texts)


def escaped(text: str) -> str:
    r"""The whole text in one line, with what cannot be seen written out: \n, \x1b, \u202e."""
    if not (text.isascii() and text.isprintable()):
        text = "".join(c.encode("unicode_escape").decode() if _unseen(c) else c for c in text)
    return _COMMAND.sub(r"\g<first>\\x23", text)


def ascii_json(text: str) -> str:
    """JSON written in ASCII, such that no line of it is a command to anyone: the same values when parsed."""
    return _COMMAND.sub(r"\g<first>\\u0023", text).replace("\x7f", r"\u007f")
