"""Is this image in the training set? The nearest training images by embedding, each then compared by its pixels."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from memdetect.copies.candidates import Opener, compared
from memdetect.copies.compared import plain
from memdetect.copies.embedders import Source, choose_embedder
from memdetect.copies.index import (
    DEPTH,
    FAINT,
    Embeds,
    Index,
    Queries,
    as_queries,
    by_owner,
    centre_square,
    codes_of,
    open_index,
    read_manifest,
    sound,
    views_for,
)
from memdetect.copies.match import Finding, Looked, Match, picture_of
from memdetect.copies.pixels import CopyRule
from memdetect.errors import MemdetectError
from memdetect.inputs.images import IN_PART, MAX_PIXELS, Opened, open_ways, said_ways, ways_of

Pixels = Literal["all", "spare"]
Views = Sequence[Image.Image]

NO_THRESHOLD = "the index has no threshold: no image is known not to be a copy; give it held-out ones"
NOT_FINITE = "its embedding is not finite, so that it cannot be looked up; look at the image"
TOO_FAINT = f"it cannot be looked up: {FAINT}; look at the image, or build the index with another embedder"
BATCH = 32
WAITING = 2**26  # pixels of a batch: of large images fewer are held


@dataclass(frozen=True, slots=True)
class Seen:
    """What was found of some images. finite: which of them have a vector to look up; the others have no match.

    faint: whether the others are so because they have too little texture for the codes of the embedder.
    """

    matches: list[Match]
    finite: list[bool]
    faint: bool = False


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a scan looks its images up with: a verified index, the embedder that made it, and how many to keep."""

    index: Index
    embedder: Embeds
    top_k: int = 3

    def of(self, images: Sequence[Image.Image]) -> list[Match]:
        """`evidence` of the images of one item; pixels of what is near and not similar are compared for the nearest."""
        return self.look_up(images).matches

    def look_up(self, images: Sequence[Image.Image], others: Mapping[int, Views] | None = None) -> Seen:
        """As `of`, and which of the images could be looked up: their vectors are finite and not zero.

        others: of given images, by number, what further ways of decoding make of them.
        """
        named = [[image, *(others or {}).get(k, ())] for k, image in enumerate(images)]
        return look_up(named, self.index, self.embedder, self.top_k, pixels="spare")


def open_evidence(folder: Path, source: Source | None = None, top_k: int = 3) -> Evidence:
    """Open an index with the embedder that made it.

    source: where its weights may lie. An embedder that ships with a model is taken from beside the index if it is
    there, else from `source.folder`. Raises MemdetectError when the index or the embedder is not to be had.
    """
    source, beside = source or Source(), folder.absolute().parent
    if source.folder is None or (beside / "embedder").is_dir():
        source = replace(source, folder=beside)
    embedder, _ = choose_embedder(index=read_manifest(folder).embedder.name, source=source)
    return Evidence(open_index(folder, embedder), embedder, top_k)


def evidence(
    images: Sequence[Image.Image],
    index: Index,
    embedder: Embeds,
    top_k: int = 5,
    rule: CopyRule | None = None,
    pixels: Pixels = "all",
) -> list[Match]:
    """The `top_k` nearest training images of each image, in the order of the images (`seed`), nearest first.

    The nearest copy among the DEPTH nearest is kept too, whatever `top_k`: how many are shown decides nothing.
    `copy_found` needs pixels within the rule, in place or aligned, and a similarity above the index's threshold or a
    share that agrees beyond its limit. The training images are read for these; where one is gone, or is no longer the
    file that was indexed, `note` says so and nothing is measured. pixels: of which to measure: "all" that are kept; or
    "spare", those that decide something, and the nearest, which is shown. p-values are those of one image looked up:
    for the best of n images multiply by n. An image is looked up by its `views`: whole, as the square about its centre,
    and mirrored; one that has no finite vector, or no code, has no match. Raises MemdetectError (usage) for an embedder
    other than the index's.
    """
    return look_up([[image] for image in images], index, embedder, top_k, rule, pixels).matches


def look_up(
    images: Sequence[Views],
    index: Index,
    embedder: Embeds,
    top_k: int = 5,
    rule: CopyRule | None = None,
    pixels: Pixels = "all",
) -> Seen:
    """`evidence`, and which images could be looked up. An image whose vector is not finite, or zero, has no match.

    So has one of more than one colour none of whose parts has a code, where the embedder makes codes.

    images: each as it is, and then as further ways of decoding make it, of which the best match counts.
    """
    index.check_embedder(embedder)
    if not images:
        return Seen([], [])
    if top_k < 1:
        raise MemdetectError(f"top-k is {top_k}, expected at least 1")
    seen, vectors, finite = _views(images, embedder)
    opener = Opener(index)
    found: list[Match] = []
    for k, near in enumerate(index.pictures_near(vectors, max(top_k, DEPTH))):
        named = [match.model_copy(update={"seed": k}) for match in near]
        found += compared(seen[k], named, opener, rule, 1 if pixels == "spare" else top_k) if named else []
    return Seen(_kept(found, top_k), finite, codes_of(embedder) is not None)


def _views(images: Sequence[Views], embedder: Embeds) -> tuple[Sequence[Views], Sequence[Queries], list[bool]]:
    """The `views` of each image in each decoding; what the index is asked for them, where sound; which have any.

    As the reference similarities of an index were made: one that training cut to a square, or mirrored, is found so.
    """
    every = [(k, view) for k, ways in enumerate(images) for way in ways for view in views_for(way, embedder)]
    queries = as_queries([view for _, view in every], embedder)
    fit = np.array(sound(queries), bool)
    places = by_owner([k for k, _ in every], len(images))
    if codes_of(embedder) is None:
        finite = [bool(fit[own[0]]) for own in places]
    else:
        for own in places:
            fit[own] |= not fit[own].any() and all(plain(every[p][1]) for p in own)  # one colour is near nothing
        finite = [bool(fit[own].any()) for own in places]
    kept = [
        queries[[p for p in own if fit[p]]] if fine else queries[:0] for own, fine in zip(places, finite, strict=True)
    ]
    squares = [[square for way in ways if (square := centre_square(way))] for ways in images]
    return [[*ways, *more] for ways, more in zip(images, squares, strict=True)], kept, finite


def _kept(matches: Sequence[Match], top_k: int) -> list[Match]:
    """The `top_k` nearest of each image, what was not compared, and of every picture that it repeats the nearest row.

    Whole and in part: whoever answers for one picture, or decides on it, does so for no other.
    """
    nearest: dict[tuple[int, bool, str], int] = {}
    for match in matches:
        if match.copy_found or match.partial_found:
            nearest.setdefault((match.seed, match.copy_found, picture_of(match.key)), match.rank)
    found = {(seed, rank) for (seed, *_), rank in nearest.items()}
    return [m for m in matches if m.rank <= top_k or (m.seed, m.rank) in found or m.unseen]


def found_in(matches: Sequence[Match]) -> Literal["copy", "partial-copy", ""]:
    """What of training images comes back, by the pixels."""
    if any(match.copy_found for match in matches):
        return "copy"
    return "partial-copy" if any(match.partial_found for match in matches) else ""


def decide(matches: Sequence[Match], index: Index) -> tuple[Finding, str]:
    """Outcome of an image by its matches alone, and the reason where it is not plain.

    copy: the pixels agree with a training image, and so does the embedder, or as much of the structure as chance does
    not explain. partial-copy: so much of the structure, and not the whole. similar: the embedder alone. clear: none of
    them, in this index. inconclusive: the index has no threshold, or nothing was found; or a training image near it is
    not there to be compared; or the embedder alone where too few reference similarities show the threshold's level.
    """
    limit = index.manifest.threshold
    if found := found_in(matches):
        return found, ""
    if limit.similarity is None:
        return "inconclusive", NO_THRESHOLD
    if not matches:
        return "inconclusive", "no training image was found near it; it may be one that the embedder cannot look up"
    near = [match for match in matches if match.similar]
    if unseen := next((match for match in (*near, *matches) if match.unseen), None):
        return "inconclusive", f"may {'be a copy' if unseen.similar else 'repeat a part of one'}: {unseen.note}"
    if not near:
        return "clear", next((match.note for match in matches if match.rank == 1), "")
    if not limit.shown:
        return "inconclusive", f"similar, but {limit.queries} reference images cannot show a level of {limit.level:g}"
    return "similar", "similar, but the pixels differ"


def look_up_files(
    images: Iterable[Path | Image.Image],
    index: Index,
    embedder: Embeds,
    top_k: int = 5,
    max_pixels: int = MAX_PIXELS,
) -> Iterator[Looked]:
    """Look up images, a batch in memory at a time; a file that cannot be opened is inconclusive, with the reason.

    Pictures that are no files are called by their place, `image 0` and so on. An image is looked up in each way of
    decoding it that gives other pixels (`images.open_ways`). max_pixels: of a file; what has more is not opened.
    """
    waiting: list[tuple[str, list[Opened] | str]] = []
    held = 0
    for k, image in enumerate(images):
        name = str(image) if isinstance(image, Path) else f"image {k}"
        try:
            ways = open_ways(image, max_pixels=max_pixels) if isinstance(image, Path) else ways_of(image)
            held += sum(opened.image.width * opened.image.height for opened in ways)
            waiting.append((name, ways))
        except MemdetectError as problem:
            waiting.append((name, str(problem).removeprefix(f"{name!r}: ")))
        if len(waiting) == BATCH or held >= WAITING:
            yield from _looked(waiting, index, embedder, top_k)
            waiting, held = [], 0
    yield from _looked(waiting, index, embedder, top_k)


def _looked(
    waiting: Sequence[tuple[str, list[Opened] | str]], index: Index, embedder: Embeds, top_k: int
) -> Iterator[Looked]:
    images = [[opened.image for opened in ways] for _, ways in waiting if not isinstance(ways, str)]
    found = look_up(images, index, embedder, top_k)
    k = 0
    for name, ways in waiting:
        if isinstance(ways, str):
            yield Looked(image=name, outcome="inconclusive", reason=ways)
            continue
        matches = [match for match in found.matches if match.seed == k]
        unfit = TOO_FAINT if found.faint else NOT_FINITE
        outcome, reason = decide(matches, index) if found.finite[k] else ("inconclusive", unfit)
        if ways[0].in_part and outcome not in ("copy", "partial-copy"):
            outcome, reason = "inconclusive", IN_PART
        reason = "; ".join(part for part in (reason, said_ways([opened.way for opened in ways])) if part)
        # Each file is an item of its own here, and its image the only one.
        own = [match.model_copy(update={"seed": 0}) for match in matches]
        yield Looked(image=name, outcome=outcome, reason=reason, matches=own)
        k += 1
