"""What a damage is: a pure function of a picture, a generator and another picture, whose content may be taken."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from PIL import Image

Alone: TypeAlias = Callable[[Image.Image, np.random.Generator], Image.Image]
Make: TypeAlias = Callable[[Image.Image, np.random.Generator, Image.Image], Image.Image]


def alone(make: Alone) -> Make:
    """A damage that takes nothing of another picture."""
    return lambda image, rng, _other: make(image, rng)


def chain(*makes: Make) -> Make:
    """One damage after the other."""

    def make(image: Image.Image, rng: np.random.Generator, other: Image.Image) -> Image.Image:
        for each in makes:
            image = each(image, rng, other)
        return image

    return make
