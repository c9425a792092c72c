"""What people decided of findings whose pictures they had before them: one line of JSON a decision, in review.jsonl."""

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from memdetect.copies.match import Match
from memdetect.errors import MemdetectError

SCHEMA = "memdetect.review/1"
Ruling = Literal["copy", "needs the owner", "similar", "not a copy"]
RULINGS: Sequence[Ruling] = ("copy", "needs the owner", "similar", "not a copy")  # the strictest first
LIFTED: Sequence[Ruling] = ("similar", "not a copy")
NO_LETTERS = frozenset("\u115f\u1160\u3164\uffa0\U00013441\U00013442")  # letters by their category that show nothing


def seen(text: str) -> str:
    """The text itself; ValueError for one without a letter or digit that can be seen."""
    if not any(unicodedata.category(c)[0] in "LN" and c not in NO_LETTERS for c in text):
        raise ValueError("holds no letter or digit that can be seen")
    return text


def _moment(text: str) -> str:
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", text):
        raise ValueError("is no time in UTC such as 2026-11-30T09:05:00Z")
    datetime.fromisoformat(text)
    return text


Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Moment = Annotated[str, AfterValidator(_moment)]


class Reviewed(BaseModel):
    """A person's decision on a finding.

    id: of the item, for people. fingerprint: of the finding, see `fingerprint`. pictures: the sha256, in hex, of each
    image of the item as it was when it was decided, in their order. time: in UTC, such as 2026-11-30T09:05:00Z.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True, strict=True, populate_by_name=True)

    schema_version: Annotated[Literal["memdetect.review/1"], Field(alias="schema")] = SCHEMA
    id: str
    fingerprint: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    pictures: Annotated[tuple[Digest, ...], Field(min_length=1)]
    decision: Ruling
    name: Annotated[str, AfterValidator(seen), Field(max_length=200)]
    note: Annotated[str, Field(max_length=4000)] = ""
    time: Moment

    def line(self) -> str:
        """The decision as a line of review.jsonl, without its end."""
        return json.dumps(self.model_dump(mode="json", by_alias=True))


def strength(match: Match) -> tuple[bool, float, float]:
    """What training images are sorted by: a copy before a part, of parts the larger one, else the more similar."""
    part = (match.agreed or 0.0) if match.partial_found else -1.0
    return match.copy_found, 0.0 if match.copy_found else part, match.similarity


def strongest_match(matches: Sequence[Match]) -> Match | None:
    """The training image that counts of those found; None of none."""
    return max(matches, key=strength, default=None)


def fingerprint(prompt: str | None, sha256: str, matches: Sequence[Match]) -> str:
    """16 hex digits of what a finding is about: the prompt, else the given image, and the training image that counts.

    Neither of the model nor of the outcome, so that the same finding of another release has the same.
    """
    text = prompt if prompt is not None else f"image {sha256}"
    about = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    found = strongest_match(matches)
    parts = json.dumps([about, found.key if found else "-"])
    return hashlib.sha256(parts.encode()).hexdigest()[:16]


def strictest(decisions: Sequence[Reviewed]) -> Ruling | None:
    """What decisions on a finding come to: of each person the last, of several persons the strictest; None of none."""
    last: dict[str, Reviewed] = {}
    if not decisions:
        return None
    for one in decisions:
        person = " ".join(one.name.casefold().split())
        if person not in last or one.time >= last[person].time:
            last[person] = one
    said = {one.decision for one in last.values()}
    return next((ruling for ruling in RULINGS if ruling in said), None)


def read_reviews(paths: Iterable[Path]) -> tuple[Reviewed, ...]:
    """The decisions in files, each once; MemdetectError (usage) names the file and line that does not parse."""
    found: dict[str, Reviewed] = {}
    for path in paths:
        try:
            lines = path.read_bytes().splitlines()
        except OSError as problem:
            raise MemdetectError(f"--review {path} cannot be read ({problem.strerror}); give a review.jsonl") from None
        for number, line in enumerate(lines, 1):
            if line.strip():
                one = _parsed(line, f"{path}, line {number}")
                found[one.line()] = one
    return tuple(found.values())


def _parsed(line: bytes, where: str) -> Reviewed:
    try:
        return Reviewed.model_validate_json(line)
    except ValidationError as problem:
        first = problem.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        said = first["msg"].removeprefix("Value error, ")
        raise MemdetectError(f"{where}: {key}{': ' if key else ''}{said}; decide again in the report") from None


def now() -> str:
    """The time in UTC, to the second, as decisions name it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
