"""What a page says of one item: words and numbers for the template, in the order in which a reader asks."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from memdetect.copies.alignment_words import aligned_words
from memdetect.copies.match import Box, Match, picture_of
from memdetect.inputs.harmless import ascii_json, plain
from memdetect.inputs.wording import kind_of
from memdetect.render.explain import again
from memdetect.render.page.beside import Beside, Pair, Picture, Seen
from memdetect.render.shown import decision_words, subject
from memdetect.runs.header import Header
from memdetect.runs.records import FINDINGS, Result
from memdetect.runs.review import shown_matches, strength, strongest_match

PROMPT = 12_000  # characters of a prompt that are shown; a longer one is cut, and said to be
TITLE = 180  # of it in a heading
ROW = 160  # of a prompt in a table
WHOLE = 0.98  # share of both sides from which a region is the whole picture, and is not outlined
Fact = tuple[str, str]

LABELS: Mapping[str, str] = {
    "copy": "copy",
    "partial-copy": "partial copy",
    "suspicious": "suspicious",
    "similar": "similar",
    "clear": "clear",
    "inconclusive": "inconclusive",
}


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture with its words. outline: left, top, width, height in percent of what agrees."""

    role: str
    caption: str
    alt: str
    picture: Picture | None
    outline: Box | None = None


@dataclass(frozen=True, slots=True)
class Item:
    """An item as a page shows it; number: its place, the worst first. training: what decisions are about, as JSON."""

    number: int
    id: str
    outcome: str
    label: str
    group: str
    title: str
    subject: str
    redacted: bool
    is_prompt: bool
    where: str
    reason: str
    suppressed: str
    decided: str
    decisions: tuple[str, ...]
    score: float | None
    p: float | None
    similarity: float | None
    line: int | None
    facts: tuple[Fact, ...]
    strips: tuple[tuple[Figure, ...], ...]
    others: tuple[Figure, ...]
    hashes: tuple[str, ...]
    training: str
    fingerprint: str
    can_decide: bool
    reproduce: str


@dataclass(frozen=True, slots=True)
class Line:
    """An item in a table."""

    outcome: str
    label: str
    subject: str
    id: str
    line: int | None
    score: str
    p: str
    reason: str


def item_of(number: int, header: Header, row: Result, beside: Beside) -> Item:
    """An item with its pictures, its facts, and the command that makes it again."""
    seen = beside.seen.get(row.index, Seen())
    named = row.prompt is not None or row.image is not None
    best = strongest_match(row.matches)
    return Item(
        number=number,
        id=plain(row.id, 120),
        outcome=row.outcome,
        label=LABELS[row.outcome],
        group=plain(kind_of(row.meta), 60),
        title=plain(subject(row), TITLE),
        subject=plain(subject(row), PROMPT),
        redacted=not named,
        is_prompt=row.prompt is not None,
        where=_where(row),
        reason=plain(row.reason, 600),
        suppressed=plain(row.suppressed, 400),
        decided=row.decided or "",
        decisions=tuple(decision_words(one) for one in row.decisions),
        score=row.score,
        p=row.p.get("combined"),
        similarity=best.similarity if best else None,
        line=row.line,
        facts=tuple(_facts(header, row, best)),
        strips=tuple(tuple(_strip(row, pair)) for pair in seen.pairs),
        others=tuple(_other(row, k, picture) for k, picture in seen.others),
        hashes=seen.digests,
        training=ascii_json(json.dumps([picture_of(match.key) for match in shown_matches(row.matches)])),
        fingerprint=row.fingerprint if named else "",
        can_decide=bool(seen.digests) and named and row.outcome in FINDINGS,
        reproduce=plain(again(header, row), 2 * PROMPT) if named else "",
    )


def line_of(row: Result) -> Line:
    """An item as a row of a table."""
    score, p = row.score, row.p.get("combined")
    return Line(
        outcome=row.outcome,
        label=LABELS[row.outcome],
        subject=plain(subject(row), ROW),
        id=plain(row.id, 40),
        line=row.line,
        score="" if score is None else f"{score:.4f}",
        p="" if p is None else f"{p:.4g}",
        reason=plain(row.reason, ROW),
    )


def _where(row: Result) -> str:
    """Where the input stands."""
    if not row.source:
        return f"line {row.line}" if row.line else ""
    return f"{plain(row.source, 120)}, line {row.line}" if row.line else plain(row.source, 120)


def _facts(header: Header, row: Result, best: Match | None) -> Iterator[Fact]:
    score, p = row.score, row.p.get("combined")
    if best is not None:
        yield "Training image", _named(best)
        if more := shown_matches(row.matches)[1:]:
            yield "Further training images", "; ".join(map(_named, more))
        yield "Similarity", f"{best.similarity:.3f} by the embedder" + _chance(best.p)
        yield from _pixels(best)
    if header.index:
        yield "Images", _images(header, row)
    if score is not None:
        yield "Score", f"{score:.4f} by {' and '.join(header.plan.deciding)}" + ("" if p is None else f", p = {p:.4g}")
    if row.prompt is not None:
        words = len(row.prompt.split())
        yield "Prompt", f"{words} word{'s' if words != 1 else ''}; {caption_words(row.prompt, best)}"


def _named(match: Match) -> str:
    return plain(match.key, 120) + (f", {plain(match.path, 200)}" if match.path else "")


def _chance(p: float | None) -> str:
    return "" if p is None else f"; an image that is no copy comes this near with p = {p:.2g}"


def _pixels(match: Match) -> Iterator[Fact]:
    if match.tile is not None and match.ssim is not None:
        yield (
            "Pixels",
            f"worst tile {match.tile:.3f} apart, MS-SSIM {match.ssim:.3f}"
            + (f", aligned: {said}" if (said := aligned_words(match.affine)) else ""),
        )
    if match.agreed is not None:
        yield "Area that agrees", f"{match.agreed:.0%} of the training image's area" + _chance(match.p_agreed)
    if match.note:
        yield "Note", plain(match.note, 200)


def _images(header: Header, row: Result) -> str:
    """How many of an item's images repeat a training image."""
    tried = 1 if row.image is not None else max(len(row.seeds), 1)
    whole = {match.seed for match in row.matches if match.copy_found}
    part = {match.seed for match in row.matches if match.partial_found} - whole
    more = f", {len(part)} repeat a part" if part else ""
    return f"{len(whole)} of {tried} are copies{more}"


def caption_words(prompt: str, match: Match | None) -> str:
    """Whether a prompt is the caption that a training image was shown with."""
    if match is None:
        return "no training image was found near"
    if not match.caption:
        return "the index holds no caption of the training image"
    if prompt == match.caption:
        return "it is the training image's caption, word for word"
    if prompt.casefold().split() == match.caption.casefold().split():
        return "it is the training image's caption but for capitals and blanks"
    return f"the training image's caption is another: {plain(match.caption, 300)!r}"


def _strip(row: Result, pair: Pair) -> Iterator[Figure]:
    """The pictures of a pair from left to right."""
    match, region = pair.match, _outline(pair.match)
    key, made = plain(match.key, 80), _made(row, match.seed)
    yield Figure("output", made, f"{made}, similarity {match.similarity:.2f} to training image {key}", pair.output)
    if pair.aligned is not None:
        how = aligned_words(match.affine)
        yield Figure("aligned", f"Aligned with it: {how}", f"The same as it lies on {key}", pair.aligned, region)
    said = f"{_relation(match)}: {key}, similarity {match.similarity:.3f}"
    yield Figure("training", said, f"Training image {key}", pair.training, region)
    if (other := pair.second_match) is not None:
        name = plain(other.key, 80)
        said = f"Second nearest: {name}, similarity {other.similarity:.3f}"
        yield Figure("second", said, f"Training image {name}, the second nearest", pair.second)


def _relation(match: Match) -> str:
    """What a training image is to an image, in a word or two."""
    if match.copy_found:
        return "Copied"
    if match.partial_found:
        return "Copied in part"
    if match.similar:
        return "Similar, and not compared" if match.unseen else "Similar, with other pixels"
    return "Nearest"


def _outline(match: Match) -> Box | None:
    """What agrees, in percent of the training image; None where that is all of it, or was not measured."""
    if match.region is None or not (match.copy_found or match.partial_found):
        return None
    left, top, right, bottom = (round(100 * share, 1) for share in match.region)
    if right - left >= 100 * WHOLE and bottom - top >= 100 * WHOLE:
        return None
    return left, top, round(right - left, 1), round(bottom - top, 1)


def _made(row: Result, k: int) -> str:
    if row.image is not None:
        return "Given image"
    seed = f", seed {row.seeds[k]}" if k < len(row.seeds) else ""
    return f"Image {k} (of {max(len(row.seeds), 1)}){seed}"


def _other(row: Result, k: int, picture: Picture) -> Figure:
    hits = (match for match in row.matches if match.similar or match.copy_found or match.partial_found)
    near = max((match for match in hits if match.seed == k), key=strength, default=None)
    made = _made(row, k)
    said = f". {_relation(near)}: {plain(near.key, 80)}, similarity {near.similarity:.3f}" if near else ""
    return Figure("other", f"{made}{said}", made, picture)


def groups_of(items: Sequence[Item]) -> list[str]:
    """The groups of prompts that there are, for a filter; none where all are of one."""
    found = sorted({item.group for item in items if item.group})
    return found if len(found) > 1 else []
