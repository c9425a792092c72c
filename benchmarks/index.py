"""What an index costs over raw FAISS on the same vectors, and whether verifying it goes at the speed of reading.

build: vectors -> a finished folder with rows and checksums, against FAISS alone: train, add, write_index.
The embedding is in neither, nor are the threshold and the planted copies, which are queries. search: `nearest`, with
exact cosines, rows and p-values, against `index.search` of an index in memory; the rows found are compared first.
verify: against reading the same files and hashing them with sha256, no more.
"""

import argparse
import hashlib
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from startup import compare

from memdetect.index import Index, Manifest, Planted, Threshold, open_index, verify
from memdetect.index.draft import Draft, choose_factory, write_faiss
from memdetect.index.manifest import FAISS, MANIFEST, NULLS, ROWS, VECTORS, EmbedderName, file_sum
from memdetect.index.rows import Row

BAR = 1.15
CHUNK = 8192


def unit_vectors(count: int, dim: int, seed: int) -> np.ndarray:
    """Random unit vectors around 1,000 centres, float32 [count, dim]."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((1000, dim), dtype=np.float32)
    vectors = rng.standard_normal((count, dim), dtype=np.float32)
    for start in range(0, count, CHUNK):
        part = vectors[start : start + CHUNK]
        part += centres[rng.integers(0, 1000, len(part))]
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return vectors


def build(folder: Path, vectors: np.ndarray, rows: Sequence[Row], factory: str | None) -> Manifest:
    """A finished index folder of given vectors, with a null of one made-up value."""
    shutil.rmtree(folder, ignore_errors=True)
    draft = Draft(folder, folder, vectors.shape[1])
    for start in range(0, len(vectors), CHUNK):
        draft.add(vectors[start : start + CHUNK], rows[start : start + CHUNK])
    draft.close()
    name, nprobe = choose_factory(len(vectors), factory)
    write_faiss(folder, len(vectors), vectors.shape[1], name)
    (folder / NULLS).write_text("[0.5]\n", encoding="utf-8")
    limit = Threshold(
        similarity=0.5,
        level=0.001,
        attainable=0.5,
        shown=False,
        queries=1,
        rows=len(vectors),
        duplicates=0,
        source="held-out",
    )
    files = (VECTORS, ROWS, NULLS) if name == "Flat" else (VECTORS, ROWS, NULLS, FAISS)
    manifest = Manifest(
        memdetect="0",
        embedder=EmbedderName(name="given", fingerprint="0", dim=vectors.shape[1]),
        count=len(vectors),
        factory=name,
        nprobe=nprobe,
        threshold=limit,
        planted=Planted(images=0, recall_at_1=0, similar=0, copies=0, damage=""),
        files={file: file_sum(folder / file) for file in files},
    )
    (folder / MANIFEST).write_text(manifest.sealed().text(), encoding="utf-8")
    return manifest


def raw_build(path: Path, vectors: np.ndarray, factory: str) -> Any:
    """The same with FAISS alone, trained on as many vectors; returns the index."""
    index = faiss.index_factory(vectors.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
    if factory != "Flat":
        index.cp.min_points_per_centroid = 1
        chosen = np.random.default_rng(0).choice(len(vectors), min(len(vectors), 64 * index.nlist), replace=False)
        index.train(vectors[np.sort(chosen)])
    for start in range(0, len(vectors), CHUNK):
        index.add(vectors[start : start + CHUNK])
    faiss.write_index(index, str(path))
    return index


def read_and_hash(folder: Path) -> None:
    """Read every file of a folder and hash it."""
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            hashlib.file_digest(file, "sha256")


def searches(
    index: Index, raw: Any, queries: np.ndarray, given: argparse.Namespace, clock: Callable[[], float]
) -> float:
    """Print and return the ratio of the two searches, after comparing what they find."""
    top_k = given.top_k
    found = [[match.row for match in near] for near in index.nearest(queries, top_k)]
    same = np.mean([row[0] == other for row, other in zip(found, raw.search(queries, top_k)[1][:, 0], strict=True)])
    print(f"the two agree on the nearest row of {same:.1%} of {len(queries)} queries")
    ratio = compare(lambda: index.nearest(queries, top_k), lambda: raw.search(queries, top_k), given.rounds, clock)
    print(ratio.report(f"search of {index.manifest.factory} over FAISS", BAR))
    return ratio.median


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all comparisons for one factory; 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--top-k", type=int, default=5)
    parser.add_argument("--factory", default="Flat")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cpu", action="store_true", help="processor time of one thread, for a machine that is busy")
    given = parser.parse_args(arguments)
    if given.cpu:
        faiss.omp_set_num_threads(1)
    clock = time.process_time if given.cpu else time.perf_counter
    vectors = unit_vectors(given.count, given.dim, 0)
    rng = np.random.default_rng(1)
    queries = vectors[rng.choice(given.count, given.queries, replace=given.queries > given.count)]
    queries = queries + rng.standard_normal(queries.shape, dtype=np.float32) / given.dim**0.5
    rows = [
        Row(key=f"{i:08d}", path=f"../images/{i:08d}.png", sha256="0" * 64, width=512, height=512)
        for i in range(given.count)
    ]
    with tempfile.TemporaryDirectory() as base:
        folder, file = Path(base) / "index", Path(base) / "raw.faiss"
        print(f"{given.count} x {given.dim}, {given.factory}")
        built = compare(
            lambda: build(folder, vectors, rows, given.factory),
            lambda: raw_build(file, vectors, given.factory),
            given.rounds,
            clock,
        )
        print(built.report(f"build of {given.factory} over FAISS", BAR))
        raw = faiss.read_index(str(file))
        index = open_index(folder)
        if given.factory != "Flat":
            raw.nprobe = index.manifest.nprobe
        searched = searches(index, raw, queries, given, clock)
        verified = compare(lambda: verify(folder), lambda: read_and_hash(folder), given.rounds, clock)
        print(verified.report("verify over reading and hashing", BAR))
    return int(max(built.median, searched, verified.median) > BAR)


if __name__ == "__main__":
    sys.exit(main())
