"""What a finding is called from one release of a model to the next: rule, prompt and training image, not the model."""

import hashlib
import json
import unicodedata
from collections import Counter

from memdetect.runs.records import Result


def short_hash(text: str) -> str:
    """The first 16 hex digits of a text's sha256."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def hashed_id(row: Result) -> str:
    """An item's id where that is already the hash of its prompt, else the hash of the id."""
    return row.id if row.prompt is not None and row.id == _prompt_hash(row.prompt) else short_hash(row.id)


def fingerprint(row: Result) -> str:
    """The sha256, in hex, of a finding's outcome, prompt and training image.

    A redacted record gives what it gave before if its id was the hash of its prompt; an id of its own stands for the
    prompt else. An image is known by its sha256. Of several training images it is the one that most seeds came near.
    """
    redacted = row.prompt is None and row.image is None
    if row.image is not None:
        what = row.sha256 or short_hash(row.image)
    else:
        what = _prompt_hash(row.prompt) if row.prompt else row.id
    key = nearest_key(row)
    shown = key if redacted or not key else short_hash(key)
    return hashlib.sha256(json.dumps([row.outcome, what, shown]).encode()).hexdigest()


def nearest_key(row: Result) -> str:
    """The training image that a finding is of: the one that most of the item's images came near to; "" for none."""
    if row.outcome == "copy":
        found = [match for match in row.matches if match.copy_found]
    elif row.outcome == "partial-copy":
        found = [match for match in row.matches if match.partial_found]
    else:
        found = [match for match in row.matches if match.similar] if row.outcome == "similar" else []
    seeds = Counter(key for key, _ in {(match.key, match.seed) for match in found})
    return min(seeds, key=lambda key: (-seeds[key], key), default="")


def _prompt_hash(prompt: str) -> str:
    return short_hash(unicodedata.normalize("NFC", prompt))
