"""Nearest images: by exact cosine of vectors, or by the nearest two of their codes.

Candidates among vectors come from FAISS or a matrix product, and are ranked again from the stored vectors.
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float16, Float32, Float64, Int64, Shaped, UInt8
from numpy.typing import NDArray

from memdetect.copies.index import faiss_process, faiss_work
from memdetect.copies.index.faiss_work import Candidates, blocks
from memdetect.copies.index.manifest import BINARY, CODES, FAISS, VECTORS
from memdetect.errors import MemdetectError

Queries = Float32[np.ndarray, "query dim"]
Found = tuple[Float64[np.ndarray, "query rank"], Int64[np.ndarray, "query rank"]]
Engine = Literal["faiss", "process", "numpy"]
"""FAISS in this process, FAISS in a process of its own, or the matrix product of numpy, which can search Flat only."""

AT_ONCE = 512  # queries
RANKED = 2**17  # rows found of that many queries, at most
BLOCK = 2**15  # rows of a matrix product
GROUP = 256  # scores whose maximum stands for them
KEEP = 2**31  # bytes: vectors of at most that many stay in memory as float32 for the matrix product
MARGIN = 4  # candidates beyond those asked for, to be ranked again
IVF_MARGIN = 2  # times as many again where candidates come from 8-bit codes
BIT_MARGIN, BIT_LEAST = 16, 128  # the same, and at least so many, where they come from codes of one bit a number


@dataclass(slots=True)
class Searcher:
    """The vectors of an index folder, and how candidates among them are found.

    folder must have been verified. factory: "Flat", an IVF string of FAISS, or "BinaryFlat", where an image has `tiles`
    codes of `dim` bits. engine: None = `usual_engine`. Raises MemdetectError (usage) for numpy on any but Flat.
    """

    folder: Path
    count: int
    dim: int
    factory: str
    nprobe: int = 1
    engine: Engine | None = None
    tiles: int = 1
    vectors: Shaped[np.ndarray, "image *_form"] = field(init=False, repr=False)
    _candidates: Candidates | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        form = (np.uint8, (self.tiles, self.dim // 8)) if self.binary else (np.float16, (self.dim,))
        self.vectors = np.memmap(self._stored, form[0], "r", shape=(self.count, *form[1]))
        self.engine = self.engine or usual_engine(self.factory)
        if self.engine == "numpy" and self.factory != "Flat":
            raise MemdetectError(f"engine is 'numpy', but {self.factory} needs FAISS; give 'faiss' or 'process'")

    @property
    def binary(self) -> bool:
        """Whether the images have codes instead of vectors."""
        return self.factory == BINARY

    @property
    def _stored(self) -> Path:
        return self.folder / (CODES if self.binary else VECTORS)

    def search(self, queries: Shaped[np.ndarray, "query *_form"], k: int) -> Found:
        """Similarity, in [-1, 1], and row of the k nearest images of each query, nearest first, ties by row.

        A query is a vector, float32, or where images have codes its own, uint8 [code, byte]: the nearest pair counts.
        At most `count` columns. Exact for Flat; an IVF index may miss a row, which then is absent: -inf and row -1
        stand at the end. Raises MemdetectError for queries of another dimension or that are not finite.
        """
        fit = queries.shape[1:] == (self.dim,) and np.isfinite(queries).all()
        if self.binary:
            fit = queries.ndim == 3 and queries.shape[2] == self.dim // 8 and queries.dtype == np.uint8
        if not fit:
            shape = " x ".join(map(str, queries.shape))
            raise MemdetectError(f"queries of {shape} cannot be looked up: {self._expected} each are expected")
        k = min(k, self.count)
        part = self._codes_part if self.binary else self._part
        step = max(1, min(AT_ONCE, RANKED // max(k, 1)))
        parts = [part(queries[i : i + step], k) for i in range(0, len(queries), step)]
        if not parts:
            return np.zeros((0, k)), np.zeros((0, k), np.int64)
        return np.concatenate([s for s, _ in parts]), np.concatenate([r for _, r in parts])

    @property
    def _expected(self) -> str:
        return f"codes of {self.dim // 8} bytes" if self.binary else f"{self.dim} finite numbers"

    def prepare(self) -> None:
        """Open now what the first search would open by its path; of Flat in this process nothing is left to open."""
        if self._candidates is None and self.factory not in ("Flat", BINARY):
            self._candidates = self._open()

    def _part(self, queries: Queries, k: int) -> Found:
        if self._candidates is None:
            self._candidates = self._open()
        rows = self._candidates(np.ascontiguousarray(queries), min(self._wide(k), self.count))
        return _ranked(queries, rows, self.vectors, k)

    def _wide(self, k: int) -> int:
        """How many candidates are ranked again for k rows."""
        if self.factory == "Flat":
            return k + MARGIN
        return max(BIT_MARGIN * k, BIT_LEAST) if self.factory.endswith("RaBitQ") else IVF_MARGIN * k + MARGIN

    def exact(self, queries: Queries, k: int) -> Found:
        """As `search`, of vectors, by comparing each query with every row: blocks of them are read, none is kept."""
        rows = _product(self.vectors, keep=False)(np.ascontiguousarray(queries), min(k + MARGIN, self.count))
        return _ranked(queries, rows, self.vectors, min(k, self.count))

    def _codes_part(self, queries: UInt8[np.ndarray, "query code byte"], k: int) -> Found:
        if self._candidates is None:
            self._candidates = self._open()
        apart, rows = self._candidates(np.ascontiguousarray(queries), k)
        return 1 - 2 * apart / self.dim, rows

    def _open(self) -> Candidates:
        given: dict[str, Any] = {"count": self.count, "dim": self.dim}
        here = self.engine == "faiss"  # what is mapped stays that of the index that was verified
        if self.binary:
            codes = self.vectors if here else str(self._stored)
            opens, given = "codes", {"codes": codes, "count": self.count, "tiles": self.tiles, "width": self.dim // 8}
        elif self.factory == "Flat":
            opens, given = "flat", {**given, "vectors": self.vectors if here else str(self._stored)}
        else:
            opens, given = "file", {**given, "path": str(self.folder / FAISS), "nprobe": self.nprobe}
        if self.engine == "numpy":
            return _product(self.vectors)
        if self.engine == "process":
            return faiss_process.Elsewhere(opens, **given)
        try:
            return faiss_work.OPENS[opens](**given)
        except faiss_work.Refusal as problem:
            raise MemdetectError(str(problem)) from None


def usual_engine(factory: str) -> Engine:
    """FAISS in this process; on macOS, where it clashes with torch, numpy for Flat and else a process of its own."""
    if sys.platform != "darwin":
        return "faiss"
    return "numpy" if factory == "Flat" else "process"


def _ranked(
    queries: Queries,
    rows: Int64[np.ndarray, "query candidate"],
    vectors: Float16[np.ndarray, "image dim"],
    k: int,
) -> Found:
    """The k best candidates by cosine in float64; candidate -1 = none."""
    near = np.take(np.asarray(vectors), np.maximum(rows, 0), axis=0).astype(np.float64)  # faster than vectors[rows]
    asked = queries.astype(np.float64)
    dots = np.einsum("qkd,qd->qk", near, asked)
    lengths = np.sqrt(np.einsum("qkd,qkd->qk", near, near) * np.einsum("qd,qd->q", asked, asked)[:, None])
    cosine = np.clip(dots / np.maximum(lengths, np.finfo(np.float64).tiny), -1, 1)
    cosine[rows < 0] = -np.inf
    order = np.lexsort((rows, -cosine), axis=1)[:, :k]
    return np.take_along_axis(cosine, order, 1), np.take_along_axis(rows, order, 1)


def _product(vectors: Float16[np.ndarray, "image dim"], keep: bool = True) -> Candidates:
    """The same by matrix product, without FAISS. keep: hold the vectors as float32, where they take at most KEEP."""
    size = vectors.shape[0] * vectors.shape[1] * 4
    kept = vectors.astype(np.float32) if keep and size <= KEEP else None

    def search(queries: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        parts = blocks(vectors) if kept is None else (kept[i : i + BLOCK] for i in range(0, len(kept), BLOCK))
        best, rows, start = np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64), 0
        for part in parts:
            scores = queries @ part.T
            columns = _largest(scores, k)
            best = np.concatenate([best, np.take_along_axis(scores, columns, 1)], axis=1)
            rows = np.concatenate([rows, columns + start], axis=1)
            start += len(part)
            if best.shape[1] > k:
                kth = np.argpartition(best, -k, axis=1)[:, -k:]
                best, rows = np.take_along_axis(best, kth, 1), np.take_along_axis(rows, kth, 1)
        return rows

    return search


def _largest(scores: Float32[np.ndarray, "query row"], k: int) -> Int64[np.ndarray, "query best"]:
    """Columns of the k largest scores of each row, in no order.

    They lie in the k groups with the largest maxima, and a maximum costs a fraction of a partition.
    """
    count, width = scores.shape
    if width <= k:
        return np.broadcast_to(np.arange(width), scores.shape).copy()
    whole = width // GROUP
    if whole <= k:
        return np.argpartition(scores, -k, axis=1)[:, -k:].astype(np.int64)
    tops = scores[:, : whole * GROUP].reshape(count, whole, GROUP).max(axis=2)
    groups = np.argpartition(tops, -k, axis=1)[:, -k:]
    columns = (groups[:, :, None] * GROUP + np.arange(GROUP)).reshape(count, -1)
    rest = np.broadcast_to(np.arange(whole * GROUP, width), (count, width - whole * GROUP))
    columns = np.concatenate([columns, rest], axis=1)
    chosen = np.argpartition(np.take_along_axis(scores, columns, 1), -k, axis=1)[:, -k:]
    return np.take_along_axis(columns, chosen, 1).astype(np.int64)
