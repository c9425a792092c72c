"""What does an approximate search find of what an exact one finds? Measured in the index itself when it is built."""

import numpy as np
from jaxtyping import Float32, Int64

from memdetect.copies.index.fields import Recall
from memdetect.copies.index.manifest import BINARY
from memdetect.copies.index.search import Queries, Searcher

QUERIES = 100  # rows whose vectors are looked up, and again as many planted at each cosine
DEPTH = 10
COSINES = (0.9, 0.8, 0.7, 0.6, 0.5)  # of a copy and its original, as copy embedders give them, and lower


def measured(searcher: Searcher, seed: int = 0) -> Recall | None:
    """The recall of an index whose files are written; None where its search is exact.

    Every row is compared with 6 * QUERIES vectors: 600 * count * dim multiplications, and the vectors are read twice.
    """
    if searcher.factory in ("Flat", BINARY):
        return None
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.choice(searcher.count, min(QUERIES, searcher.count), replace=False))
    vectors = np.asarray(searcher.vectors[rows], np.float32)
    nearest, ten = _of_rows(searcher, rows, vectors)
    shares = {f"{cosine:g}": _planted(searcher, rows, _at(vectors, cosine, rng)) for cosine in COSINES}
    found = {cosine: share for cosine, share in shares.items() if share is not None}
    return Recall(queries=len(rows), nearest=nearest, ten=ten, planted=found)


def _of_rows(searcher: Searcher, rows: Int64[np.ndarray, " row"], vectors: Queries) -> tuple[float, float]:
    """Of the nearest other row of each row, and of the ten nearest, the share that is found."""
    true, found = (_without(near(vectors, DEPTH + 1)[1], rows) for near in (searcher.exact, searcher.search))
    same = [len(set(a) & set(b)) / max(len(a), 1) for a, b in zip(true, found, strict=True)]
    first = [not a or a[0] in b for a, b in zip(true, found, strict=True)]
    return float(np.mean(first)), float(np.mean(same))


def _without(found: Int64[np.ndarray, "query rank"], rows: Int64[np.ndarray, " row"]) -> list[list[int]]:
    return [
        [row for row in near if row not in (own, -1)][:DEPTH] for near, own in zip(found.tolist(), rows, strict=True)
    ]


def _planted(searcher: Searcher, rows: Int64[np.ndarray, " row"], queries: Queries) -> float | None:
    """The share of rows found by vectors planted near them, of those that an exact search finds.

    None where that is less than half of them: others are as near by chance, and nothing would be measured.
    """
    there, found = (
        (near(queries, DEPTH)[1] == rows[:, None]).any(axis=1) for near in (searcher.exact, searcher.search)
    )
    return float(found[there].mean()) if there.mean() >= 0.5 else None


def _at(vectors: Queries, cosine: float, rng: np.random.Generator) -> Float32[np.ndarray, "row dim"]:
    """Unit vectors at a cosine from each vector, in a random direction; at one number a vector, the vector itself."""
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    aside = rng.standard_normal(units.shape, dtype=np.float32)
    aside -= (aside * units).sum(axis=1, keepdims=True) * units
    length = np.linalg.norm(aside, axis=1, keepdims=True)
    made = cosine * units + (1 - cosine**2) ** 0.5 * aside / np.maximum(length, 1e-12)
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)
