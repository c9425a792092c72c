"""What an index costs over raw FAISS on the same vectors, and whether verifying it goes at the speed of reading.

build: vectors -> a finished folder with rows and checksums, against FAISS alone: train, add, write_index.
The embedding is in neither, nor are the threshold and the planted copies, which are queries. search: `nearest`, with
exact cosines, rows and p-values, against `index.search` of an index in memory; the rows found are compared first.
verify: against reading the same files and hashing them with sha256, no more.
binary: search among random codes, each image found once, against `IndexBinaryFlat.search` for as many codes.
rate: no ratio. How often fresh vectors exceed the threshold of an index, over many small indexes, beside its level.
"""

import argparse
import hashlib
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from PIL import Image
from scipy import stats
from startup import compare

from memdetect.copies.index import Index, Manifest, Planted, Searcher, Threshold, open_index, verify
from memdetect.copies.index.calibrate import Copies, Trial, held_out, leave_one_out, threshold
from memdetect.copies.index.draft import Draft, choose_factory, write_faiss
from memdetect.copies.index.embed_files import Taken
from memdetect.copies.index.manifest import (
    BINARY,
    CODES,
    FAISS,
    MANIFEST,
    REFERENCE,
    ROWS,
    VECTORS,
    Agreement,
    EmbedderName,
    ReferenceValues,
    file_sum,
)
from memdetect.copies.index.rows import Row, RowFile
from memdetect.copies.pixels import CopyRule

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
    """A finished index folder of given vectors, with one made-up reference similarity."""
    shutil.rmtree(folder, ignore_errors=True)
    draft = Draft(folder, folder, vectors.shape[1])
    for start in range(0, len(vectors), CHUNK):
        draft.add(vectors[start : start + CHUNK], rows[start : start + CHUNK])
    draft.close()
    name, nprobe = choose_factory(len(vectors), factory)
    write_faiss(folder, len(vectors), vectors.shape[1], name)
    values = ReferenceValues(similarity=[0.5], agreed=[0.5])
    (folder / REFERENCE).write_text(values.model_dump_json() + "\n", encoding="utf-8")
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
    files = (VECTORS, ROWS, REFERENCE) if name == "Flat" else (VECTORS, ROWS, REFERENCE, FAISS)
    manifest = Manifest(
        memdetect="0",
        embedder=EmbedderName(name="given", fingerprint="0", dim=vectors.shape[1]),
        count=len(vectors),
        factory=name,
        nprobe=nprobe,
        threshold=limit,
        agreement=Agreement(agreed=0.5, shown=False, queries=1, pairs=1, duplicates=0, beyond=0, source="held-out"),
        pictures=len(vectors),
        geometry={},
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


BINARY_BAR = 1.2
TILES, VIEWS, BYTES, FLIPS = 11, 34, 32, 20  # as of `pdq-tiles`, and bits of the damage


def binary(given: argparse.Namespace) -> bool:
    """Print the ratio of the searches among codes, after comparing the nearest; whether it meets the bar."""
    rng, clock = np.random.default_rng(0), time.process_time if given.cpu else time.perf_counter
    codes = rng.integers(0, 256, (given.count, TILES, BYTES), dtype=np.uint8)
    queries = rng.integers(0, 256, (given.queries, VIEWS, BYTES), dtype=np.uint8)
    bits = np.unpackbits(codes[rng.integers(0, given.count, given.queries), 0], axis=1)
    bits[:, :FLIPS] ^= 1
    queries[:, 0] = np.packbits(bits, axis=1)
    raw = faiss.IndexBinaryFlat(8 * BYTES)
    raw.add(codes.reshape(-1, BYTES))
    with tempfile.TemporaryDirectory() as base:
        codes.tofile(Path(base) / CODES)
        searcher = Searcher(Path(base), given.count, 8 * BYTES, BINARY, engine="faiss", tiles=TILES)
        near = searcher.search(queries, given.top_k)[0][:, 0]
        alone = raw.search(queries.reshape(-1, BYTES), 1)[0].reshape(given.queries, VIEWS).min(1)
        print(f"the two agree on the nearest code of {np.mean(near == 1 - alone / 128):.1%} of {given.queries} queries")
        ours, flat = partial(searcher.search, queries), queries.reshape(-1, BYTES)
        ratio = compare(lambda: ours(given.top_k), lambda: raw.search(flat, given.top_k), given.rounds, clock)
    print(ratio.report(f"search of {BINARY} over FAISS", BINARY_BAR))
    return ratio.median <= BINARY_BAR


ROWS_EACH, REFERENCE_EACH, FRESH, LEVEL = 120, 119, 50, 0.05  # of an index whose rate is taken


@dataclass(frozen=True)
class Blank:
    """An embedder for images that are not there: no rim tells a near-duplicate."""

    dim: int
    name: str = "blank"
    fingerprint: str = "0"

    def embed(self, images):
        return np.zeros((len(images), self.dim), np.float32)


def false_matches(base: Path, builds: int, held: bool, seed: int = 0) -> int:
    """How many of `builds` x FRESH vectors, drawn like the reference, exceed the threshold of their index at LEVEL.

    Every index is written, searched and calibrated by the package's own functions; its images are not there, so that
    no row counts as a copy.
    """
    above = 0
    for number in range(builds):
        rng, folder = np.random.default_rng([seed, number]), base / str(number)
        vectors = rng.standard_normal((ROWS_EACH + REFERENCE_EACH + FRESH, 12)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        rows = [Row(key=str(i), path=f"{i}.png", sha256=str(i), width=1, height=1) for i in range(len(vectors))]
        draft = Draft(folder, folder, 12)
        draft.add(vectors[:ROWS_EACH], rows[:ROWS_EACH])
        draft.close()
        searcher = Searcher(folder, ROWS_EACH, 12, "Flat")
        copies = Copies(RowFile(folder / ROWS), folder, CopyRule())
        others = zip(rows[ROWS_EACH:-FRESH], vectors[ROWS_EACH:-FRESH], strict=True)
        batch = [Taken(Image.new("RGB", (1, 1)), row, vector) for row, vector in others]
        trial = Trial(searcher, copies, Blank(12), np.arange(ROWS_EACH), number)
        reference = held_out(trial, iter([batch])) if held else leave_one_out(trial, ROWS_EACH)
        limit = threshold(reference, LEVEL, ROWS_EACH, held)
        assert (limit.shown, limit.duplicates) == (True, 0)
        above += int((searcher.search(vectors[-FRESH:], 1)[0] > limit.similarity).sum())
        shutil.rmtree(folder)
    return above


def expected_matches(builds: int, queries: int, tail: float) -> tuple[int, int]:
    """Between which counts `false_matches` lies but for a chance of `tail`, where the level is true.

    A threshold allows j = floor(LEVEL (n + 1)) of n reference images and one more: its rate is Beta(j, n + 1 - j), the
    count of an index beta-binomial, and that of all their convolution. Exact for held-out images.
    """
    j = int(LEVEL * (queries + 1) + 1e-9)
    one = stats.betabinom.pmf(np.arange(FRESH + 1), FRESH, j, queries + 1 - j)
    whole = np.array([1.0])
    for _ in range(builds):
        whole = np.convolve(whole, one)
    return int(np.searchsorted(whole.cumsum(), tail / 2)), int(np.searchsorted(whole.cumsum(), 1 - tail / 2))


def rates(builds: int) -> bool:
    """Print the realised rates by both kinds of reference images; whether both lie inside their 95 % intervals."""
    inside = True
    for held, queries in ((True, REFERENCE_EACH), (False, ROWS_EACH)):
        with tempfile.TemporaryDirectory() as base:
            above, total = false_matches(Path(base), builds, held), builds * FRESH
        low, high = expected_matches(builds, queries, 0.05)
        inside &= low <= above <= high
        print(
            f"false matches, {'held-out' if held else 'leave-one-out'}, {builds} indexes: {above} of {total} = "
            f"{above / total:.4f} at level {LEVEL}; 95 % of counts lie from {low} to {high} "
            f"({low / total:.4f} to {high / total:.4f}): {'inside' if low <= above <= high else 'outside'}"
        )
    return inside


def compared(
    base: Path, vectors: np.ndarray, rows: Sequence[Row], queries: np.ndarray, given: argparse.Namespace
) -> list[float]:
    """Print the comparisons that were asked for; their medians."""
    folder, file, ratios = base / "index", base / "raw.faiss", list[float]()
    clock = time.process_time if given.cpu else time.perf_counter
    print(f"{len(vectors)} x {given.dim}, {given.factory}")

    def take(what: str, a: Callable[[], object], b: Callable[[], object]) -> None:
        ratio = compare(a, b, given.rounds, clock)
        print(ratio.report(what, BAR))
        ratios.append(ratio.median)

    def ours() -> None:
        build(folder, vectors, rows, given.factory)

    def bare() -> None:
        raw_build(file, vectors, given.factory)

    if given.only in (None, "build"):
        take(f"build of {given.factory} over FAISS", ours, bare)
    else:
        ours(), bare()
    if given.only in (None, "search"):
        raw, index = faiss.read_index(str(file)), open_index(folder)
        if given.factory != "Flat":
            raw.nprobe = index.manifest.nprobe
        ratios.append(searches(index, raw, queries, given, clock))
    if given.only in (None, "verify"):
        take("verify over reading and hashing", lambda: verify(folder), lambda: read_and_hash(folder))
    return ratios


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
    parser.add_argument(
        "--only", choices=("build", "search", "verify", "rate", "binary"), help="one comparison instead of three"
    )
    parser.add_argument("--builds", type=int, default=400, help="indexes of `--only rate`")
    given = parser.parse_args(arguments)
    if given.only == "rate":
        return int(not rates(given.builds))
    if given.cpu:
        faiss.omp_set_num_threads(1)
    if given.only == "binary":
        return int(not binary(given))
    vectors = unit_vectors(given.count, given.dim, 0)
    rng = np.random.default_rng(1)
    queries = vectors[rng.choice(given.count, given.queries, replace=given.queries > given.count)]
    queries = queries + rng.standard_normal(queries.shape, dtype=np.float32) / given.dim**0.5
    rows = [
        Row(key=f"{i:08d}", path=f"../images/{i:08d}.png", sha256="0" * 64, width=512, height=512)
        for i in range(given.count)
    ]
    with tempfile.TemporaryDirectory() as base:
        ratios = compared(Path(base), vectors, rows, queries, given)
    return int(max(ratios) > BAR)


if __name__ == "__main__":
    sys.exit(main())
