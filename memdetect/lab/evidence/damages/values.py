"""What the pixels say: blurred, noisy, compressed, recoloured. PIL image, generator -> PIL image."""

from io import BytesIO

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from memdetect.lab.evidence.damages.make import Alone

SIDE = 512  # a blur's pixels are those of a picture whose longer side is this


def blurred(pixels: float) -> Alone:
    """A Gaussian of about so many pixels, at a longer side of 512."""

    def make(image: Image.Image, rng: np.random.Generator) -> Image.Image:
        sigma = pixels * rng.uniform(0.9, 1.1) * max(image.size) / SIDE
        return image.filter(ImageFilter.GaussianBlur(sigma))

    return make


def noisy(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Gaussian noise of 10 to 25 levels of 255."""
    pixels = np.asarray(image, np.float32)
    noise = rng.normal(0, rng.uniform(10, 25), pixels.shape)
    return Image.fromarray((pixels + noise).clip(0, 255).round().astype(np.uint8))


def compressed(form: str, quality: int) -> Alone:
    """Through a JPEG or WEBP file of about a quality."""

    def make(image: Image.Image, rng: np.random.Generator) -> Image.Image:
        return _through(image, form, int(rng.integers(quality - 5, quality + 6)))

    return make


def compressed_again(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Three JPEG files, of qualities about 30, 60 and 40, each of another size."""
    size = image.size
    for quality in (30, 60, 40):
        scale = rng.uniform(0.6, 0.95)
        small = image.resize((round(scale * size[0]), round(scale * size[1])), Image.Resampling.BILINEAR)
        image = _through(small, "JPEG", int(rng.integers(quality - 5, quality + 6)))
    return image.resize(size, Image.Resampling.BILINEAR)


def _through(image: Image.Image, form: str, quality: int) -> Image.Image:
    file = BytesIO()
    image.save(file, form, quality=quality)
    return Image.open(file).convert("RGB")


def paler(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """About 0.6 of the contrast."""
    return ImageEnhance.Contrast(image).enhance(rng.uniform(0.55, 0.65))


def relit(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Darker or brighter by 20 to 35 %."""
    return ImageEnhance.Brightness(image).enhance(_away(rng, 0.20, 0.35))


def resaturated(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Colours weaker or stronger by 40 to 70 %."""
    return ImageEnhance.Color(image).enhance(_away(rng, 0.40, 0.70))


def rehued(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Every hue turned by 20 to 60 degrees, either way."""
    hsv = np.array(image.convert("HSV"))
    turn = round(_away(rng, 20, 60, 0) * 256 / 360)
    hsv[..., 0] = (hsv[..., 0].astype(int) + turn) % 256
    return Image.fromarray(hsv, "HSV").convert("RGB")


def tinted(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A colour cast: each channel weaker or stronger by up to 25 %."""
    pixels = np.asarray(image, np.float32) * rng.uniform(0.75, 1.25, 3)
    return Image.fromarray(pixels.clip(0, 255).round().astype(np.uint8))


def bent(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A gamma of 0.5 to 0.8, or its inverse."""
    gamma = rng.uniform(0.5, 0.8) ** rng.choice([-1.0, 1.0])
    return Image.fromarray((255 * (np.asarray(image, np.float32) / 255) ** gamma).round().astype(np.uint8))


def grey(image: Image.Image, _rng: np.random.Generator) -> Image.Image:
    """No colours."""
    return ImageOps.grayscale(image).convert("RGB")


def recoloured(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """One of the changes of colour, at random."""
    makes = (paler, relit, resaturated, rehued, tinted, bent)
    return makes[int(rng.integers(len(makes)))](image, rng)


def _away(rng: np.random.Generator, low: float, high: float, centre: float = 1) -> float:
    """A number between `low` and `high` away from the centre, on either side."""
    return float(centre + rng.choice([-1, 1]) * rng.uniform(low, high))
