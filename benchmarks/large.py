"""What an index of many vectors takes: time and most memory of each step, each in a process of its own.

vectors: made-up unit vectors around centres, written as an index has them, with their rows. names: every key compared
with every other, and the rows of one picture found. build: FAISS trains and fills its file; of Flat there is none to
fill. recall: what the search finds of what an exact one finds, and of vectors planted near rows. search: `nearest`
rows of queries, half of them planted at a cosine of 0.7.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from memdetect.copies.index.distinct import Keys, Pictures, twice
from memdetect.copies.index.draft import Draft, choose_factory, write_faiss
from memdetect.copies.index.manifest import FAISS, ROWS
from memdetect.copies.index.recall import measured
from memdetect.copies.index.rows import Row, RowFile
from memdetect.copies.index.search import Searcher

CHUNK = 8192
PLANTED = 0.7


def vectors(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Unit vectors around 1,000 centres, and their rows."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((1000, given.dim), dtype=np.float32)
    draft = Draft(folder, folder, given.dim)
    for start in range(0, given.count, CHUNK):
        size = min(CHUNK, given.count - start)
        part = rng.standard_normal((size, given.dim), dtype=np.float32) + centres[rng.integers(0, 1000, size)]
        part /= np.linalg.norm(part, axis=1, keepdims=True)
        draft.add(part, [row(i) for i in range(start, start + size)])
    draft.close()
    return {}


def row(number: int) -> Row:
    """A row of an image that is not there."""
    name = f"{number:09d}"
    return Row(key=name, path=f"../images/{name}.png", sha256=f"{number:016x}{0:048x}", width=512, height=512)


def names(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Keys compared, and pictures told apart, as a build does."""
    rows, keys, pictures = RowFile(folder / ROWS), Keys(), Pictures()
    for each in rows:
        keys.add(each.key)
        pictures.count([each])
    return {"twice": twice(keys, (each.key for each in rows)), "pictures": len(pictures.first())}


def build(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """FAISS's own file."""
    factory, nprobe = choose_factory(given.count, given.factory)
    write_faiss(folder, given.count, given.dim, factory)
    size = (folder / FAISS).stat().st_size / given.count if (folder / FAISS).exists() else 2 * given.dim
    return {"factory": factory, "nprobe": nprobe, "bytes an image": round(size, 1)}


def recall(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """What a build measures of itself."""
    found = measured(searcher(folder, given))
    return found.model_dump() if found else {"exact": True}


def search(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Queries, of which every second is planted; the share of these that is found among ten."""
    engine, rng = searcher(folder, given), np.random.default_rng(1)
    rows = np.sort(rng.choice(given.count, min(given.queries, given.count), replace=False))
    asked = np.asarray(engine.vectors[rows], np.float32)
    noise = rng.standard_normal(asked.shape, dtype=np.float32)
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    share = np.where(np.arange(len(rows)) % 2, PLANTED, 0).astype(np.float32)[:, None]
    asked = share * asked + np.sqrt(1 - share**2) * noise
    engine.search(asked[:1], 10)  # opens it
    start = time.process_time()
    found = engine.search(asked, 10)[1]
    each = (time.process_time() - start) / len(rows)
    return {
        "ms of processor a query": round(1000 * each, 2),
        "planted": float((found == rows[:, None]).any(1)[1::2].mean()),
    }


def searcher(folder: Path, given: argparse.Namespace) -> Searcher:
    """The index, opened."""
    factory, nprobe = choose_factory(given.count, given.factory)
    return Searcher(folder, given.count, given.dim, factory, nprobe)


STEPS: dict[str, Callable[[Path, argparse.Namespace], dict[str, Any]]] = {
    "vectors": vectors,
    "names": names,
    "build": build,
    "recall": recall,
    "search": search,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run every step in a process of its own, and print what each took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--queries", type=int, default=512)
    parser.add_argument("--factory", help="as index build takes it; by size if not given")
    parser.add_argument("--step", choices=list(STEPS), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.step:
        start, began = time.process_time(), time.perf_counter()
        told = STEPS[given.step](given.folder, given)
        taken = {"processor s": time.process_time() - start, "s": time.perf_counter() - began}
        top = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
        print(
            json.dumps(
                {"step": given.step, **{k: round(v, 1) for k, v in taken.items()}, "most MB": round(top), **told}
            )
        )
        return 0
    with tempfile.TemporaryDirectory() as base:
        for step in STEPS:
            own = [*(arguments if arguments is not None else sys.argv[1:]), "--step", step, "--folder", f"{base}/index"]
            done = subprocess.run([sys.executable, __file__, *own], check=True, capture_output=True, text=True)
            print(done.stdout, end="", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
