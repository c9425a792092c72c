"""When two prompts say the same: normalised text, and the family that a prompt belongs to."""

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Protocol, TypeVar, runtime_checkable

FAMILY_COLUMN = "family"
KIND_COLUMNS = ("kind", "group")
_DIGIT = re.compile(r"\d")
_WORD = re.compile(r"[^\W\d_]{3,}")
_ARTICLES = frozenset({"the", "and", "with", "for"})
_ZEROS = bytes.maketrans(b"123456789", b"0" * 9)


@runtime_checkable
class Worded(Protocol):
    """A request or a record: something with a prompt and columns beside it."""

    @property
    def prompt(self) -> str | None:
        """The prompt, as it was given."""
        ...

    @property
    def meta(self) -> Mapping[str, Any]:
        """Its other columns."""
        ...


# Of the category of what is not seen, and seen nevertheless: Arabic and other signs that stand over digits.
_SHOWN = frozenset("\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd")
_JOINERS = frozenset("\u200c\u200d")  # which words and emoji need
BLANK = {
    *"\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2065\u2800\u3164\uffa0",
    *map(chr, range(0xFFF0, 0xFFF9)),
}
_Row = TypeVar("_Row", bound=Worded)


def normalised(text: str) -> str:
    """A prompt without what does not make it another one: NFKC, case folded, digits as 0, spaces collapsed.

    A text of digits alone, a class label, keeps them: it has nothing else.
    """
    simple = text.isascii()
    plain = " ".join((text.lower() if simple else unicodedata.normalize("NFKC", text).casefold()).split())
    if is_label(plain):
        return plain
    return plain.encode().translate(_ZEROS).decode() if simple else _DIGIT.sub("0", plain)


def unseen(text: str) -> str:
    """The first character of a text that shows nothing, as U+200B ZERO WIDTH SPACE; "" where there is none.

    Control and format characters, line and paragraph separators, and letters and marks that are blank by definition
    (Default_Ignorable_Code_Point of Unicode, but for variation selectors); not tab, line feed, carriage return and the
    joiners.
    """
    for c in "" if text.isascii() and text.isprintable() else text:
        hidden = unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp") or c in BLANK
        if hidden and c not in "\t\n\r" and c not in _SHOWN | _JOINERS:
            return f"U+{ord(c):04X} {unicodedata.name(c, 'a control character')}"
    return ""


def is_label(text: str) -> bool:
    """Whether a text is the number of a class."""
    return text.isascii() and text.isdigit()


def worded(text: str) -> bool:
    """Whether a prompt has words: it is not the empty one, nor the number of a class."""
    return bool(text.strip()) and not is_label(text)


@lru_cache(maxsize=65536)
def text_key(prompt: str) -> str:
    """16 hex digits that two prompts share when they say the same."""
    return hashlib.sha256(normalised(prompt).encode()).hexdigest()[:16]


def family_key(meta: Mapping[str, Any], prompt: str | None) -> str:
    """16 hex digits of a prompt's family: its column `family` where there is one, else its normalised text."""
    named = meta.get(FAMILY_COLUMN)
    if named is None or named == "":
        return text_key(prompt or "")
    return hashlib.sha256(f"{FAMILY_COLUMN}\0{named}".encode()).hexdigest()[:16]


def opening_key(prompt: str) -> str:
    """The first two words of a prompt, of three letters or more; its whole normalised text where it has fewer.

    Prompts that begin alike are near-duplicates more often than not in lists that were taken from the web: products of
    one maker, titles of one series. Where they are not, an interval that counts them as one is only wider.
    """
    words = [word for word in _WORD.findall(normalised(prompt)) if word not in _ARTICLES]
    return " ".join(words[:2]) if len(words) > 1 else normalised(prompt)


def kind_of(meta: Mapping[str, Any]) -> str:
    """What kind of prompt a row is, by its column `kind`, else `group`; "" where neither says."""
    if not meta:
        return ""
    said = (str(meta[name]).strip() for name in KIND_COLUMNS if meta.get(name) is not None)
    return next((kind for kind in said if kind), "")


def one_a_family(rows: Iterable[_Row]) -> list[_Row]:
    """One row of each family, in the order of the rows: that of the smallest sha256 of its prompt.

    Members of a family score alike; all of them together would claim more clean prompts than there are.
    """
    listed = list(rows)
    keys = [family_key(row.meta, row.prompt) for row in listed]
    hashes = [hashlib.sha256((row.prompt or "").encode()).hexdigest() for row in listed]
    best: dict[str, int] = {}
    for i, key in enumerate(keys):
        if key not in best or hashes[i] < hashes[best[key]]:
            best[key] = i
    return [listed[i] for i in sorted(best.values())]
