"""An image drawn as it lies on another, with Pillow."""

from PIL import Image

from memdetect.copies.match import Affine

OUTSIDE = (222, 222, 222)  # where the training image has something and the output ends


def aligned(output: Image.Image, size: tuple[int, int], affine: Affine) -> Image.Image:
    """An output as it lies on a training image of this size (width, height); light grey where it has nothing."""
    a, b, c, d, e, f = affine
    (width, height), (across, down) = size, output.size
    pixels = (a * across / width, b * across / height, c * across, d * down / width, e * down / height, f * down)
    return output.convert("RGB").transform(
        size, Image.Transform.AFFINE, pixels, Image.Resampling.BILINEAR, fillcolor=OUTSIDE
    )
