"""PDQ of crops: the mirror image from the same coefficients, plain pictures, and which changes leave a pair alike."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from small_pictures import natural
from test_pdq import texture

from memdetect.copies.codes import as_asked, distances, similarities
from memdetect.copies.embedders import load_embedder
from memdetect.copies.embedders.pdq import pdq
from memdetect.copies.embedders.pdq_tiles import GALLERY, QUERY, gallery, hashes, middle, queries

WHOLE = middle(1)


def apart(one: np.ndarray, other: np.ndarray) -> int:
    return int(np.bitwise_count(one ^ other).sum())


def similarity(image: Image.Image, training: Image.Image) -> float:
    return float(similarities(queries([image]), gallery([training]))[0])


@settings(max_examples=25, deadline=None)
@given(st.integers(40, 600), st.integers(40, 600), st.integers(0, 2**16))
def test_the_hash_of_the_mirror_image_comes_from_the_same_coefficients(width, height, seed):
    image = texture(width, height, seed)
    both, mirror = hashes(image, QUERY, mirrored=True), hashes(ImageOps.mirror(image), QUERY)
    turned = [_place((down, _at(across))) for down, across in QUERY]
    assert (
        max(apart(both[len(QUERY) + k], mirror[turned[k]]) for k in range(len(QUERY))) <= 2
    )  # bits that hang on rounding
    assert max(apart(both[k], both[len(QUERY) + k]) for k in range(len(QUERY))) > 60


def _place(crop):
    """The place of a crop in the table, up to rounding."""
    return min(range(len(QUERY)), key=lambda k: np.abs(np.subtract(QUERY[k], crop)).sum())


def _at(span):
    """The span of the mirror image, as the table has it."""
    return min(
        {across for _, across in QUERY}, key=lambda own: abs(own[0] - (1 - span[1])) + abs(own[1] - (1 - span[0]))
    )


@pytest.mark.parametrize("size", [(512, 512), (300, 200), (64, 64), (1000, 700)])
def test_the_hash_of_the_whole_is_nearly_pdqs(size):
    """Its tent is centred, PDQ's own lies off by up to a quarter of a sample."""
    for seed in range(4):
        image = texture(*size, seed)
        assert apart(hashes(image, WHOLE)[0], np.packbits(pdq(image)[0])) <= 31


def test_a_crop_is_hashed_as_the_picture_that_was_cut_out():
    image = texture(400, 320)
    for where in ((0.1, 0.9), (0.25, 0.75)):
        cut = image.crop((where[0] * 400, where[0] * 320, where[1] * 400, where[1] * 320))
        assert apart(hashes(image, [(where, where)])[0], hashes(cut, WHOLE)[0]) <= 2


def test_codes_have_the_shapes_that_are_stated():
    embedder = load_embedder("pdq-tiles")
    assert embedder.codes is not None
    images = [texture(64, 48, k) for k in range(3)]
    assert embedder.codes.gallery(images).shape == (3, embedder.codes.tiles, embedder.dim // 8)
    assert embedder.codes.queries(images).shape == (3, 2 * len(QUERY), embedder.dim // 8)
    assert len(GALLERY) == embedder.codes.tiles == 11
    assert embedder.codes.gallery([]).shape == (0, 11, 32)
    assert embedder.codes.queries([]).shape == (0, 34, 32)


@pytest.mark.parametrize("seed", range(3))
def test_half_of_the_bits_are_set(seed):
    """So that what is all 0, or all 1, differs from it in just half of them."""
    codes = queries([texture(200, 100, seed)])[0]
    assert (np.bitwise_count(codes).sum(1) == 128).all()


PLAIN = [
    Image.new("RGB", (64, 64), "red"),
    Image.new("L", (1, 1)),
    Image.new("RGB", (1, 300), "white"),
    Image.new("RGBA", (50, 70), (9, 9, 9, 0)),
]


@pytest.mark.parametrize("image", PLAIN)
def test_plain_pictures_are_like_nothing(image):
    """Least of all like another plain one."""
    assert not gallery([image]).any()
    for other in PLAIN:
        assert similarity(image, other) == -1
    assert similarity(image, texture(64, 64)) == 0
    assert similarity(texture(64, 64), image) == 0


def test_a_plain_part_is_like_no_other_plain_part():
    """A small thing on a plain ground keeps the code of the whole, and what lies elsewhere is another."""
    one, other = Image.new("RGB", (400, 400)), Image.new("RGB", (400, 400))
    one.paste(texture(40, 40, 1), (0, 0))
    other.paste(texture(40, 40, 2), (150, 200))
    assert similarity(one, other) < 0.6
    assert similarity(one, one) == 1
    assert gallery([one])[0].any(axis=1).sum() < 11


def test_gallery_codes_as_a_query():
    codes = gallery([texture(64, 64), PLAIN[0]])
    assert (as_asked(codes)[0] == codes[0]).all()
    assert (as_asked(codes)[1] == 255).all()
    np.testing.assert_array_equal(distances(as_asked(codes), codes), [0, 256])


@pytest.mark.parametrize("size", [(1, 300), (300, 1), (2, 500), (1, 1)])
def test_pictures_a_pixel_wide(size):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    assert gallery([image]).shape == (1, 11, 32)
    assert queries([image]).shape == (1, 34, 32)


def test_what_is_transparent_is_white():
    rgba = np.asarray(texture(80, 60).convert("RGBA")).copy()
    rgba[:, :20, 3] = 0
    seen = rgba[..., :3].copy()
    seen[:, :20] = 255
    np.testing.assert_array_equal(gallery([Image.fromarray(rgba)]), gallery([Image.fromarray(seen)]))


def zoomed(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    share = rng.uniform(0.75, 0.95)
    x, y = rng.uniform(0, 1 - share, 2) * image.size
    box = (x, y, x + share * image.width, y + share * image.height)
    return image.resize(image.size, Image.Resampling.BICUBIC, box=box)


def shifted(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    x, y = (round(part) for part in rng.uniform(-0.1, 0.1, 2) * image.size)
    filled = np.pad(np.asarray(image), ((abs(y),) * 2, (abs(x),) * 2, (0, 0)), mode="edge")
    return Image.fromarray(filled[abs(y) - y :, abs(x) - x :][: image.height, : image.width])


@pytest.mark.parametrize("change", [zoomed, shifted])
@pytest.mark.parametrize("mirrored", [False, True])
def test_zoomed_and_shifted_pictures_are_nearer_than_strangers(change, mirrored):
    rng = np.random.default_rng(0)
    pictures = [natural(seed, 256) for seed in range(24)]
    changed = [change(ImageOps.mirror(each) if mirrored else each, rng) for each in pictures]
    held = gallery(pictures)
    asked = [np.repeat(codes[None], len(held), axis=0) for codes in queries(changed)]
    nearest = np.array([similarities(codes, held).argmax() for codes in asked])
    assert (nearest == np.arange(24)).mean() >= 0.9
