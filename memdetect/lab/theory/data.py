"""Training sets of the theory lab: picture tiles, a folder of images, or a Gaussian mixture that is known exactly."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from PIL import Image, ImageDraw

from memdetect.errors import MemdetectError
from memdetect.inputs.images import open_image, to_array
from memdetect.lab.theory.forms import Mixture, Samples

SIDE = 32
GROUNDS = (0.9, -0.8)  # light and dark, of a range from -1 to 1
SIZES = (12, 16, 20, 24)
POOL = 1500  # rare samples to choose from
CROWDED = 9  # pictures on a tile of which little ground is left
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601, Pillow's grey
ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"})


@dataclass(frozen=True, slots=True)
class Data:
    """Samples to train on and fresh ones of the same law, with the cluster of each.

    `rare`: candidates for images to memorize, of which a few are chosen that lie on different sides of the origin.
    side: pixels of a picture's edge, 0 for vectors that are no pictures. mixture: the law itself, where it is known.
    """

    name: str
    train: Samples
    cluster: Int[np.ndarray, " sample"]
    fresh: Float[np.ndarray, "fresh dim"]
    fresh_cluster: Int[np.ndarray, " fresh"]
    rare: Float[np.ndarray, "rare dim"]
    side: int = 0
    mixture: Mixture | None = None

    def clusters(self) -> list[Samples]:
        """The training samples of each cluster that has any."""
        return [self.train[self.cluster == k] for k in np.unique(self.cluster)]


def cut_out(picture: np.ndarray, tolerance: int = 40) -> Image.Image:
    """Make the white that touches the border of a picture (uint8 [row, col, 3]) transparent."""
    rows, columns = picture.shape[:2]
    framed = Image.new("RGB", (columns + 2, rows + 2), "white")
    framed.paste(Image.fromarray(picture), (1, 1))
    mark = (255, 0, 255)
    ImageDraw.floodfill(framed, (0, 0), mark, thresh=tolerance)
    ground = (np.asarray(framed)[1:-1, 1:-1] == mark).all(axis=2)
    made = Image.fromarray(picture).convert("RGBA")
    made.putalpha(Image.fromarray(np.where(ground, 0, 255).astype(np.uint8)))
    return made


def clip_art() -> Mapping[str, Image.Image]:
    """The bundled clip art with its white ground taken away; nothing is fetched."""
    from memdetect.lab.world.stock import load_clips

    return {name: cut_out(picture) for name, picture in load_clips().items()}


def _patches(pictures: Mapping[str, Image.Image]) -> list[np.ndarray]:
    """Grey and opacity of every picture at every size, float32 [row, col, 2]; grey in [-1, 1], opacity in [0, 1]."""
    patches: list[np.ndarray] = []
    for picture in pictures.values():
        for size in SIZES:
            small = np.asarray(picture.convert("RGBa").resize((size, size), Image.Resampling.BOX).convert("RGBA"))
            grey = (small[..., :3] @ LUMA) / np.float32(127.5) - np.float32(1)
            patches.append(np.stack([grey, small[..., 3] / np.float32(255)], axis=2))
    return patches


def paint_tiles(
    pictures: Mapping[str, Image.Image], grounds: Sequence[float], number: int, rng: np.random.Generator
) -> Float[np.ndarray, "tile pixel"]:
    """One tile of 32 x 32 grey pixels in [-1, 1] for each ground, with `number` pictures pasted at random on it."""
    patches, made = _patches(pictures), np.empty((len(grounds), SIDE, SIDE), dtype=np.float32)
    for tile, ground in zip(made, grounds, strict=True):
        tile[:] = ground
        for which in rng.integers(len(patches), size=number):
            patch = patches[int(which)][:, :: 1 if rng.random() < 0.5 else -1]
            size, overhang = len(patch), len(patch) // 4
            top, left = (int(v) for v in rng.integers(-overhang, SIDE - size + overhang + 1, size=2))
            inside = slice(max(top, 0), min(top + size, SIDE)), slice(max(left, 0), min(left + size, SIDE))
            seen = patch[inside[0].start - top : inside[0].stop - top, inside[1].start - left : inside[1].stop - left]
            tile[inside] += seen[..., 1] * (seen[..., 0] - tile[inside])
    return made.reshape(len(grounds), SIDE * SIDE).astype(np.float64)


def named_pictures() -> Mapping[str, Image.Image]:
    """The pictures of the lab's world. Raises MemdetectError when they are neither in the cache nor to be fetched."""
    from memdetect.lab.world.pictures import draw, fetch

    return draw(fetch(), size=max(SIZES) * 2)


def tiles(
    count: int, seed: int, fresh: int = 500, pictures: Mapping[str, Image.Image] | None = None, name: str = "tiles"
) -> Data:
    """Tiles of two pictures on a light or a dark ground, which are the two clusters; rare ones are crowded.

    `pictures`: RGBA by name, by default the bundled clip art. The same seed gives the same tiles.
    """
    pictures = clip_art() if pictures is None else pictures
    parts = [_scenes(pictures, number, rng) for number, rng in zip((count, fresh), _streams(seed), strict=False)]
    (train, which), (unseen, other) = parts
    rng = _streams(seed)[2]
    rare = paint_tiles(pictures, [GROUNDS[k] for k in rng.integers(2, size=POOL)], CROWDED, rng)
    return Data(name, train, which, unseen, other, rare, side=SIDE)


def _streams(seed: int) -> list[np.random.Generator]:
    """For training, fresh and rare samples: how many there are of one kind changes none of the others."""
    return [np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(3)]


def _scenes(
    pictures: Mapping[str, Image.Image], count: int, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "tile pixel"], Int[np.ndarray, " tile"]]:
    """Tiles of two pictures and which ground each has; more of them begin with the fewer ones."""
    grounds, places = rng.spawn(2)
    which = grounds.integers(2, size=count)
    return paint_tiles(pictures, [GROUNDS[k] for k in which], 2, places), which


def from_folder(folder: Path, count: int, seed: int, fresh: int = 500) -> Data:
    """Images of a folder as 32 x 32 grey pixels, cropped to a square; clusters: two, by direction from the origin.

    At most `count` are trained on; a tenth, at most `fresh`, is kept apart. Raises MemdetectError for a folder that
    is missing or holds fewer than 20 images, and for a file that cannot be read.
    """
    if not folder.is_dir():
        raise MemdetectError(f"{str(folder)!r} is no folder; give tiles, pictures, mixture or a folder of images")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS)
    if len(paths) < 20:
        raise MemdetectError(f"{str(folder)!r} holds {len(paths)} images, expected at least 20; give more of them")
    order = np.random.default_rng(seed).permutation(len(paths))[: count + fresh]
    grey = np.stack([_grey(paths[int(i)]) for i in order])
    held = min(fresh, len(grey) // 10)
    which, name = two_sides(grey), folder.name or str(folder)
    return Data(name, grey[held:], which[held:], grey[:held], which[:held], grey[held:][:POOL], side=SIDE)


def _grey(path: Path) -> Float[np.ndarray, " pixel"]:
    pixels = np.einsum("crk,c->rk", to_array(open_image(path).image, (SIDE, SIDE)), LUMA)
    if not pixels.any():
        raise MemdetectError(f"{str(path)!r} is all middle grey, the origin of the data; leave it out")
    return pixels.reshape(-1).astype(np.float64)


def two_sides(samples: Samples, rounds: int = 20) -> Int[np.ndarray, " sample"]:
    """Two clusters by direction: k-means on the unit sphere, begun from the mean's farthest sample and its opposite.

    One cluster where the two centres are less than 90 degrees apart, since the theory would take them for one.
    """
    unit = samples / np.linalg.norm(samples, axis=1, keepdims=True)
    first = unit[np.argmin(unit @ unit.mean(axis=0))]
    centres = np.stack([first, unit[np.argmin(unit @ first)]])
    which = np.zeros(len(unit), dtype=np.int64)
    for _ in range(rounds):
        which = np.argmax(unit @ centres.T, axis=1)
        if len(np.unique(which)) < 2:
            return np.zeros(len(unit), dtype=np.int64)
        centres = np.stack([unit[which == k].mean(axis=0) for k in range(2)])
        centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    return which if centres[0] @ centres[1] < 0 else np.zeros(len(unit), dtype=np.int64)


def known_mixture(
    clusters: int = 4, dim: int = 24, norm: float = 6.0, spread: Sequence[float] = (1.5, 1.0, 0.6), rest: float = 0.05
) -> Mixture:
    """Equal Gaussian clusters whose means form a simplex (cosine -1 / (K - 1)); all are at `norm` from the origin.

    spread: standard deviations along directions of the cluster's own, orthogonal to its mean; `rest` along the others.
    Raises MemdetectError when dim has too few directions.
    """
    if dim < clusters + clusters * len(spread):
        raise MemdetectError(f"{clusters} clusters of {len(spread)} own directions need more than {dim} dimensions")
    corners = np.eye(clusters) - 1 / clusters
    means = np.zeros((clusters, dim))
    means[:, :clusters] = norm * corners / np.linalg.norm(corners[0])
    covariances = np.stack([rest**2 * np.eye(dim)] * clusters)
    for k in range(clusters):
        for j, deviation in enumerate(spread):
            own = clusters + k * len(spread) + j
            covariances[k, own, own] = deviation**2
    return Mixture(np.full(clusters, 1 / clusters), means, covariances)


def from_mixture(count: int, seed: int, fresh: int = 500, mixture: Mixture | None = None) -> Data:
    """Samples of a mixture that is known exactly, by default `known_mixture()`."""
    mixture = mixture or known_mixture()
    (train, which), (unseen, other), (rare, _) = (
        mixture.draw(number, rng) for number, rng in zip((count, fresh, POOL), _streams(seed), strict=True)
    )
    return Data("mixture", train, which, unseen, other, rare, mixture=mixture)


def separate(
    pool: Float[np.ndarray, "rare dim"], count: int, away: Sequence[Float[np.ndarray, " dim"]] = (), starts: int = 40
) -> Int[np.ndarray, " chosen"]:
    """Indices of `count` samples whose largest cosine, among themselves and with `away`, is as small as found.

    Greedy from several first samples, then one member exchanged at a time while that helps. Deterministic.
    """
    unit = pool / np.linalg.norm(pool, axis=1, keepdims=True)
    fixed = [unit @ (vector / np.linalg.norm(vector)) for vector in away]
    outside = np.max(fixed, axis=0) if fixed else np.full(len(unit), -1.0)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, 2.0)  # never the same sample twice
    firsts = np.argsort(outside, kind="stable")[np.linspace(0, len(unit) - 1, min(starts, len(unit))).astype(int)]
    found = [_exchange(cosines, outside, _greedy(cosines, outside, int(first), count)) for first in firsts]
    return np.array(min(found, key=lambda chosen: _worst(cosines, outside, chosen)))


def _greedy(cosines: np.ndarray, outside: np.ndarray, first: int, count: int) -> list[int]:
    chosen = [first]
    while len(chosen) < count:
        chosen.append(int(np.argmin(np.maximum(cosines[chosen].max(axis=0), outside))))
    return chosen


def _worst(cosines: np.ndarray, outside: np.ndarray, chosen: Sequence[int]) -> float:
    inner = cosines[np.ix_(chosen, chosen)] - 4 * np.eye(len(chosen))
    return float(max(inner.max(), outside[list(chosen)].max()))


def _exchange(cosines: np.ndarray, outside: np.ndarray, chosen: list[int]) -> list[int]:
    for _ in range(20):
        before = _worst(cosines, outside, chosen)
        for place in range(len(chosen)):
            others = chosen[:place] + chosen[place + 1 :]
            best = int(np.argmin(np.maximum(cosines[others].max(axis=0), outside) if others else outside))
            trial = [*chosen[:place], best, *chosen[place + 1 :]]
            if _worst(cosines, outside, trial) < _worst(cosines, outside, chosen):
                chosen = trial
        if _worst(cosines, outside, chosen) >= before:
            break
    return chosen
