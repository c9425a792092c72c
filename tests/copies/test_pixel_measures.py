"""Copies: known values, brute force, and that damage passes where a redraw does not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from memdetect.copies.pixels import (
    CopyRule,
    copies_of,
    is_copy,
    ms_ssim,
    pair_ssim,
    pair_tiles,
    tile_distance,
    tile_distances,
)


def noise(seed: int, count: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 64, 64, 3), dtype=np.uint8)


def square(x: int, y: int, colour: tuple[int, int, int] = (220, 40, 40)) -> np.ndarray:
    image = np.full((64, 64, 3), 200, np.uint8)
    image[y : y + 20, x : x + 20] = colour
    return image


def test_known_values():
    black, white = np.zeros((64, 64, 3), np.uint8), np.full((64, 64, 3), 255, np.uint8)
    assert tile_distance(black, white) == pytest.approx(1)
    assert tile_distance(black, black) == 0
    one_tile = black.copy()
    one_tile[:8, :16] = 255  # half of the first of 16 tiles
    assert tile_distance(black, one_tile) == pytest.approx(0.5**0.5)
    assert tile_distance(black, one_tile, tiles=1) == pytest.approx((8 * 16 / 64**2) ** 0.5)
    assert ms_ssim(noise(0)[0], noise(0)[0]) == pytest.approx(1)


def test_ms_ssim_of_two_plain_images_by_hand():
    """No structure anywhere, so that only the luminance of the last scale is left, to its weight."""
    a, b = np.full((64, 64, 3), 100, np.uint8), np.full((64, 64, 3), 150, np.uint8)
    c1 = (0.01 * 255) ** 2
    luminance = (2 * 100 * 150 + c1) / (100**2 + 150**2 + c1)
    assert ms_ssim(a, b) == pytest.approx(luminance ** (0.3001 / (0.0448 + 0.2856 + 0.3001)), rel=1e-6)


def test_ms_ssim_against_a_plain_loop_over_windows():
    x, y = noise(1)[0], ndimage.gaussian_filter(noise(1)[0], (1, 1, 0))
    luma = np.array([0.299, 0.587, 0.114])
    k = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    window = np.outer(k, k) / k.sum() ** 2
    a, b, terms = x @ luma, y @ luma, []
    for _ in range(3):
        rows = []
        for i in range(a.shape[0] - 10):
            for j in range(a.shape[1] - 10):
                p, q = a[i : i + 11, j : j + 11], b[i : i + 11, j : j + 11]
                mp, mq = (window * p).sum(), (window * q).sum()
                vp, vq = (window * p * p).sum() - mp**2, (window * q * q).sum() - mq**2
                cov = (window * p * q).sum() - mp * mq
                light = (2 * mp * mq + 6.5025) / (mp**2 + mq**2 + 6.5025)
                rows.append((light, (2 * cov + 58.5225) / (vp + vq + 58.5225)))
        terms.append(np.mean(rows, axis=0))
        a, b = (z.reshape(len(z) // 2, 2, -1, 2).mean(axis=(1, 3)) for z in (a, b))
    weights = np.array([0.0448, 0.2856, 0.3001]) / 0.6305
    expected = np.prod([t[1] ** w for t, w in zip(terms, weights, strict=True)]) * terms[-1][0] ** weights[-1]
    assert ms_ssim(x, y) == pytest.approx(expected, rel=1e-6)


def test_pairs_in_one_call_are_measured_one_by_one():
    images = noise(3, 4)
    others = np.stack([images[0], noise(9)[0], ndimage.gaussian_filter(images[2], (1, 1, 0)), 255 - images[3]])
    assert pair_ssim(images, others) == pytest.approx([ms_ssim(a, b) for a, b in zip(images, others, strict=True)])
    apart = [tile_distances(a[None], b[None])[0, 0] for a, b in zip(images, others, strict=True)]
    assert pair_tiles(images, others) == pytest.approx(apart, abs=1e-3)  # there by a product, whose digits cancel


@settings(max_examples=20)
@given(st.integers(0, 1000), st.sampled_from([1, 2, 4, 8]))
def test_all_pairs_agree_with_one_by_one(seed, tiles):
    images, others = noise(seed, 3), noise(seed + 1, 2)
    found = tile_distances(images, others, tiles)
    size = 64 // tiles
    for i in range(3):
        for k in range(2):
            square_error = ((images[i].astype(float) - others[k]) / 255) ** 2
            worst = max(
                square_error[r : r + size, c : c + size].mean() for r in range(0, 64, size) for c in range(0, 64, size)
            )
            assert found[i, k] == pytest.approx(worst**0.5, abs=1e-5)
            assert tile_distance(images[i], others[k], tiles) == pytest.approx(found[i, k], abs=1e-6)


def test_damage_is_a_copy_and_a_moved_picture_is_not():
    original = square(10, 10)
    damaged = ndimage.gaussian_filter(original, (0.7, 0.7, 0)).astype(float)
    damaged = (damaged + np.random.default_rng(0).normal(0, 8, damaged.shape)).clip(0, 255).astype(np.uint8)
    assert is_copy(original, damaged)
    for other in (square(34, 10), square(10, 10, (40, 40, 220)), square(70, 70)):
        assert not is_copy(original, other)
    # A missing picture hides behind the plain ground in the mean over the image, not in the worst tile.
    assert tile_distance(original, square(70, 70), tiles=1) < CopyRule().tile < tile_distance(original, square(70, 70))


def test_both_measures_must_hold():
    original, near = square(10, 10), square(11, 10)
    assert is_copy(original, near, CopyRule(tile=1, ssim=0))
    assert not is_copy(original, near, CopyRule(tile=0, ssim=0))
    assert not is_copy(original, near, CopyRule(tile=1, ssim=1.01))


def test_copies_of_every_pair():
    images = np.stack([square(10, 10), square(30, 30), square(11, 10)])
    expected = [[is_copy(a, b) for b in images[:2]] for a in images]
    assert copies_of(images, images[:2]).tolist() == expected
    assert expected[0] == [True, False]


def test_what_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="do not divide"):
        tile_distance(np.zeros((65, 64, 3), np.uint8), np.zeros((65, 64, 3), np.uint8))
