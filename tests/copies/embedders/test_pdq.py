"""PDQ: known hashes of a second library, the published steps one by one, and what it is stable against."""

from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import fft, ndimage

from memdetect.copies.embedders import load_embedder
from memdetect.copies.embedders.pdq import _box, dct, pdq, quality, samples


def hamming(one, other):
    """Number of bits that differ, 0 to 256; the authors call 31 and below a match."""
    return int((one != other).sum())


def waves(width: int, height: int, seed: int = 0) -> Image.Image:
    """A smooth colour image from a formula: a sum of plane waves."""
    y, x = np.mgrid[0:height, 0:width] / np.array([height, width]).reshape(2, 1, 1)
    total = np.zeros((height, width, 3))
    for k in range(1, 8):
        u, v, p = (7 * k + 3 * seed) % 11 - 5, (5 * k + 2 * seed) % 9 - 4, 0.7 * k + seed
        total += np.sin(2 * np.pi * (u * x + v * y) + p)[..., None] * np.array([1.0, 0.8, 0.6]) / k
    return Image.fromarray((127.5 + 45 * total).clip(0, 255).round().astype(np.uint8))


def texture(width: int, height: int, seed: int = 0) -> Image.Image:
    """Contrast at all of PDQ's frequencies, so that no bit hangs on rounding."""
    coarse = np.random.default_rng(seed).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def hexadecimal(bits: np.ndarray) -> str:
    """The usual writing: the last bit first."""
    return "".join(f"{int(''.join('01'[int(b)] for b in four), 2):x}" for four in bits[::-1].reshape(64, 4))


KNOWN = {
    (64, 64, 0): ("fdc22b25b3a20b256a6d2b25b67c8325a1aca225a21fab50febefc07a00fd59a", 100),
    (128, 200, 1): ("23f4837569368375216d83755e1cab7d20958355f6157c000b7dd44cff367c83", 100),
    (300, 129, 2): ("02358a9da2358a9daa35829d0a3d829da835f7e8774caaf7031fffaa5f007c62", 100),
    (512, 512, 3): ("1ac4aaf91ef580f9485980f99bf100f952ac00f7087dff2298f97732221dff46", 100),
    (257, 100, 4): ("77d4f4fed48e54fe161854fe4c0ed5fed55454b98aae5481fe1801e554a0aa05", 100),
}


@pytest.mark.parametrize("case", KNOWN)
def test_known_hashes_of_pdqhash(case):
    """Computed with pdqhash 0.2.8, which wraps the authors' C++ code."""
    bits, value = pdq(waves(*case))
    assert (hexadecimal(bits), value) == KNOWN[case]


def test_the_transform_is_scipys():
    small = np.random.default_rng(0).normal(size=(64, 64))
    expected = fft.dctn(small, norm="ortho")[1:17, 1:17]
    np.testing.assert_allclose(dct() @ small @ dct().T, expected, atol=1e-12)


@pytest.mark.parametrize("size", [64, 100, 128, 129, 300, 512])
def test_the_filter_is_a_mean_over_a_window_cut_off_at_the_edges(size):
    values = np.random.default_rng(size).normal(size=(size, 3))
    window = -(-size // 128)
    for i in range(size):
        part = values[max(0, i - (window - 1) // 2) : i + window // 2 + 1]
        np.testing.assert_allclose(_box(values, 0)[i], part.mean(0), atol=1e-12)
    np.testing.assert_array_equal(_box(values.T.copy(), 1), _box(values, 0).T)


def test_samples_are_luma_at_the_centres_of_blocks():
    pixels = np.random.default_rng(1).integers(0, 256, (64, 128, 3), dtype=np.uint8)
    luma = pixels @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(samples(Image.fromarray(pixels)), luma[:, 1::2], atol=1e-9)


def test_quality_of_stripes_by_hand():
    # 63 neighbours in each of 64 rows; a step of 255 counts 100, one of 12 counts 4 (4.7 cut off).
    small = np.tile(np.where(np.arange(64) % 2 == 0, 0.0, 12.0), (64, 1))
    assert quality(small) == min(100, 63 * 64 * 4 // 90)
    one = np.zeros((64, 64))
    one[:, 32:] = 255.0
    assert quality(one) == 64 * 100 // 90
    assert quality(np.full((64, 64), 17.0)) == 0


def test_a_plain_image_has_no_bits_and_no_quality():
    for colour in ("white", "red", (17, 130, 201)):
        bits, value = pdq(Image.new("RGB", (300, 200), colour))
        assert not bits.any()
        assert value == 0


@given(st.integers(0, 10**6))
@settings(max_examples=15)
def test_half_of_the_bits_are_set_and_cosine_is_hamming(seed):
    rng = np.random.default_rng(seed)
    one, other = (Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)) for _ in range(2))
    (a, _), (b, _) = pdq(one), pdq(other)
    assert a.sum() == b.sum() == 128
    vectors = load_embedder("pdq").embed([one, other])
    assert float(vectors[0] @ vectors[1]) == pytest.approx(1 - 2 * hamming(a, b) / 256, abs=1e-6)


def test_compressed_resized_and_noisy_copies_match_and_mirrored_do_not():
    for seed in range(4):
        image = texture(320, 240, seed)
        original, _ = pdq(image)
        file = BytesIO()
        image.save(file, "JPEG", quality=40)
        noisy = np.asarray(image) + np.random.default_rng(seed).normal(0, 8, (240, 320, 3))
        same = {
            "jpeg": Image.open(file),
            "smaller": image.resize((160, 120), Image.Resampling.LANCZOS),
            "larger than 512": image.resize((900, 640), Image.Resampling.BICUBIC),
            "blurred": Image.fromarray(ndimage.gaussian_filter(np.asarray(image), (1.5, 1.5, 0))),
            "noisy": Image.fromarray(noisy.clip(0, 255).astype(np.uint8)),
        }
        assert {k: d for k, x in same.items() if (d := hamming(original, pdq(x)[0])) > 31} == {}
        for turn in (Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.FLIP_TOP_BOTTOM, Image.Transpose.ROTATE_90):
            assert hamming(original, pdq(image.transpose(turn))[0]) > 90


def test_a_mirrored_image_has_the_odd_columns_negated():
    """What the DCT says: odd horizontal frequencies change sign, even ones stay."""
    image = waves(64, 64, 3)
    there = dct() @ samples(image) @ dct().T
    back = dct() @ samples(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)) @ dct().T
    sign = np.where(np.arange(1, 17) % 2 == 1, -1.0, 1.0)
    np.testing.assert_allclose(back, there * sign, atol=1e-9)
