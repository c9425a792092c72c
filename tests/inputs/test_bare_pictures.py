"""A decoded picture is its pixels and nothing else: no transparency to be composited again, no marks to differ by."""

import io
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from memdetect.copies.embedders import load_embedder
from memdetect.inputs.images import open_ways, to_rgb, ways_of

SIDE = 16
KEYS = {"1": 0, "L": 90, "P": 3, "RGB": (90, 90, 90), "I;16": 90}  # that a PNG may name as transparent


def drawn(mode: str) -> Image.Image:
    """Blocks of a few greys, one of them that of KEYS; half of the pixels clear where the mode has alpha."""
    rng = np.random.default_rng(7)
    grey = np.kron(rng.choice(np.array([10, 90, 200], np.uint8), (4, 4)), np.ones((4, 4), np.uint8))
    if mode == "I;16":
        return Image.fromarray(grey.astype(np.uint16))
    if mode == "P":
        image = Image.fromarray(grey // 30, "P")  # 0, 3 and 6
        image.putpalette([value for k in range(8) for value in (30 * k, 255 - 30 * k, 40)])
        return image
    image = Image.fromarray(grey).convert(mode.removesuffix("A") or mode)
    if mode in ("LA", "RGBA"):
        image.putalpha(Image.fromarray(np.where(grey == 90, 0, 255).astype(np.uint8)))
    return image


def saved(folder: Path, mode: str, keyed: bool) -> Path:
    path = folder / ("a.jpg" if mode == "CMYK" else "a.png")
    drawn(mode).save(path, **({"transparency": KEYS[mode]} if keyed else {}))
    return path


MODES = [*product(KEYS, (False, True)), ("LA", False), ("RGBA", False), ("CMYK", False)]


@pytest.mark.parametrize(("mode", "keyed"), MODES)
def test_no_decoding_is_transparent(tmp_path, mode, keyed):
    """So that what an embedder sees of a row is the pixels that are compared with it."""
    path = saved(tmp_path, mode, keyed)
    ways = open_ways(path)
    assert len(ways) > 1 or not (keyed or mode in ("LA", "RGBA"))
    with Image.open(path) as file:
        file.load()
        ways += ways_of(file)
    for opened in ways:
        assert opened.image.mode == "RGB"
        assert not opened.image.info
        assert not opened.image.has_transparency_data
        np.testing.assert_array_equal(np.asarray(to_rgb(opened.image)), np.asarray(opened.image))


@pytest.mark.parametrize("mode", ["P", "RGB"])
def test_a_row_as_stored_has_another_vector_than_the_one_on_white(tmp_path, mode):
    ways = {opened.way: opened.image for opened in open_ways(saved(tmp_path, mode, keyed=True))}
    white, plain = load_embedder("pixels").embed([ways["white"], ways["plain"]])
    assert white @ plain < 0.99


def test_an_opaque_picture_with_marks_of_its_printer_is_one_picture(tmp_path):
    image = drawn("RGB").convert("RGBA")
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image.save(tmp_path / "a.png", dpi=(300, 300), icc_profile=profile)
    assert [opened.way for opened in open_ways(tmp_path / "a.png")] == ["white"]
    file = io.BytesIO((tmp_path / "a.png").read_bytes())
    assert [opened.way for opened in ways_of(Image.open(file))] == ["white"]
