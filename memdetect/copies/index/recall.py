"""What does an approximate search find of what an exact one finds? Measured in the index itself when it is built."""

import numpy as np
from jaxtyping import Float32, Int64

from memdetect.copies.index.fields import Recall
from memdetect.copies.index.manifest import BINARY
from memdetect.copies.index.search import Queries, Searcher

Near = Int64[np.ndarray, "query rank"]  # rows
QUERIES = 100  # rows whose vectors are looked up, and again as many planted at each cosine
DEPTH = 10
COSINES = (0.9, 0.8, 0.7, 0.6, 0.5)  # of a copy and its original, as copy embedders give them, and lower


def measured(searcher: Searcher, seed: int = 0) -> Recall | None:
    """The recall of an index whose files are written; None where its search is exact.

    Every row is compared with 6 * QUERIES vectors: 600 * count * dim multiplications, and the vectors are read once.
    """
    if searcher.factory in ("Flat", BINARY):
        return None
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.choice(searcher.count, min(QUERIES, searcher.count), replace=False))
    vectors = np.asarray(searcher.vectors[rows], np.float32)
    asked = np.concatenate([vectors, *(_at(vectors, cosine, rng) for cosine in COSINES)])
    true, found = (near(asked, DEPTH + 1)[1] for near in (searcher.exact, searcher.search))
    nearest, ten = _of_rows(true[: len(rows)], found[: len(rows)], rows)
    parts = [np.split(each, 1 + len(COSINES))[1:] for each in (true, found)]
    shares = {f"{cosine:g}": _planted(a, b, rows) for cosine, a, b in zip(COSINES, *parts, strict=True)}
    told = {cosine: share for cosine, share in shares.items() if share is not None}
    return Recall(queries=len(rows), nearest=nearest, ten=ten, planted=told)


def _of_rows(true: Near, found: Near, rows: Int64[np.ndarray, " row"]) -> tuple[float, float]:
    """Of the nearest other row of each row, and of the ten nearest, the share that is found."""
    pairs = list(zip(_without(true, rows), _without(found, rows), strict=True))
    same = [len(set(a) & set(b)) / max(len(a), 1) for a, b in pairs]
    first = [not a or a[0] in b for a, b in pairs]
    return float(np.mean(first)), float(np.mean(same))


def _without(found: Near, rows: Int64[np.ndarray, " row"]) -> list[list[int]]:
    return [
        [row for row in near if row not in (own, -1)][:DEPTH] for near, own in zip(found.tolist(), rows, strict=True)
    ]


def _planted(true: Near, found: Near, rows: Int64[np.ndarray, " row"]) -> float | None:
    """The share of rows found by vectors planted near them, of those that an exact search finds.

    None where that is less than half of them: others are as near by chance, and nothing would be measured.
    """
    there, seen = ((near[:, :DEPTH] == rows[:, None]).any(axis=1) for near in (true, found))
    return float(seen[there].mean()) if there.mean() >= 0.5 else None


def _at(vectors: Queries, cosine: float, rng: np.random.Generator) -> Float32[np.ndarray, "row dim"]:
    """Unit vectors at a cosine from each vector, in a random direction; at one number a vector, the vector itself."""
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    aside = rng.standard_normal(units.shape, dtype=np.float32)
    aside -= (aside * units).sum(axis=1, keepdims=True) * units
    length = np.linalg.norm(aside, axis=1, keepdims=True)
    made = cosine * units + (1 - cosine**2) ** 0.5 * aside / np.maximum(length, 1e-12)
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)
