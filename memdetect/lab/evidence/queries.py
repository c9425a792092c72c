"""What is asked: which pictures an index holds, which damaged copies of them are looked up, and which others."""

import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from PIL import Image

from memdetect.errors import MemdetectError
from memdetect.lab.evidence.damages import DAMAGES, sized
from memdetect.lab.evidence.pictures import Picture
from memdetect.lab.evidence.sources import Split

HELD = 0.35  # share of the pictures that are no wallpapers with tiles that the index holds
WHOLE, PARTED = 0.2, 0.35  # of those wallpapers: held whole; half of their tiles held. The others are in no way held
NEGATIVE = "no copy"
CHANGES = 2  # queries of an other picture beside the one as it is
CHANGING = ("size", "mirror", "zoom", "shift", "square crop", "quality", "colour", "combined", "rotation")
SERIES = "series beside"  # a picture of a numbered series of which the index holds others

Rng: TypeAlias = np.random.Generator


@dataclass(frozen=True, slots=True)
class Query:
    """A picture to look up. damage: "" for a picture that the index does not hold; kind: then, which kind of those.

    other: a picture that the index does not hold, of whose content a damage may take. changed: the damage of a picture
    that the index does not hold, which stays no copy.
    """

    picture: Picture
    kind: str
    damage: str = ""
    other: Picture | None = None
    changed: str = ""

    def image(self, folder: Path, side: int, seed: int) -> Image.Image:
        """The pixels: of a longer side of `side`, then damaged, at random by seed, damage and picture alone."""
        damage = self.damage or self.changed
        rng = drawn(seed, damage, self.picture.key)
        image = sized(side)(self.picture.open(folder), rng)
        return image if self.other is None else DAMAGES[damage](image, rng, self.other.open(folder))


@dataclass(frozen=True, slots=True)
class Bench:
    """The pictures of a split: those that the index holds, and the others with the kind of negatives that they are."""

    held: Sequence[Picture]
    others: Sequence[tuple[Picture, str]]

    def queries(self, per_damage: int, seed: int, damages: Sequence[str] = ()) -> Iterator[Query]:
        """Damaged copies, as evenly over the kinds of pictures as there are; then every other picture, and it changed.

        Of the damages for an other picture are those that show nothing else, CHANGES of them at random.
        """
        for name in damages or DAMAGES:
            rng = drawn(seed, name, "originals")
            fit = [picture for picture in self.held if DAMAGES[name].fits((picture.width, picture.height))]
            for picture in _evenly(fit, per_damage, rng):
                yield Query(picture, picture.kind, name, self._other(rng))
        for picture, kind in self.others:
            yield Query(picture, kind)
        for picture, kind in self.others:
            rng, size = drawn(seed, "changes", picture.key), (picture.width, picture.height)
            fit = [name for name, damage in DAMAGES.items() if damage.group in CHANGING and damage.fits(size)]
            for name in rng.choice(fit, CHANGES, replace=False).tolist():
                yield Query(picture, kind, other=self._other(rng), changed=name)

    def _other(self, rng: Rng) -> Picture:
        return self.others[int(rng.integers(len(self.others)))][0]


def drawn(seed: int, *names: str) -> Rng:
    """A generator that depends on the seed and the names alone."""
    return np.random.default_rng([seed, *(zlib.crc32(name.encode()) for name in names)])


def make_bench(pictures: Sequence[Picture], split: Split, seed: int) -> Bench:
    """Share the pictures of a split out, at random by package and kind.

    A wallpaper of which the index holds the whole has no tile anywhere in the bench, since that would be a copy of a
    part. Raises MemdetectError where either side has no picture.
    """
    own = [picture for picture in pictures if picture.split == split]
    tiles: dict[str, list[Picture]] = {}
    for picture in own:
        if picture.tile_of:
            tiles.setdefault(picture.tile_of, []).append(picture)
    held: list[Picture] = []
    others: list[tuple[Picture, str]] = []
    for place in dict.fromkeys((picture.package, picture.kind) for picture in own):
        wholes = [p for p in own if (p.package, p.kind) == place and not p.tile_of]
        rng = drawn(seed, "roles", *place)
        plain = [p for p in wholes if p.key not in tiles]
        for rank, k in enumerate(rng.permutation(len(plain))):
            held.append(plain[k]) if rank < HELD * len(plain) else others.append((plain[k], plain[k].kind))
        large = [p for p in wholes if p.key in tiles]
        for rank, k in enumerate(rng.permutation(len(large))):
            _share(large[k], tiles[large[k].key], (rank + 0.5) / len(large), (held, others))
    if not held or not others:
        raise MemdetectError(f"{len(own)} pictures of the {split} split are too few; fetch more packages")
    beside = {series(picture) for picture in held if not picture.tile_of}
    return Bench(held, [(p, SERIES if not p.tile_of and series(p) in beside else kind) for p, kind in others])


def series(picture: Picture) -> tuple[str, str]:
    """What the pictures of a series have in common: the package, and the name without its numbers."""
    name = picture.key.removeprefix(f"{picture.package}/").rpartition("-")[0]
    return picture.package, re.sub(r"\d+", "#", name)


def _share(
    whole: Picture, tiles: Sequence[Picture], at: float, into: tuple[list[Picture], list[tuple[Picture, str]]]
) -> None:
    """A wallpaper is held whole, or every other of its tiles is, or nothing of it."""
    held, others = into
    if at < WHOLE:
        held.append(whole)
    elif at < WHOLE + PARTED:
        held += tiles[::2]
        others += [(tile, "tile beside") for tile in tiles[1::2]]
    else:
        others.append((whole, whole.kind))
        others += [(tile, "tile") for tile in tiles]


def _evenly(pictures: Sequence[Picture], count: int, rng: Rng) -> list[Picture]:
    """As many pictures, each at most once, a kind and there a package after the other."""
    places: dict[tuple[str, bool], dict[str, list[Picture]]] = {}
    for k in rng.permutation(len(pictures)):
        place = places.setdefault((pictures[k].kind, bool(pictures[k].tile_of)), {})
        place.setdefault(pictures[k].package, []).append(pictures[k])
    turns = [_in_turn(list(packages.values())) for packages in places.values()]
    return _in_turn(turns)[:count]


def _in_turn(rows: Sequence[Sequence[Picture]]) -> list[Picture]:
    longest = max(map(len, rows), default=0)
    return [row[k] for k in range(longest) for row in rows if k < len(row)]
