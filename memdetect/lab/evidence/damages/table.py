"""The table of damages: name, group, what is done, and to which pictures."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image

from memdetect.lab.evidence.damages import content, geometry, values
from memdetect.lab.evidence.damages.make import Alone, Make, alone, chain

OBLONG = 1.1  # sides of what is cropped to a square differ by more than this


def _any(_size: tuple[int, int]) -> bool:
    return True


def _oblong(size: tuple[int, int]) -> bool:
    return max(size) > OBLONG * min(size)


@dataclass(frozen=True, slots=True)
class Damage:
    """A damage. make: of a picture, a generator and another picture. fits: which sizes it can be done to."""

    name: str
    group: str
    make: Make
    fits: Callable[[tuple[int, int]], bool] = _any

    def __call__(self, image: Image.Image, rng: np.random.Generator, other: Image.Image) -> Image.Image:
        """The damaged picture."""
        return self.make(image, rng, other)


def sized(side: int) -> Alone:
    """Resized to a longer side of so many pixels."""

    def make(image: Image.Image, _rng: np.random.Generator) -> Image.Image:
        scale = side / max(image.size)
        size = max(1, round(scale * image.width)), max(1, round(scale * image.height))
        return image.resize(size, Image.Resampling.LANCZOS) if size != image.size else image

    return make


def _enlarged(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """From 30 to 50 % of the size up to 150 to 200 %."""
    low, high = rng.uniform(0.3, 0.5), rng.uniform(1.5, 2)
    small = sized(round(low * max(image.size)))(image, rng)
    return small.resize((round(high * image.width), round(high * image.height)), Image.Resampling.BICUBIC)


def _alone(group: str, **makes: Alone) -> list[Damage]:
    return [Damage(name.replace("_", " "), group, alone(make)) for name, make in makes.items()]


_ZOOMS = [
    Damage(f"zoomed {share}, {place}", "zoom", alone(geometry.zoomed(share, place == "centre")))
    for share in (0.95, 0.9, 0.85, 0.75)
    for place in ("centre", "anywhere")
]
_SHIFTS = [Damage(f"shifted, {fill}", "shift", geometry.shifted(fill)) for fill in ("edge", "reflect", "other")]
_SQUARES = [
    Damage(f"square, {place}", "square crop", alone(geometry.squared(place == "centre")), _oblong)
    for place in ("centre", "anywhere")
]
_REPLACED = [
    Damage(f"{round(100 * share)} % {fill}, {place}", "replaced", content.replaced(share, place == "centre", fill))
    for share in (0.25, 0.45)
    for place in ("centre", "anywhere")
    for fill in ("other", "smooth")
]
_COMBINED = [
    Damage(
        "mirrored, zoomed 0.85, JPEG 50",
        "combined",
        chain(
            alone(geometry.mirrored), alone(geometry.zoomed(0.85, False)), alone(values.compressed("JPEG", quality=50))
        ),
    ),
    Damage("shifted, recoloured", "combined", chain(geometry.shifted("edge"), alone(values.recoloured))),
]
_EVERY = (
    *_alone("size", only_resized=lambda image, _: image, small_64=sized(64), small_32=sized(32), enlarged=_enlarged),
    *_alone("mirror", mirrored=geometry.mirrored),
    *_ZOOMS,
    *_SHIFTS,
    *_SQUARES,
    *_alone("quality", blurred_2_px=values.blurred(2), blurred_4_px=values.blurred(4), noisy=values.noisy),
    *_alone("quality", JPEG_50=values.compressed("JPEG", 50), WEBP_40=values.compressed("WEBP", 40)),
    *_alone("quality", JPEG_three_times=values.compressed_again),
    *_alone("colour", contrast=values.paler, brightness=values.relit, saturation=values.resaturated),
    *_alone("colour", hue=values.rehued, cast=values.tinted, gamma=values.bent, greyscale=values.grey),
    *_COMBINED,
    *_alone("frame", framed=content.framed, letterboxed=content.letterboxed, text=content.captioned),
    Damage("beside another", "frame", content.beside),
    *_REPLACED,
    *_alone("rotation", rotated_2_degrees=geometry.rotated(2), rotated_4_degrees=geometry.rotated(4)),
    *_alone("regenerated", autoencoder=content.regenerated, down_and_up_4=content.resampled),
)
DAMAGES: Mapping[str, Damage] = {damage.name: damage for damage in _EVERY}
GROUPS = tuple(dict.fromkeys(damage.group for damage in _EVERY))
