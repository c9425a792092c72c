"""What holds for every row of the table, whatever it computes."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from memdetect.copies.embedders import EMBEDDERS, load_embedder
from memdetect.copies.embedders.embedder import Row, fingerprint
from memdetect.errors import MemdetectError

every_embedder = pytest.mark.parametrize("name", EMBEDDERS)


def pictures(count: int, size: tuple[int, int] = (48, 40)) -> list[Image.Image]:
    rng = np.random.default_rng(count)
    coarse = [rng.integers(0, 256, (5, 6, 3), dtype=np.uint8) for _ in range(count)]
    return [Image.fromarray(x).resize(size, Image.Resampling.BICUBIC) for x in coarse]


@every_embedder
def test_rows_are_unit_vectors_of_the_stated_dimension(name, loaded):
    embedder = loaded(name)
    vectors = embedder.embed(pictures(3))
    assert vectors.shape == (3, embedder.dim)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert embedder.embed([]).shape == (0, embedder.dim)


@every_embedder
def test_the_same_again_and_whatever_stands_beside_it(name, loaded):
    """Order and batch mates change nothing; images of other sizes among them do not either."""
    embedder, images = loaded(name), pictures(3)
    mixed = [images[2], *pictures(1, (70, 30)), images[0], images[1]]
    whole, other = embedder.embed(images), embedder.embed(mixed)
    np.testing.assert_array_equal(whole, embedder.embed(images))
    np.testing.assert_allclose(other[[2, 3, 0]], whole, atol=1e-5)
    np.testing.assert_allclose(embedder.embed(images[1:2])[0], whole[1], atol=1e-5)
    assert np.abs(whole[0] - whole[1]).max() > 1e-3, "two images have one vector"


@every_embedder
@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "CMYK", "I;16"])
def test_any_mode(name, mode, loaded):
    grey = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 13), dtype=np.uint8))
    image = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257) if mode == "I;16" else grey.convert(mode)
    assert image.mode == mode
    vector = loaded(name).embed([image])[0]
    assert np.isfinite(vector).all()
    if mode in ("L", "LA", "RGBA", "I;16"):  # the others lose or change values
        np.testing.assert_allclose(vector, loaded(name).embed([grey.convert("RGB")])[0], atol=1e-5)


@every_embedder
def test_what_is_transparent_is_white(name, loaded):
    rgba = np.random.default_rng(1).integers(0, 256, (16, 16, 4), dtype=np.uint8)
    rgba[..., 3] = np.where(np.arange(16) < 8, 255, 0)
    seen = np.where(rgba[..., 3:] == 255, rgba[..., :3], 255).astype(np.uint8)
    found, expected = loaded(name).embed([Image.fromarray(rgba), Image.fromarray(seen)])
    np.testing.assert_allclose(found, expected, atol=1e-5)


@every_embedder
@pytest.mark.parametrize("size", [(1, 1), (1, 37), (37, 1)])
def test_any_size(name, size, loaded):
    vector = loaded(name).embed([Image.new("RGB", size, (200, 30, 90))])[0]
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-6)


@every_embedder
def test_a_float_image_is_one_line(name, loaded):
    with pytest.raises(MemdetectError, match="32 bits"):
        loaded(name).embed([Image.new("F", (8, 8))])


@every_embedder
def test_a_row_says_what_it_is(name):
    row = EMBEDDERS[name]
    assert row.name == name
    assert row.licence
    assert row.about
    assert row.preprocessing


def test_fingerprints_differ_and_follow_every_part(loaded):
    marks = {name: loaded(name).fingerprint for name in EMBEDDERS}
    assert len(set(marks.values())) == len(EMBEDDERS)
    base = ("a", 4, {"side": 8, "mean": [0.5]}, "00")
    variants = [base, ("b", *base[1:]), ("a", 5, *base[2:]), (*base[:2], {"side": 9, "mean": [0.5]}, "00")]
    variants += [(*base[:2], {"side": 8, "mean": [0.51]}, "00"), (*base[:3], "01")]
    assert len({fingerprint(*x) for x in variants}) == len(variants)
    assert fingerprint("a", 4, {"mean": [0.5], "side": 8}, "00") == fingerprint(*base)


@pytest.mark.parametrize("name", ["pixels", "pdq"])
def test_the_fingerprint_of_an_embedder_is_that_of_its_row(name):
    row: Row = EMBEDDERS[name]
    changed = replace(row, preprocessing={**row.preprocessing, "more": 1})
    assert load_embedder(name).fingerprint == fingerprint(name, row.dim, row.preprocessing, "")
    assert changed.ready(lambda images: np.ones((1, 1))).fingerprint != load_embedder(name).fingerprint


def test_an_unknown_name_is_refused_with_the_closest():
    with pytest.raises(MemdetectError, match="did you mean 'pixels'"):
        load_embedder("pixel")


def test_the_table_and_embedders_without_weights_load_no_torch():
    code = "import sys; from memdetect.copies.embedders import *; load_embedder('pdq'); print('torch' in sys.modules)"
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
