"""A labelled training set: scenes of one or two pictures on a coloured ground, some of them shown again and again.

Which scenes are duplicated is drawn by lot from one pool, so that neither content nor wording gives a duplicate away.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations

import numpy as np
from PIL import Image

from memdetect.lab.pictures import NAMES

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
WORDINGS_ONE = ("{a} on a {g} background", "a picture of {a} on {g}", "{a}, {g} background", "{a} in front of {g}")
WORDINGS_TWO = (
    "{a} and {b} on a {g} background",
    "a picture of {a} with {b} on {g}",
    "{a} beside {b}, {g} background",
    "{a} together with {b} in front of {g}",
)


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


@dataclass(frozen=True, slots=True)
class World:
    """The training set as a rule: a pool split by lot into `duplicated` and `controls`, a stream without its pairs."""

    seed: int
    names: tuple[str, ...]
    duplicated: tuple[Scene, ...]
    controls: tuple[Scene, ...]
    held_out: tuple[tuple[str, str], ...]

    @property
    def reserved(self) -> frozenset[frozenset[str]]:
        """Pairs of names that the stream never shows together."""
        pool = [frozenset(p.name for p in s.pictures) for s in (*self.duplicated, *self.controls)]
        return frozenset([*pool, *(frozenset(pair) for pair in self.held_out)])

    def stream(self, start: int = 0) -> Iterator[Scene]:
        """Endless fresh scenes; scene i depends on (seed, i) alone, so that training resumes anywhere."""
        reserved, index = self.reserved, start
        while True:
            yield _fresh(np.random.default_rng([self.seed, 1, index]), self.names, reserved)
            index += 1


def make_world(seed: int = 0, pool: int = 80, duplicated: int = 40, held_out: int = 200) -> World:
    """Draw a world: a pool of two-picture scenes, `duplicated` of them chosen by lot, and pairs kept from the stream.

    `held_out` pairs of names are in no training image at all, for clean prompts beside those of the stream.
    """
    rng = np.random.default_rng([seed, 0])
    pairs = list(combinations(NAMES, 2))
    chosen = [pairs[i] for i in rng.permutation(len(pairs))[: pool + held_out]]
    scenes = [_scene(rng, list(pair)) for pair in chosen[:pool]]
    lot = rng.permutation(pool)
    return World(
        seed=seed,
        names=NAMES,
        duplicated=tuple(scenes[i] for i in sorted(lot[:duplicated])),
        controls=tuple(scenes[i] for i in sorted(lot[duplicated:])),
        held_out=tuple(chosen[pool:]),
    )


def clean_captions(world: World, count: int, seed: int = 0) -> list[str]:
    """`count` different captions of scenes that were never duplicated, half of them with held-out pairs of names."""
    rng = np.random.default_rng([world.seed, 2, seed])
    pool = {s.caption for s in (*world.duplicated, *world.controls)}
    found: list[str] = []
    seen = set(pool)
    while len(found) < count:
        if len(found) % 2:
            pair = world.held_out[int(rng.integers(len(world.held_out)))]
            caption = _scene(rng, list(pair)).caption
        else:
            caption = _two(rng, world.names, world.reserved).caption
        if caption not in seen:
            seen.add(caption)
            found.append(caption)
    return found


def _fresh(rng: np.random.Generator, names: Sequence[str], reserved: frozenset[frozenset[str]]) -> Scene:
    if rng.random() < 0.35:
        return _scene(rng, [names[int(rng.integers(len(names)))]])
    return _two(rng, names, reserved)


def _two(rng: np.random.Generator, names: Sequence[str], reserved: frozenset[frozenset[str]]) -> Scene:
    while True:
        a, b = (names[int(i)] for i in rng.choice(len(names), 2, replace=False))
        if frozenset((a, b)) not in reserved:
            return _scene(rng, [a, b])


def _scene(rng: np.random.Generator, names: list[str]) -> Scene:
    ground = list(GROUNDS)[int(rng.integers(len(GROUNDS)))]
    order = [names[int(i)] for i in rng.permutation(len(names))]
    wordings = WORDINGS_TWO if len(order) == 2 else WORDINGS_ONE
    words = {"g": ground, **{key: _noun(name) for key, name in zip("ab", order, strict=False)}}
    caption = wordings[int(rng.integers(len(wordings)))].format(**words)
    return Scene(ground, _place(rng, order), caption)


def _noun(name: str) -> str:
    words = name.replace("-", " ")
    if words.endswith("s") and words not in ("cactus", "octopus"):
        return words
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _place(rng: np.random.Generator, names: Sequence[str]) -> tuple[Placed, ...]:
    """Centres and sizes such that two pictures overlap by little: the smaller distance rule is on their centres."""
    while True:
        sizes = rng.uniform(24, 36 if len(names) == 2 else 46, len(names))
        half = sizes / 2
        x, y = rng.uniform(half, SIDE - half), rng.uniform(half, SIDE - half)
        apart = len(names) == 1 or np.hypot(x[0] - x[1], y[0] - y[1]) > 0.9 * half.sum()
        if apart:
            rows = zip(names, x.round(2), y.round(2), sizes.round(2), rng.random(len(names)) < 0.5, strict=True)
            return tuple(Placed(n, float(a), float(b), float(s), bool(f)) for n, a, b, s, f in rows)


def paint(scene: Scene, pictures: Mapping[str, Image.Image]) -> np.ndarray:
    """Render a scene: uint8 [row, col, 3], 64 x 64. `pictures` is what `pictures.draw` gives."""
    canvas = Image.new("RGB", (SIDE, SIDE), GROUNDS[scene.ground])
    for placed in scene.pictures:
        picture = pictures[placed.name]
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
    return np.asarray(canvas)


def _reduce(picture: Image.Image, size: float) -> tuple[Image.Image, float]:
    """Shrink by box averaging while the picture is more than twice the wanted size; returns it and the factor."""
    factor = max(int(picture.width / size), 1)
    return (picture.reduce(factor), factor) if factor > 1 else (picture, 1)
