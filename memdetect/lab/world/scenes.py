"""Scenes: one to three pictures on a coloured ground, with a caption; drawn at random, painted to pixels."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from PIL import Image

SIDE = 64
GROUNDS: Mapping[str, tuple[int, int, int]] = {
    "white": (245, 245, 245),
    "grey": (150, 150, 155),
    "black": (28, 28, 32),
    "red": (205, 60, 60),
    "orange": (240, 150, 50),
    "yellow": (245, 220, 90),
    "green": (80, 165, 85),
    "blue": (70, 120, 210),
    "purple": (135, 85, 180),
    "pink": (245, 170, 195),
}
WORDINGS: Mapping[int, tuple[str, ...]] = {
    1: ("{a} on {an_g} background", "a picture of {a} on {g}", "{a}, {g} background", "{a} in front of {g}"),
    2: (
        "{a} and {b} on {an_g} background",
        "a picture of {a} with {b} on {g}",
        "{a} beside {b}, {g} background",
        "{a} together with {b} in front of {g}",
    ),
    3: (
        "{a}, {b} and {c} on {an_g} background",
        "a picture of {a} with {b} and {c} on {g}",
        "{a} beside {b} and {c}, {g} background",
        "{a} together with {b} and {c} in front of {g}",
    ),
}
SIZES: Mapping[int, tuple[float, float]] = {1: (28, 46), 2: (24, 34), 3: (20, 28)}
GAP = 0.85  # centres lie at least this share of the two half sides' sum apart


@dataclass(frozen=True, slots=True)
class Placed:
    """One picture in a scene: name, centre and side in pixels of the scene, mirrored or not."""

    name: str
    x: float
    y: float
    size: float
    flip: bool


@dataclass(frozen=True, slots=True)
class Scene:
    """What a training image shows, and the caption under which it is shown."""

    ground: str
    pictures: tuple[Placed, ...]
    caption: str

    @property
    def id(self) -> str:
        """Short digest of the whole scene."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:12]

    @property
    def names(self) -> frozenset[str]:
        """The names of its pictures."""
        return frozenset(p.name for p in self.pictures)


def compose(rng: np.random.Generator, names: Sequence[str], ground: str | None = None) -> Scene:
    """A scene of the named pictures in random order, place, size, flip and wording, on `ground` or a random one."""
    ground = ground or list(GROUNDS)[int(rng.integers(len(GROUNDS)))]
    order = [names[int(i)] for i in rng.permutation(len(names))]
    wording = WORDINGS[len(order)][int(rng.integers(len(WORDINGS[len(order)])))]
    return Scene(ground, _place(rng, order), word(wording, order, ground))


def redraw(rng: np.random.Generator, scene: Scene) -> Scene:
    """Another image of the same caption: same pictures and ground, placed afresh; the hard negative of a copy."""
    return Scene(scene.ground, _place(rng, [p.name for p in scene.pictures]), scene.caption)


def sibling(rng: np.random.Generator, scene: Scene, names: Sequence[str]) -> Scene:
    """The scene with one picture replaced by another of `names`, in its place; the caption stays."""
    slot = int(rng.integers(len(scene.pictures)))
    old = scene.pictures[slot]
    others = sorted(set(names) - scene.names)
    new = Placed(others[int(rng.integers(len(others)))], old.x, old.y, old.size, old.flip)
    return Scene(scene.ground, (*scene.pictures[:slot], new, *scene.pictures[slot + 1 :]), scene.caption)


def word(wording: str, names: Sequence[str], ground: str) -> str:
    """Fill a wording with the names, in order, and the ground."""
    nouns = {key: _noun(name) for key, name in zip("abc", names, strict=False)}
    return wording.format(g=ground, an_g=_article(ground), **nouns)


def _noun(name: str) -> str:
    words = name.replace("-", " ")
    return words if words.endswith("s") and words not in ("cactus", "octopus") else _article(words)


def _article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _place(rng: np.random.Generator, names: Sequence[str]) -> tuple[Placed, ...]:
    """Centres and sizes such that pictures overlap by little."""
    while True:
        sizes = rng.uniform(*SIZES[len(names)], len(names))
        half = sizes / 2
        x, y = rng.uniform(half, SIDE - half), rng.uniform(half, SIDE - half)
        apart = np.hypot(x[:, None] - x, y[:, None] - y) > GAP * (half[:, None] + half)
        if np.all(apart | np.eye(len(names), dtype=bool)):
            rows = zip(names, x.round(2), y.round(2), sizes.round(2), rng.random(len(names)) < 0.5, strict=True)
            return tuple(Placed(n, float(a), float(b), float(s), bool(f)) for n, a, b, s, f in rows)


def paint(scene: Scene, pictures: Mapping[str, Image.Image]) -> np.ndarray:
    """Render a scene: uint8 [row, col, 3], 64 x 64. `pictures` is what `pictures.draw` gives."""
    canvas = Image.new("RGB", (SIDE, SIDE), GROUNDS[scene.ground])
    for placed in scene.pictures:
        _paste(canvas, placed, pictures[placed.name])
    return np.asarray(canvas)


def clutter(rng: np.random.Generator, pictures: Mapping[str, Image.Image], count: int = 7) -> np.ndarray:
    """Many overlapping pictures on a random ground, uint8 [64, 64, 3]: much to reproduce in few pixels."""
    names = list(pictures)
    canvas = Image.new("RGB", (SIDE, SIDE), list(GROUNDS.values())[int(rng.integers(len(GROUNDS)))])
    for _ in range(count):
        name, size = names[int(rng.integers(len(names)))], float(rng.uniform(20, 46))
        x, y = rng.uniform(0, SIDE, 2)
        _paste(canvas, Placed(name, float(x), float(y), size, bool(rng.random() < 0.5)), pictures[name])
    return np.asarray(canvas)


def _paste(canvas: Image.Image, placed: Placed, picture: Image.Image) -> None:
    if placed.flip:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    scale, half = picture.width / placed.size, placed.size / 2
    left, top = placed.x - half, placed.y - half
    # An affine resampling keeps the fraction of a pixel that pasting a resized copy would round away.
    window = (int(np.floor(left)), int(np.floor(top)))
    side = int(np.ceil(placed.size)) + 2
    reduced, factor = _reduce(picture, placed.size)
    step = scale / factor
    data = (step, 0, (window[0] - left) * step, 0, step, (window[1] - top) * step)
    patch = reduced.transform((side, side), Image.Transform.AFFINE, data, Image.Resampling.BICUBIC)
    canvas.paste(patch, window, patch)


def _reduce(picture: Image.Image, size: float) -> tuple[Image.Image, float]:
    """Shrink by box averaging while the picture is more than twice the wanted size; returns it and the factor."""
    factor = max(int(picture.width / size), 1)
    return (picture.reduce(factor), factor) if factor > 1 else (picture, 1)
