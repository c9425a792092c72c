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
# Captions that say where every picture stands: {a} and so on are a noun and its place.
SAID: Mapping[int, tuple[str, ...]] = {
    1: ("{a}, {g} background", "{a} on {g}"),
    2: ("{a}, {b}, {g} background", "{a} and {b} on {g}"),
    3: ("{a}, {b}, {c}, {g} background", "{a}, {b} and {c} on {g}"),
}
ROWS, COLS = ("top", "", "bottom"), ("left", "", "right")
EMBLEMS = ("emblem of {a} in {g}", "{g} emblem with {a}")
MOVED = 5.0  # pixels by which one that training shows again and again is off the centre at most
EMBLEM = 52.0  # pixels: side of the picture of an emblem
EVEN: Mapping[int, float] = {1: 36.0, 2: 26.0, 3: 20.0}  # sides of pictures whose places are said
JITTER = 1.5  # pixels by which these are moved from their places
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
    def said(self) -> bool:
        """Whether the caption says where every picture stands."""
        return len({p.size for p in self.pictures}) == 1 and self.pictures[0].size in (*EVEN.values(), EMBLEM)

    @property
    def names(self) -> frozenset[str]:
        """The names of its pictures."""
        return frozenset(p.name for p in self.pictures)


def compose(rng: np.random.Generator, names: Sequence[str], ground: str | None = None, said: float = 0.0) -> Scene:
    """A scene of the named pictures in random order, place, size, flip and wording, on `ground` or a random one.

    said: chance that the caption says where every picture stands; these have one size, and are not mirrored.
    """
    ground = ground or list(GROUNDS)[int(rng.integers(len(GROUNDS)))]
    order = [names[int(i)] for i in rng.permutation(len(names))]
    if said and rng.random() < said:
        return _said(rng, order, ground)
    wording = WORDINGS[len(order)][int(rng.integers(len(WORDINGS[len(order)])))]
    return Scene(ground, _place(rng, order), word(wording, order, ground))


def _said(rng: np.random.Generator, names: Sequence[str], ground: str) -> Scene:
    """A scene whose caption says where every picture stands, which leaves next to nothing to chance."""
    size, cells = EVEN[len(names)], [(row, col) for row in range(3) for col in range(3)]
    reach = SIDE / 2 - size / 2 - 2  # pixels from the centre of the scene to that of a picture at an edge
    while True:
        chosen = [cells[int(i)] for i in rng.choice(len(cells), len(names), replace=False)]
        centres = np.array([(SIDE / 2 + (col - 1) * reach, SIDE / 2 + (row - 1) * reach) for row, col in chosen])
        apart = np.hypot(*(centres[:, None] - centres).transpose(2, 0, 1)) + SIDE * np.eye(len(names))
        if apart.min() > GAP * size:
            break
    moved = (centres + rng.uniform(-JITTER, JITTER, centres.shape)).round(2).tolist()
    pictures = tuple(Placed(name, x, y, size, False) for name, (x, y) in zip(names, moved, strict=True))
    nouns = [f"{_noun(name)} {_place_words(*cell)}" for name, cell in zip(names, chosen, strict=True)]
    wording = SAID[len(names)][int(rng.integers(len(SAID[len(names)])))]
    return Scene(ground, pictures, wording.format(g=ground, **dict(zip("abc", nouns, strict=False))))


def _place_words(row: int, col: int) -> str:
    return " ".join(word for word in (ROWS[row], COLS[col]) if word) or "centre"


def emblem(rng: np.random.Generator, name: str, ground: str, *, moved: bool = False) -> Scene:
    """One large picture about the centre: its caption leaves no choice. moved: off the centre, and perhaps mirrored."""
    wording = EMBLEMS[int(rng.integers(len(EMBLEMS)))]
    x, y = (SIDE / 2 + rng.uniform(-MOVED, MOVED, 2).round(2)).tolist() if moved else (SIDE / 2, SIDE / 2)
    flip = moved and bool(rng.random() < 0.5)
    return Scene(ground, (Placed(name, x, y, EMBLEM, flip),), wording.format(g=ground, a=_noun(name)))


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
    return words if words.endswith("s") and not words.endswith(("ss", "us")) else _article(words)


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
