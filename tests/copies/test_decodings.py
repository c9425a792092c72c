"""Trainers decode a file in several ways: a copy of what any of them saw is found, and each picture counts once."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_pictures import picture

from memdetect.copies.embedders import load_embedder
from memdetect.copies.index import BuildOptions, Manifest, build_index, open_index
from memdetect.copies.index.manifest import MANIFEST
from memdetect.copies.matching import look_up_files
from memdetect.errors import MemdetectError
from memdetect.inputs.images import open_image, open_ways, said_ways

EMBEDDER = load_embedder("pixels")
TURNED = 6  # of EXIF: a quarter turn


def sticker(seed: int) -> Image.Image:
    """Blocks of which about half are transparent, with black stored under them."""
    shown = np.random.default_rng(seed).random((8, 8)) < 0.5
    alpha = np.kron(shown, np.ones((8, 8), np.uint8) * 255).astype(np.uint8)
    pixels = np.dstack([np.asarray(picture(seed)) * (alpha[:, :, None] > 0), alpha])
    return Image.fromarray(pixels.astype(np.uint8))


def write(kind: str, seed: int, path: Path) -> None:
    if kind == "alpha":
        sticker(seed).save(path)
    elif kind == "turned":
        exif = Image.Exif()
        exif[0x112] = TURNED
        picture(seed).save(path, exif=exif)
    elif kind == "deep":
        # Grey of 16 bits, most of it above 255: clipped, little but white is left.
        grey = np.asarray(picture(seed).convert("L")).astype(np.uint16)
        Image.fromarray(np.where(grey > 128, grey * 257, grey).astype(np.uint16)).save(path)
    else:
        picture(seed).save(path)


@pytest.fixture(scope="module", params=["alpha", "turned", "deep", "plain"])
def trained(request, tmp_path_factory):
    root = tmp_path_factory.mktemp(request.param)
    (root / "images").mkdir()
    (root / "out").mkdir()
    for seed in range(40):
        write(request.param, seed, root / "images" / f"{seed:02d}.png")
    build_index([root / "images"], EMBEDDER, root / "i", BuildOptions(level=0.05, planted=40))
    return request.param, root


def test_what_a_trainer_saw_by_convert_is_found(trained):
    """As diffusers, kohya and torchvision open files: no EXIF, no ground under transparency, 16 bits clipped."""
    _, root = trained
    for path in sorted((root / "images").iterdir()):
        Image.open(path).convert("RGB").save(root / "out" / path.name)
    index = open_index(root / "i")
    looked = list(look_up_files(sorted((root / "out").iterdir()), index, EMBEDDER))
    assert [row.outcome for row in looked] == ["copy"] * 40
    assert index.manifest.planted.copies >= 0.9


def test_a_picture_counts_once_however_it_is_decoded(trained):
    kind, root = trained
    index = open_index(root / "i")
    ways = {"alpha": 2, "turned": 2, "deep": 2, "plain": 1}[kind]
    assert (index.manifest.pictures, len(index)) == (40, 40 * ways)
    limit = index.manifest.threshold
    assert limit.queries == 40  # another decoding of a picture is no other picture: each is a reference
    assert limit.similarity is not None
    assert limit.similarity < 0.95
    assert not any(index.manifest.skipped.values())
    assert ('"decoded"' in (root / "i" / "rows.jsonl").read_text()) == (kind != "plain")


def test_given_images_are_looked_up_by_every_decoding(tmp_path):
    """Training saw plain pictures; those that are given hide them behind transparency, or lie on their side."""
    (tmp_path / "images").mkdir()
    for seed in range(40):
        picture(seed).save(tmp_path / "images" / f"{seed:02d}.png")
    build_index([tmp_path / "images"], EMBEDDER, tmp_path / "i", BuildOptions(level=0.05, planted=0))
    hidden = picture(3).convert("RGBA")
    hidden.putalpha(Image.new("L", hidden.size, 8))
    hidden.save(tmp_path / "hidden.png")
    exif = Image.Exif()
    exif[0x112] = TURNED
    picture(4).save(tmp_path / "turned.png", exif=exif)
    picture(5).save(tmp_path / "plain.png")
    paths = [tmp_path / f"{name}.png" for name in ("hidden", "turned", "plain")]
    looked = list(look_up_files(paths, open_index(tmp_path / "i"), EMBEDDER))
    assert [row.outcome for row in looked] == ["copy"] * 3
    assert [row.reason for row in looked] == [
        "looked up on white, on black and as stored",
        "looked up as shown and not turned",
        "",
    ]


def test_ways_that_give_other_pixels_by_hand(tmp_path):
    """One red pixel half transparent beside an opaque blue one, turned by 180 degrees."""
    pixels = np.array([[[255, 0, 0, 128], [0, 0, 255, 255]]], np.uint8)
    exif = Image.Exif()
    exif[0x112] = 3
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    ways = {opened.way: np.asarray(opened.image)[0].tolist() for opened in open_ways(tmp_path / "a.png")}
    blue, red, pale, dark = [0, 0, 255], [255, 0, 0], [255, 127, 127], [128, 0, 0]
    assert ways == {
        "white": [blue, pale],
        "black": [blue, dark],
        "plain": [blue, red],
        "white,unturned": [pale, blue],
        "black,unturned": [dark, blue],
        "plain,unturned": [red, blue],
    }
    for way, expected in ways.items():
        assert np.asarray(open_image(tmp_path / "a.png", way=way).image)[0].tolist() == expected
    assert said_ways(list(ways)).endswith("on black not turned and as stored not turned")


def test_a_decoding_of_a_single_colour_is_no_picture(tmp_path):
    """White drawn on nothing is white on white and, as stored, white: on black alone it can be seen."""
    alpha = np.kron(np.random.default_rng(0).random((4, 4)) < 0.5, np.ones((4, 4))).astype(np.uint8) * 255
    Image.fromarray(np.dstack([np.full((16, 16, 3), 255, np.uint8), alpha])).save(tmp_path / "a.png")
    assert [opened.way for opened in open_ways(tmp_path / "a.png")] == ["white", "black"]


def test_an_index_of_one_decoding_is_built_anew(tmp_path):
    """Indexes of an older memdetect hold transparent and turned pictures in one way, as their notes tell."""
    (tmp_path / "images").mkdir()
    for seed in range(20):
        picture(seed).save(tmp_path / "images" / f"{seed:02d}.png")
    index = build_index([tmp_path / "images"], EMBEDDER, tmp_path / "i", BuildOptions(level=0.1, planted=0))
    old: Manifest = index.manifest.model_copy(update={"noted": {"exif orientation applied": 3}})
    (tmp_path / "i" / MANIFEST).write_text(old.sealed().text())
    with pytest.raises(MemdetectError, match=r"holds 3 pictures in one decoding alone .*; build the index anew"):
        open_index(tmp_path / "i")
