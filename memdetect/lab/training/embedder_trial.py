"""Which embedder finds a damaged copy among many scenes, and which takes a redraw for one?

An index of fresh scenes that nothing was trained on. Queries went through the autoencoder, as what a model draws does.
The threshold is the quantile 1 - 1e-3 of the nearest-neighbour similarity of scenes that are not in the index. Copies
are damaged more and more; one is found when its original is nearest and above the threshold. A redraw places the
pictures of an indexed scene afresh, a sibling has one picture changed: those above the threshold are left for the pixel
measures to tell apart. Clopper-Pearson intervals, 95 %.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from scipy import ndimage

from memdetect.judging.statistics.beta import interval
from memdetect.lab.training.damage import round_trip
from memdetect.lab.world.labelled import World
from memdetect.lab.world.scenes import Scene, paint, redraw, sibling
from memdetect.lab.world.stock import Stock

FAR_AWAY = 7_000_000  # scenes of the stream that no training reaches
LEVEL = 1e-3
CHUNK = 64
SEED = 7

Images = UInt8[np.ndarray, "image row col 3"]
Vectors = Float[np.ndarray, "image dim"]
Trip = Callable[[Images, float], Images]  # through the autoencoder, with noise in the latents of up to so much


@runtime_checkable
class Embeds(Protocol):
    """What is read of an embedder."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def embed(self) -> Callable[[Sequence[Image.Image]], Vectors]: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Sizes:
    """Scenes in the index, queries of each kind, and scenes that are not in the index."""

    index: int = 2000
    queries: int = 300
    strangers: int = 2000


@dataclass(frozen=True, slots=True)
class Trial:
    """Images of the index, of scenes that are not in it, and of each kind of query.

    The first rows of the index are the originals of the queries, in their order.
    """

    index: Images
    strangers: UInt8[np.ndarray, "stranger row col 3"]
    queries: Mapping[str, UInt8[np.ndarray, "_ row col 3"]]

    def heading(self) -> str:
        """The head of the table in Markdown."""
        title = "| embedder | what | queries | share [95 %] | nearest is the original |"
        return f"index of {len(self.index)} scenes\n\n{title}\n|---|---|---|---|---|"

    def table(self, embedder: Embeds) -> Iterator[str]:
        """One line for each kind of query."""
        rows = vectors(embedder, self.index)
        limit = threshold((vectors(embedder, self.strangers) @ rows.T).max(1))
        yield f"| {embedder.name} | threshold at {LEVEL:g} | {len(self.strangers)} | {limit:.3f} | |"
        for name, images in self.queries.items():
            cosines = vectors(embedder, images) @ rows.T
            above = cosines.max(1) > limit
            first = cosines.argmax(1) == np.arange(len(images))
            if name in ("redraw", "sibling"):
                yield f"| {embedder.name} | {name}: above | {len(images)} | {share(above)} | |"
            else:
                yield f"| {embedder.name} | {name} | {len(images)} | {share(above & first)} | {first.mean():.3f} |"


def make_trial(vae: Any, made: tuple[World, Stock], sizes: Sizes) -> Trial:
    """Paint the scenes of a world and damage them; all but the index goes through the autoencoder."""
    (world, stock), rng = made, np.random.default_rng(SEED)

    def trip(images: Images, noise: float) -> Images:
        starts = range(0, len(images), CHUNK)
        return np.concatenate([round_trip(vae, images[i : i + CHUNK], i, noise) for i in starts])

    def painted(scenes: Sequence[Scene]) -> Images:
        return np.stack([paint(scene, stock.pictures) for scene in scenes])

    scenes = list(islice(world.stream(FAR_AWAY), sizes.index + sizes.strangers))
    every = painted(scenes)
    index, strangers = every[: sizes.index], trip(every[sizes.index :], 0.0)
    queries = dict(levels(index[: sizes.queries], trip, rng))
    queries["redraw"] = trip(painted([redraw(rng, s) for s in scenes[: sizes.queries]]), 0.0)
    queries["sibling"] = trip(painted([sibling(rng, s, world.names) for s in scenes[: sizes.queries]]), 0.0)
    return Trial(index, strangers, queries)


def levels(originals: Images, trip: Trip, rng: np.random.Generator) -> Iterator[tuple[str, Images]]:
    """From what an autoencoder does to what a bad sample looks like."""
    plain = trip(originals, 0.0)
    yield "round trip", plain
    yield "round trip, noise 8, blur 0.7 px", _noisy(_blurred(plain, 0.7), rng, 8)
    yield "noise 16, blur 1 px", _noisy(_blurred(plain, 1.0), rng, 16)
    yield "noise in latents, up to 0.5", trip(originals, 0.5)
    yield "noise in latents, up to 1", trip(originals, 1.0)
    yield "blur 2.5 px", _blurred(plain, 2.5)
    yield "half as bright a contrast", (plain * 0.5 + originals.mean((1, 2), keepdims=True) * 0.5).astype(np.uint8)
    yield "shift 2 px", np.roll(plain, (1, 2), (1, 2))


def share(hits: Bool[np.ndarray, " query"]) -> str:
    """`share [interval]`."""
    low, high = interval(int(hits.sum()), len(hits))
    return f"{hits.mean():.3f} [{low:.3f}, {high:.3f}]"


def threshold(nearest: Float[np.ndarray, " query"], level: float = LEVEL) -> float:
    """A similarity of a non-copy that at most a share `level` of them exceed: of 2,000, the second highest."""
    return float(np.quantile(nearest, 1 - level, method="higher"))


def vectors(embedder: Embeds, images: Images) -> Vectors:
    """One row for each image."""
    pictures = [Image.fromarray(x) for x in images]
    return np.concatenate([embedder.embed(pictures[i : i + CHUNK]) for i in range(0, len(pictures), CHUNK)])


def _blurred(images: Images, sigma: float) -> Images:
    return np.stack([ndimage.gaussian_filter(x, (sigma, sigma, 0)) for x in images])


def _noisy(images: Images, rng: np.random.Generator, size: float) -> Images:
    return (images + rng.normal(0, size, images.shape)).clip(0, 255).round().astype(np.uint8)
