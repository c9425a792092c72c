"""Is this image in the training set? The nearest training images by embedding, each then compared by its pixels."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from memdetect.copies import CopyRule
from memdetect.embedders import Source, choose_embedder
from memdetect.errors import MemdetectError
from memdetect.images import MAX_PIXELS, open_image
from memdetect.index import Embeds, Index, Pair, comparable, measure_all, open_index, read_manifest
from memdetect.records import Looked, Match, Measurement, Outcome

Pixels = Literal["all", "spare", "none"]

DEPTH = 10  # training images looked at for each image, however many are kept: a copy may have siblings nearer by
BATCH = 32
WAITING = 2**26  # pixels of a batch: of large images fewer are held


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a scan looks its images up with: a verified index, the embedder that made it, and how many to keep."""

    index: Index
    embedder: Embeds
    top_k: int = 3

    def of(self, images: Sequence[Image.Image]) -> list[Match]:
        """`evidence` of the images of one item; pixels of what is near and not similar are compared for the nearest."""
        return evidence(images, self.index, self.embedder, self.top_k, pixels="spare")

    def from_here(self, row: Measurement) -> Measurement:
        """An item with the paths of its training images seen from the present working folder, not a former one."""
        seen = str(self.index.folder)
        paths = [self.index.row(match.row).seen_from(seen) for match in row.matches]
        if paths == [match.path for match in row.matches]:
            return row
        moved = [m.model_copy(update={"path": path}) for m, path in zip(row.matches, paths, strict=True)]
        return row.model_copy(update={"matches": moved})


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
    `copy_found` needs both: a similarity above the index's threshold, and pixel measures within the rule. The training
    image is read for these; where it is gone, or is no longer the file that was indexed, `note` says so and nothing is
    measured. pixels: of which to measure: "all"; "spare", those that decide something, which are the similar ones, and
    the nearest, which is shown; or "none". p-values are those of one image looked up: for the best of n images
    multiply by n. Raises MemdetectError (usage) for an embedder other than the index's.
    """
    index.check_embedder(embedder)
    if not images:
        return []
    vectors = np.asarray(embedder.embed(list(images)), np.float32)
    depth = top_k if pixels == "none" or top_k < 1 else max(top_k, DEPTH)
    found = [
        match.model_copy(update={"seed": k})
        for k, near in enumerate(index.nearest(vectors, depth))
        for match in near
        if match.rank <= top_k or match.similar
    ]
    if pixels == "none":
        return found
    due = [pixels == "all" or match.similar or match.rank == 1 for match in found]
    measured = iter(_measured(images, list(compress(found, due)), index, rule))
    return _kept([next(measured) if now else match for match, now in zip(found, due, strict=True)], top_k)


def _kept(matches: Sequence[Match], top_k: int) -> list[Match]:
    """The `top_k` nearest of each image, its nearest copy, and what is similar but was not there to be compared."""
    nearest: dict[int, int] = {}
    for match in matches:
        if match.copy_found:
            nearest.setdefault(match.seed, match.rank)
    return [m for m in matches if m.rank <= top_k or m.rank == nearest.get(m.seed) or (m.similar and m.tile is None)]


def _measured(
    images: Sequence[Image.Image], matches: Sequence[Match], index: Index, rule: CopyRule | None
) -> list[Match]:
    """The matches with the pixel measures of those whose training image is there, and a note on the others."""
    opened = [_beside(images[match.seed], match, index) for match in matches]
    measures = iter(measure_all([pair for pair in opened if not isinstance(pair, str)], rule))
    done: list[Match] = []
    for match, pair in zip(matches, opened, strict=True):
        if isinstance(pair, str):
            done.append(match.model_copy(update={"note": pair}))
            continue
        tile, ssim, agree = next(measures)
        done.append(match.model_copy(update={"tile": tile, "ssim": ssim, "copy_found": agree and match.similar}))
    return done


def _beside(image: Image.Image, match: Match, index: Index) -> Pair | str:
    """The pixels of the image and of the training image, or why the latter cannot be had."""
    path = Path(match.path)
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        row = index.row(match.row)
        if digest != row.sha256:
            return "the training image has changed since it was indexed"
        return comparable(image, open_image(path, max_pixels=max(MAX_PIXELS, row.pixels)).image)
    except (MemdetectError, OSError):
        return "the training image cannot be opened"


def decide(matches: Sequence[Match], index: Index) -> tuple[Outcome, str]:
    """Outcome of an image by its matches alone, and the reason where it is not plain.

    copy: embedder and pixels agree on a training image. suspicious: the embedder alone. clear: neither, in this index.
    inconclusive: the index has no threshold, or nothing was found, or the embedder alone where the null is too small
    to show the threshold's level.
    """
    if any(match.copy_found for match in matches):
        return "copy", ""
    if not matches or index.manifest.threshold.similarity is None:
        return "inconclusive", "the index has no threshold: no image is known not to be a copy; give it held-out ones"
    near = [match for match in matches if match.similar]
    if not near:
        return "clear", ""
    unseen = all(match.tile is None for match in near)
    limit = index.manifest.threshold
    if not limit.shown:
        return "inconclusive", f"similar, but {limit.queries} null images cannot show a level of {limit.level:g}"
    return "suspicious", near[0].note or ("no pixels compared" if unseen else "similar, but the pixels differ")


def look_up(
    paths: Iterable[Path],
    index: Index,
    embedder: Embeds,
    top_k: int = 5,
    pixels: Pixels = "all",
    max_pixels: int = MAX_PIXELS,
) -> Iterator[Looked]:
    """Look up image files, a batch in memory at a time; one that cannot be opened is inconclusive, with the reason.

    max_pixels: of an image; what has more is not opened.
    """
    waiting: list[tuple[Path, Image.Image | str]] = []
    held = 0
    for path in paths:
        try:
            image = open_image(path, max_pixels=max_pixels).image
            held += image.width * image.height
            waiting.append((path, image))
        except MemdetectError as problem:
            waiting.append((path, str(problem).removeprefix(f"{str(path)!r}: ")))
        if len(waiting) == BATCH or held >= WAITING:
            yield from _looked(waiting, index, embedder, top_k, pixels)
            waiting, held = [], 0
    yield from _looked(waiting, index, embedder, top_k, pixels)


def _looked(
    waiting: Sequence[tuple[Path, Image.Image | str]], index: Index, embedder: Embeds, top_k: int, pixels: Pixels
) -> Iterator[Looked]:
    images = [image for _, image in waiting if not isinstance(image, str)]
    found = evidence(images, index, embedder, top_k, pixels=pixels)
    k = 0
    for path, image in waiting:
        if isinstance(image, str):
            yield Looked(image=str(path), outcome="inconclusive", reason=image)
            continue
        matches = [match for match in found if match.seed == k]
        outcome, reason = decide(matches, index)
        # Each file is an item of its own here, and its image the only one.
        own = [match.model_copy(update={"seed": 0}) for match in matches]
        yield Looked(image=str(path), outcome=outcome, reason=reason, matches=own)
        k += 1
