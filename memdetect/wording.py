"""When two prompts say the same: normalised text, and the family that a prompt belongs to."""

import hashlib
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

FAMILY_COLUMN = "family"
_DIGIT = re.compile(r"\d")


def normalised(text: str) -> str:
    """A prompt without what does not make it another one: NFKC, case folded, digits as 0, spaces collapsed."""
    plain = text.lower() if text.isascii() else unicodedata.normalize("NFKC", text).casefold()
    return _DIGIT.sub("0", " ".join(plain.split()))


def text_key(prompt: str) -> str:
    """16 hex digits that two prompts share when they say the same."""
    return hashlib.sha256(normalised(prompt).encode()).hexdigest()[:16]


def family_key(meta: Mapping[str, Any], prompt: str | None) -> str:
    """16 hex digits of a prompt's family: its column `family` where there is one, else its normalised text."""
    named = meta.get(FAMILY_COLUMN)
    if named is None or named == "":
        return text_key(prompt or "")
    return hashlib.sha256(f"{FAMILY_COLUMN}\0{named}".encode()).hexdigest()[:16]
