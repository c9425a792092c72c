"""Centred pixels: brightness goes, colour and place stay."""

import numpy as np
import pytest
from PIL import Image

from memdetect.copies.embedders import load_embedder
from memdetect.copies.embedders.pixels import thumbnail


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    a, b = load_embedder("pixels").embed([Image.fromarray(one), Image.fromarray(other)])
    return float(a @ b)


def test_a_thumbnail_by_hand():
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[0, 0, 0] = 96
    mean = 96 / 3072
    expected = np.full((32, 32, 3), 1 - mean)
    expected[0, 0, 0] = 97 - mean
    np.testing.assert_allclose(thumbnail(Image.fromarray(pixels)), expected.ravel(), atol=1e-5)


def test_brightness_does_not_count_and_contrast_hardly():
    base = np.random.default_rng(0).integers(40, 160, (64, 64, 3), dtype=np.uint8)
    assert cosine(base, base + 50) == pytest.approx(1, abs=1e-6)
    assert cosine(base, base // 2) > 0.99


def test_two_plain_images_are_equal_only_in_colour():
    grey, light, red = (np.full((8, 8, 3), c, np.uint8) for c in ((50,) * 3, (200,) * 3, (200, 0, 0)))
    assert cosine(grey, light) == pytest.approx(1, abs=1e-6)
    assert cosine(grey, red) < 0.1


def test_place_counts():
    image = np.full((64, 64, 3), 200, np.uint8)
    image[4:20, 4:20] = 0
    assert cosine(image, image[:, ::-1]) < 0.1
    assert cosine(image, np.roll(image, 1, 1)) > 0.9
