"""Which embedder finds a damaged copy among many scenes, and which takes a redraw for one?

python benchmarks/embedders.py MODEL EMBEDDER: the folder of a model with vae/, and the folder that holds embedder/.
An index of fresh scenes that nothing was trained on. Queries went through the autoencoder, as what a model draws
does. The threshold is the quantile 1 - 1e-3 of the nearest-neighbour similarity of scenes that are not in the index.
Copies are damaged more and more; one is found when its original is nearest and above the threshold. A redraw places
the pictures of an indexed scene afresh, a sibling has one picture changed: those above the threshold are left for the
pixel measures to tell apart. Clopper-Pearson intervals, 95 %.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage
from scipy.stats import beta

FAR_AWAY = 7_000_000  # scenes of the stream that no training reaches
LEVEL = 1e-3
CHUNK = 64


def interval(hits: int, total: int, level: float = 0.95) -> tuple[float, float]:
    """Clopper and Pearson 1934: the shares that a count of `hits` in `total` does not reject."""
    tail = (1 - level) / 2
    low = float(beta.ppf(tail, hits, total - hits + 1)) if hits else 0.0
    high = float(beta.ppf(1 - tail, hits + 1, total - hits)) if hits < total else 1.0
    return low, high


def share(hits: np.ndarray) -> str:
    low, high = interval(int(hits.sum()), len(hits))
    return f"{hits.mean():.3f} [{low:.3f}, {high:.3f}]"


def threshold(nearest: np.ndarray, level: float = LEVEL) -> float:
    """A similarity of a non-copy that at most a share `level` of them exceed: of 2,000, the second highest."""
    return float(np.quantile(nearest, 1 - level, method="higher"))


def blurred(images: np.ndarray, sigma: float) -> np.ndarray:
    return np.stack([ndimage.gaussian_filter(x, (sigma, sigma, 0)) for x in images])


def noisy(images: np.ndarray, rng: np.random.Generator, size: float) -> np.ndarray:
    return (images + rng.normal(0, size, images.shape)).clip(0, 255).round().astype(np.uint8)


def levels(originals: np.ndarray, trip: Callable, rng: np.random.Generator) -> Iterator[tuple[str, np.ndarray]]:
    """From what an autoencoder does to what a bad sample looks like."""
    plain = trip(originals, 0.0)
    yield "round trip", plain
    yield "round trip, noise 8, blur 0.7 px", noisy(blurred(plain, 0.7), rng, 8)
    yield "noise 16, blur 1 px", noisy(blurred(plain, 1.0), rng, 16)
    yield "noise in latents, up to 0.5", trip(originals, 0.5)
    yield "noise in latents, up to 1", trip(originals, 1.0)
    yield "blur 2.5 px", blurred(plain, 2.5)
    yield "half as bright a contrast", (plain * 0.5 + originals.mean((1, 2), keepdims=True) * 0.5).astype(np.uint8)
    yield "shift 2 px", np.roll(plain, (1, 2), (1, 2))


def vectors(embedder, images: np.ndarray) -> np.ndarray:
    pictures = [Image.fromarray(x) for x in images]
    return np.concatenate([embedder.embed(pictures[i : i + CHUNK]) for i in range(0, len(pictures), CHUNK)])


def table(embedder, index: np.ndarray, queries: dict[str, np.ndarray], strangers: np.ndarray) -> Iterator[str]:
    """One line per kind of query; the first `len(query)` rows of the index are its originals."""
    rows = vectors(embedder, index)
    nearest = (vectors(embedder, strangers) @ rows.T).max(1)
    limit = threshold(nearest)
    yield f"| {embedder.name} | threshold at {LEVEL:g} | {len(strangers)} | {limit:.3f} | |"
    for name, images in queries.items():
        cosines = vectors(embedder, images) @ rows.T
        above = cosines.max(1) > limit
        first = cosines.argmax(1) == np.arange(len(images))
        if name in ("redraw", "sibling"):
            yield f"| {embedder.name} | {name}: above | {len(images)} | {share(above)} | |"
        else:
            yield f"| {embedder.name} | {name} | {len(images)} | {share(above & first)} | {first.mean():.3f} |"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="folder with vae/")
    parser.add_argument("embedder", type=Path, help="folder with embedder/")
    parser.add_argument("--index", type=int, default=2000, help="scenes in the index")
    parser.add_argument("--queries", type=int, default=300, help="of each kind")
    parser.add_argument("--nulls", type=int, default=2000, help="scenes that are not in the index")
    parser.add_argument("--embedders", nargs="+", default=["scenes", "pdq", "pixels"])
    given = parser.parse_args(arguments)

    from memdetect.copies.embedders import load_embedder
    from memdetect.lab.training.damage import round_trip
    from memdetect.lab.training.embedding import open_vae
    from memdetect.lab.world.recipe import find_world
    from memdetect.lab.world.scenes import paint, redraw, sibling

    (world, stock), rng, vae = find_world(), np.random.default_rng(7), open_vae(given.model / "vae")

    def trip(images: np.ndarray, noise: float) -> np.ndarray:
        starts = range(0, len(images), CHUNK)
        return np.concatenate([round_trip(vae, images[i : i + CHUNK], i, noise) for i in starts])

    scenes = list(islice(world.stream(FAR_AWAY), given.index + given.nulls))
    painted = np.stack([paint(scene, stock.pictures) for scene in scenes])
    index, strangers = painted[: given.index], trip(painted[given.index :], 0.0)
    queries = dict(levels(index[: given.queries], trip, rng))
    for name, make in (("redraw", redraw), ("sibling", lambda r, s: sibling(r, s, world.names))):
        queries[name] = trip(np.stack([paint(make(rng, s), stock.pictures) for s in scenes[: given.queries]]), 0.0)
    print(f"index of {len(index)} scenes\n\n| embedder | what | queries | share [95 %] | nearest is the original |")
    print("|---|---|---|---|---|")
    for name in given.embedders:
        for line in table(load_embedder(name, folder=given.embedder), index, queries, strangers):
            print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
