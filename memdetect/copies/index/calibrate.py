"""How similar is the nearest training image of an image that is no copy? An index's threshold, and what it rests on.

The null distribution is of nearest neighbours in this very index: a threshold on pairs would be passed by chance ever
more often as the index grows. Held-out images are looked up if there are any, else rows of the index, each without
itself and without its copies: rows of the same file, those whose pixels agree (memdetect.copies.pixels), and
near-duplicates as the embedder sees them. Held-out images that have a copy among the rows, by any of these, are left
out; of trusted ones only those of the same file.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path

import numpy as np
from jaxtyping import Int64
from PIL import Image

from memdetect.copies.codes import as_asked
from memdetect.copies.index.conformal import quantile
from memdetect.copies.index.embed_files import Taken
from memdetect.copies.index.embedder_protocol import Embeds, Queries, as_queries, sound, views_for
from memdetect.copies.index.manifest import Threshold
from memdetect.copies.index.near import bound, cuts
from memdetect.copies.index.nearby import DEPTH, WIDER, Candidate, Keeps, Near, Rows, first_depth, picked
from memdetect.copies.index.part import Parts
from memdetect.copies.index.pictures import row_image
from memdetect.copies.index.rows import RowFile
from memdetect.copies.index.search import Searcher
from memdetect.copies.index.views import by_owner, merged, views
from memdetect.copies.measures import agree
from memdetect.copies.pixels import CopyRule

OPENED = 16  # pictures open, and looked up, together
DEPTHS = (16, 256)  # neighbours among which one that is no copy is sought

Adds = Callable[[Image.Image, Sequence[Candidate]], None]
Reference = tuple[list[float], int]  # similarities ascending, and how many copies were left out


def threshold(reference: Reference, level: float, rows: int, held_out: bool) -> Threshold:
    """The threshold by reference similarities, with what it rests on."""
    values, copies = reference
    limit, shown = quantile(values, level)
    return Threshold(
        similarity=limit,
        level=level,
        attainable=1 / (len(values) + 1),
        shown=shown,
        queries=len(values),
        rows=rows,
        duplicates=copies,
        source="held-out" if held_out else "leave-one-out",
    )


class Copies:
    """Tells copies of an image among the rows of an index: equal files, or pixels that agree."""

    def __init__(self, rows: RowFile, folder: Path, rule: CopyRule) -> None:
        self.rows, self.folder, self.rule = rows, folder, rule

    def image(self, index: int) -> Image.Image | None:
        """What training saw of the picture of a row; None where its file cannot be opened any more."""
        return row_image(self.rows[index], self.folder)

    def same(self, image: Image.Image | None, sha256: str, index: int) -> bool:
        """Whether row `index` is a copy. Where either image cannot be opened, equal files alone count."""
        if self.rows[index].sha256 == sha256:
            return True
        other = None if image is None else self.image(index)
        seen = [] if image is None or other is None else views(image)
        return other is not None and any(agree(view, other, self.rule) for view in seen)


@dataclass(frozen=True, slots=True)
class Trial:
    """An index whose files are written, and what it takes to try it out.

    first: the first row of each picture: crops of a picture and equal files are one picture. ways: of such a row, the
    first rows of the other ways in which the picture was decoded. seed: of every random choice.
    """

    searcher: Searcher
    copies: Copies
    embedder: Embeds
    first: Int64[np.ndarray, " picture"]
    seed: int = 0
    ways: Mapping[int, Sequence[int]] = field(default_factory=dict[int, Sequence[int]])

    @property
    def depth(self) -> int:
        """How many rows are looked up of each image at first."""
        return first_depth(DEPTHS[0], self.searcher.count, len(self.first))

    def pictures(self, vectors: Queries, found: Near, keeps: Keeps | None = None) -> list[Candidate]:
        """The rows of the DEPTH nearest pictures of an image, as a look-up has them; among `found` if they are there.

        keeps: as for `nearby.picked`.
        """
        chosen, full = picked(found, self.copies.rows, DEPTH, keeps)
        if full or self.searcher.count <= self.depth:
            return chosen
        rows = Rows(self.searcher, self.copies.rows)
        return rows.pictures([vectors], DEPTH, self.depth * WIDER, [keeps] if keeps else None)[0]

    def chosen(self, count: int, draw: int = 0) -> Int64[np.ndarray, " row"]:
        """First rows of `count` pictures at most, drawn at random, in their order; a random decoding of each."""
        rng = np.random.default_rng(self.seed + draw)
        rows = rng.permutation(self.first)[:count].tolist()
        return np.sort(
            np.array([rng.choice([row, *self.ways.get(row, ())]) if self.ways else row for row in rows], np.int64)
        )


@dataclass(frozen=True, slots=True)
class Asked:
    """An image that is looked up: its file's digest, its views as vectors, and what was found, nearest first.

    cut: the similarity from which a row is a near-duplicate of it; inf = none is by that.
    """

    image: Image.Image | None
    sha256: str
    vectors: Queries
    found: Near
    cut: float = inf

    def first_stranger(self, copies: Copies) -> tuple[float | None, list[int]]:
        """Similarity of the nearest row that is no copy (None if all are), and the rows before it, which are."""
        passed: list[int] = []
        for similarity, index in zip(*self.found, strict=True):
            if similarity < self.cut and not copies.same(self.image, self.sha256, index):
                return similarity, passed
            passed.append(index)
        return None, passed

    def strangers(self, trial: Trial) -> list[Candidate]:
        """Rows of the nearest pictures of other files that are no near-duplicates, nearest first."""
        return trial.pictures(self.vectors, self.found, lambda near, row: near < self.cut and row.sha256 != self.sha256)

    def asked_before(self, copies: Copies, index: int, passed: Sequence[int]) -> bool:
        """Whether one of the copies is another picture's that comes before row `index`: that one may ask."""
        return any(other < index and copies.rows[other].sha256 != self.sha256 for other in passed)


def looked_up(trial: Trial, images: Sequence[Image.Image | None], vectors: Queries) -> list[tuple[Queries, Near]]:
    """The views of each image, and the rows nearest to any, `Trial.depth` of them: as `matching` looks images up.

    vectors: of the whole images, as the index is asked for them (`as_queries`). One that is there is looked up by its
    other views too (`views_for`).
    """
    seen = [(i, image) for i, image in enumerate(images) if image is not None]
    others = [(i, view) for i, image in seen for view in views_for(image, trial.embedder)[1:]]
    owners, every = list(range(len(images))), vectors
    if others:
        more = as_queries([view for _, view in others], trial.embedder)
        fit = np.flatnonzero(sound(more)).tolist()
        owners, every = owners + [others[k][0] for k in fit], np.concatenate([vectors, more[fit]])
    near, rows = trial.searcher.search(every, trial.depth)
    return [(every[own], merged(near[own], rows[own], trial.depth)) for own in by_owner(owners, len(images))]


def leave_one_out(trial: Trial, queries: int, parts: Parts | None = None) -> Reference:
    """Reference similarities of pictures drawn at random. One with a copy before it in the index is left to that copy.

    A picture all of whose neighbours down to DEPTHS[-1] are copies gives none and is left out. With the values: how
    many pictures were chosen and gave none. parts: is given each of these pictures and the rows near it.
    """
    chosen = trial.chosen(queries)
    values: list[float] = []
    for index, asked in _rows_asked(trial, chosen):
        similarity, passed = asked.first_stranger(trial.copies)
        if (
            similarity is None
            and trial.searcher.count > trial.depth
            and not asked.asked_before(trial.copies, index, passed)
        ):
            similarity, passed = _deeper(trial, asked, index).first_stranger(trial.copies)
        if similarity is not None and not asked.asked_before(trial.copies, index, passed):
            values.append(similarity)
            if parts:
                parts.add(asked.image, asked.strangers(trial) if parts.due else [])
    return sorted(values), len(chosen) - len(values)


def _rows_asked(trial: Trial, chosen: Int64[np.ndarray, " row"]) -> Iterator[tuple[int, Asked]]:
    """Rows as queries, each without itself, with the cut of those that have a neighbour beyond chance."""
    limit = bound(trial.searcher.vectors, trial.seed)
    for start in range(0, len(chosen), OPENED):
        part = chosen[start : start + OPENED]
        images = [trial.copies.image(int(index)) for index in part]
        vectors = _of_rows(trial, part, images)
        seen = looked_up(trial, images, vectors)
        found = [_without(near, int(index)) for index, (_, near) in zip(part, seen, strict=True)]
        due = [k for k, image in enumerate(images) if image is not None and max(found[k][0], default=-1) > limit]
        shown = [image for k in due if (image := images[k]) is not None]
        cut = dict(zip(due, cuts(shown, vectors[due], trial.embedder, limit), strict=True)) if due else {}
        for k, index in enumerate(part.tolist()):
            sha256 = trial.copies.rows[index].sha256
            yield index, Asked(images[k], sha256, seen[k][0], found[k], cut.get(k, inf))


def _of_rows(trial: Trial, rows: Int64[np.ndarray, " row"], images: Sequence[Image.Image | None]) -> Queries:
    """The whole pictures of rows as queries: their own vectors. Codes are made anew, where the picture is there."""
    stored = trial.searcher.vectors[rows]
    if not trial.searcher.binary:
        return stored.astype(np.float32)
    own, there = as_asked(stored), [k for k, image in enumerate(images) if image is not None]
    if not there:
        return own
    made = as_queries([image for image in images if image is not None], trial.embedder)
    every = np.stack([np.resize(codes, made.shape[1:]) for codes in own])  # repeated, or the first
    every[there] = made
    return every


def _of_batch(trial: Trial, batch: Sequence[Taken]) -> Queries:
    """Images that were taken in as queries: their vectors, or codes made anew."""
    if trial.searcher.binary:
        return as_queries([taken.image for taken in batch], trial.embedder)
    return np.stack([taken.vector for taken in batch])


def _deeper(trial: Trial, asked: Asked, index: int) -> Asked:
    near, rows = trial.searcher.search(asked.vectors, DEPTHS[1])
    found = _without(merged(near, rows, DEPTHS[1]), index)
    return Asked(asked.image, asked.sha256, asked.vectors, found, asked.cut)


def _without(found: Near, index: int) -> Near:
    kept = [(similarity, row) for similarity, row in zip(*found, strict=True) if row != index]
    return [similarity for similarity, _ in kept], [row for _, row in kept]


def trusted(trial: Trial, batches: Iterator[Sequence[Taken]], adds: Sequence[Adds]) -> Reference:
    """Reference similarities of images that are no copies, whatever their pixels say; equal files are left out.

    adds: are each given these images and the rows near them.
    """
    values: list[float] = []
    removed = 0
    for batch in batches:
        seen = looked_up(trial, [taken.image for taken in batch], _of_batch(trial, batch))
        for taken, (shown, (near, rows)) in zip(batch, seen, strict=True):
            if any(trial.copies.rows[row].sha256 == taken.row.sha256 for row in rows):
                removed += 1
                continue
            values += near[:1]
            around = trial.pictures(shown, (near, rows))
            for add in adds:
                add(taken.image, around)
    return sorted(values), removed


def held_out(trial: Trial, batches: Iterator[Sequence[Taken]], parts: Parts | None = None) -> Reference:
    """Reference similarities of images not in the index; a copy or near-duplicate of a row is left out and counted."""
    values: list[float] = []
    removed, limit = 0, bound(trial.searcher.vectors, trial.seed)
    for batch in batches:
        vectors = _of_batch(trial, batch)
        seen = looked_up(trial, [taken.image for taken in batch], vectors)
        due = [k for k, (_, near) in enumerate(seen) if max(near[0], default=-1) > limit]
        cut = dict(zip(due, cuts([batch[k].image for k in due], vectors[due], trial.embedder, limit), strict=True))
        for k, (taken, (shown, found)) in enumerate(zip(batch, seen, strict=True)):
            asked = Asked(taken.image, taken.row.sha256, shown, found, cut.get(k, inf))
            similarity, passed = asked.first_stranger(trial.copies)
            removed += bool(passed)
            if similarity is not None and not passed:
                values.append(similarity)
                if parts:
                    parts.add(taken.image, asked.strangers(trial) if parts.due else [])
    return sorted(values), removed
