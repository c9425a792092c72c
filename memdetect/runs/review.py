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

from memdetect.copies.match import Match, nearest_similar, picture_of, uncopied
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
    image of the item as it was when it was decided, in their order. training: the keys of the training images that the
    person had before them (by `picture_of`), the strongest first; () = the strongest one alone. time: in UTC, such as
    2026-11-30T09:05:00Z.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True, strict=True, populate_by_name=True)

    schema_version: Annotated[Literal["memdetect.review/1"], Field(alias="schema")] = SCHEMA
    id: str
    fingerprint: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    pictures: Annotated[tuple[Digest, ...], Field(min_length=1)]
    training: tuple[str, ...] = ()
    decision: Ruling
    name: Annotated[str, AfterValidator(seen), Field(max_length=200)]
    note: Annotated[str, Field(max_length=4000)] = ""
    time: Moment

    def line(self) -> str:
        """The decision as a line of review.jsonl, without its end."""
        made = self.model_dump(mode="json", by_alias=True)
        return json.dumps({key: value for key, value in made.items() if key != "training" or value})

    def about(self, matches: Sequence[Match]) -> Sequence[str]:
        """The keys of the training images that it is about, of an item with these matches."""
        best = strongest_match(matches)
        return self.training or ((picture_of(best.key),) if best else ())


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


def person(name: str) -> str:
    """A name by which a person is known: without regard to capitals and blanks."""
    return " ".join(name.casefold().split())


def standing(decisions: Iterable[Reviewed]) -> list[Reviewed]:
    """The last decision of each person."""
    last: dict[str, Reviewed] = {}
    for one in decisions:
        who = person(one.name)
        if who not in last or one.time >= last[who].time:
            last[who] = one
    return list(last.values())


def strictest(decisions: Sequence[Reviewed]) -> Ruling | None:
    """What decisions on a finding come to: of each person the last, of several persons the strictest; None of none."""
    if not decisions:
        return None
    said = {one.decision for one in standing(decisions)}
    return next((ruling for ruling in RULINGS if ruling in said), None)


def repeated(matches: Sequence[Match]) -> set[str]:
    """The keys of the training images that an item repeats, whole or in part; crops and decodings are one with them."""
    return {picture_of(match.key) for match in matches if match.copy_found or match.partial_found}


def unlike(decisions: Sequence[Reviewed], matches: Sequence[Match]) -> set[str]:
    """The keys of the training images of which everybody who decided says that the item repeats none of them."""
    last = standing(decisions)
    if not last or not all(one.decision in LIFTED for one in last):
        return set()
    return set.intersection(*(set(one.about(matches)) for one in last))


def is_lifted(decisions: Sequence[Reviewed], matches: Sequence[Match]) -> bool:
    """Whether everybody who decided says that an item repeats nothing, of each training image that it seems to."""
    return strictest(decisions) in LIFTED and repeated(matches) <= unlike(decisions, matches)


def shown_matches(matches: Sequence[Match]) -> list[Match]:
    """What a person has to see who decides: each training image once, the strongest first.

    The strongest of all, those that are repeated, and the most similar one of each image, which counts as similar where
    what is repeated is said to be no copy.
    """
    best = strongest_match(matches)
    found = [match for match in matches if match is best or match.copy_found or match.partial_found]
    similar = {(match.seed, match.key) for match in nearest_similar(uncopied(matches))}
    found += [match for match in matches if (match.seed, match.key) in similar]
    kept: dict[str, Match] = {}
    for match in sorted(found, key=strength, reverse=True):
        kept.setdefault(picture_of(match.key), match)
    return list(kept.values())


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
