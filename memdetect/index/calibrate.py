"""How similar is the nearest training image of an image that is no copy? The null of an index, and its threshold.

The null is of nearest neighbours in this very index: a threshold on pairs would be passed by chance ever more often as
the index grows. Held-out images are looked up if there are any, else rows of the index, each without itself and without
its copies: those whose pixels agree by the rule of memdetect.copies, or whose files are the same.
"""

from collections.abc import Iterator, Sequence
from math import floor
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from PIL import Image

from memdetect.copies import CopyRule
from memdetect.index.intake import Taken
from memdetect.index.manifest import Threshold
from memdetect.index.pixels import agree, try_open
from memdetect.index.rows import RowFile
from memdetect.index.search import Searcher

AT_ONCE = 256  # rows looked up together
DEPTHS = (16, 256)  # neighbours among which one that is no copy is sought

Null = tuple[list[float], int]  # similarities ascending, and how many copies were left out


def quantile(null: Sequence[float], level: float) -> tuple[float | None, bool]:
    """The similarity that must be exceeded for a p-value of at most `level`, and whether the null can show that level.

    p = (1 + #{null >= s}) / (1 + n) <= level needs #{null >= s} <= level * (n + 1) - 1 =: m, so that s exceeds the
    (m + 1)-th largest of the null. For m < 0 no similarity does: the largest is given, beyond which p = 1 / (n + 1).
    """
    allowed = floor(level * (len(null) + 1) + 1e-9) - 1
    if not null:
        return None, False
    return null[len(null) - 1 - max(allowed, 0)], allowed >= 0


def threshold(null: Null, level: float, rows: int, held_out: bool) -> Threshold:
    """The threshold of a null, with what it rests on."""
    values, copies = null
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

    def same(self, image: Image.Image | None, sha256: str, index: int) -> bool:
        """Whether row `index` is a copy. Where either image cannot be opened, equal files alone count."""
        row = self.rows[index]
        if row.sha256 == sha256:
            return True
        other = None if image is None else try_open(row.file(self.folder), row.pixels)
        return image is not None and other is not None and agree(image, other, self.rule)

    def first_stranger(
        self, image: Image.Image | None, sha256: str, found: tuple[Sequence[float], Sequence[int]]
    ) -> tuple[float | None, list[int]]:
        """Similarity of the nearest row that is no copy (None if all are), and the rows before it, which are."""
        passed: list[int] = []
        for similarity, index in zip(*found, strict=True):
            if index < 0:
                break
            if not self.same(image, sha256, int(index)):
                return float(similarity), passed
            passed.append(int(index))
        return None, passed


def leave_one_out(searcher: Searcher, copies: Copies, queries: int, seed: int) -> Null:
    """The null of rows chosen by lot. A row with a copy before it in the index asks no question: its copy may.

    A row all of whose neighbours down to DEPTHS[-1] are copies has no null and is left out. With the values: how many
    rows were chosen and gave none.
    """
    chosen = np.sort(np.random.default_rng(seed).permutation(searcher.count)[:queries])
    values: list[float] = []
    removed = 0
    for start in range(0, len(chosen), AT_ONCE):
        part = chosen[start : start + AT_ONCE]
        vectors = searcher.vectors[part].astype(np.float32)
        for index, vector, found in _neighbours(searcher, vectors, part):
            row = copies.rows[index]
            image = try_open(row.file(copies.folder), row.pixels)
            similarity, passed = copies.first_stranger(image, row.sha256, _without(found, index))
            if similarity is None and searcher.count > DEPTHS[0] and all(other > index for other in passed):
                near, rows = searcher.search(vector[None], DEPTHS[1])
                deeper = _without((near[0], rows[0]), index)
                similarity, passed = copies.first_stranger(image, row.sha256, deeper)
            if similarity is not None and not any(other < index for other in passed):
                values.append(similarity)
            else:
                removed += 1
    return sorted(values), removed


def _neighbours(
    searcher: Searcher, vectors: Float32[np.ndarray, "query dim"], part: np.ndarray
) -> Iterator[tuple[int, np.ndarray, tuple[np.ndarray, np.ndarray]]]:
    near, rows = searcher.search(vectors, DEPTHS[0])
    yield from ((int(part[i]), vectors[i], (near[i], rows[i])) for i in range(len(part)))


def _without(found: tuple[np.ndarray, np.ndarray], index: int) -> tuple[Sequence[float], Sequence[int]]:
    kept = found[1] != index
    return found[0][kept].tolist(), found[1][kept].tolist()


def held_out(searcher: Searcher, copies: Copies, batches: Iterator[Sequence[Taken]]) -> Null:
    """The null of images that are not in the index; one that proves to be a copy of a row is left out and counted."""
    values: list[float] = []
    removed = 0
    for batch in batches:
        near, rows = searcher.search(np.stack([taken.vector for taken in batch]), DEPTHS[0])
        for taken, *found in zip(batch, near.tolist(), rows.tolist(), strict=True):
            similarity, passed = copies.first_stranger(taken.image, taken.row.sha256, (found[0], found[1]))
            removed += bool(passed)
            if similarity is not None and not passed:
                values.append(similarity)
    return sorted(values), removed
