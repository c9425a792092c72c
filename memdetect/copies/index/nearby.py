"""The training pictures near an image: so many distinct ones, however many rows and equal files each of them has.

A picture may have a row for each crop and decoding, and may lie in a training set many times. Were the nearest rows the
candidates, those of a sibling would keep the original out.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from memdetect.copies.index.embedder_protocol import Queries
from memdetect.copies.index.rows import Row, RowFile
from memdetect.copies.index.search import Searcher
from memdetect.copies.index.views import by_owner, merged

DEPTH = 10  # training pictures on which an image is laid, however many are kept: a copy may have siblings nearer by
EACH = 3  # rows of a picture that are candidates
MANY = 2  # rows a picture, on average, from which more rows are asked for at once
WIDER = 4  # times as many rows are asked for where they are of too few pictures
DEEPEST = DEPTH * WIDER**4  # rows that are asked for at most

Near = tuple[list[float], list[int]]  # similarities and rows, nearest first
Keeps = Callable[[float, Row], bool]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A row near an image, and its similarity to it."""

    similarity: float
    index: int
    row: Row

    @property
    def picture(self) -> str:
        """The same for all crops and decodings of a file, and for equal files."""
        return self.row.sha256


def first_depth(depth: int, rows: int, pictures: int) -> int:
    """How many rows to ask an index of so many rows and distinct pictures for, to find `depth` pictures."""
    return depth * WIDER if rows >= MANY * pictures else depth


def picked(found: Near, rows: RowFile, pictures: int, keeps: Keeps | None = None) -> tuple[list[Candidate], bool]:
    """The rows up to the `pictures`-th distinct picture, EACH of a picture at most; and whether there are so many.

    keeps: by similarity and row, whether a row may be a candidate; None = all may.
    """
    counts: dict[str, int] = {}
    chosen: list[Candidate] = []
    for similarity, index, row in zip(*found, rows.many(found[1]), strict=True):
        if keeps is not None and not keeps(similarity, row):
            continue
        counts[row.sha256] = counts.get(row.sha256, 0) + 1
        if counts[row.sha256] <= EACH:
            chosen.append(Candidate(similarity, index, row))
        if len(counts) == pictures:
            return chosen, True
    return chosen, False


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of an index that can be searched."""

    searcher: Searcher
    rows: RowFile

    def near(self, images: Sequence[Queries], depth: int) -> list[Near]:
        """The `depth` rows nearest to each image by any of its views."""
        near, rows = self.searcher.search(np.concatenate(images), depth)
        owners = by_owner([k for k, views in enumerate(images) for _ in views], len(images))
        return [merged(near[own], rows[own], depth) for own in owners]

    def pictures(
        self, images: Sequence[Queries], pictures: int, first: int, keeps: Sequence[Keeps] | None = None
    ) -> list[list[Candidate]]:
        """The rows of the nearest `pictures` of each image (`picked`); an image without views has none.

        first: how many rows are asked for first; more are, up to DEEPEST, where they are of too few pictures.
        """
        chosen: list[list[Candidate]] = [[] for _ in images]
        due, depth = [k for k, views in enumerate(images) if len(views)], first
        while due:
            left: list[int] = []
            for k, found in zip(due, self.near([images[k] for k in due], depth), strict=True):
                chosen[k], full = picked(found, self.rows, pictures, keeps[k] if keeps else None)
                # An approximate search may have no more to give.
                if not full and len(found[1]) >= min(depth, self.searcher.count) and depth < self._deepest:
                    left.append(k)
            due, depth = left, depth * WIDER
        return chosen

    @property
    def _deepest(self) -> int:
        return min(self.searcher.count, DEEPEST)
