"""Pictures of too little texture for an embedder of codes: never taken for covered, never taken for searched."""

from dataclasses import replace
from math import isnan
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_pictures import QUICK, fill, natural

from memdetect.copies.compared import plain
from memdetect.copies.embedders import Embedder, load_embedder
from memdetect.copies.index import FAINT, Index, build_index, open_index, sound
from memdetect.copies.matching import TOO_FAINT, Evidence, look_up, look_up_files
from memdetect.detectors.pictures import by_embedder
from memdetect.errors import MemdetectError
from memdetect.probing import Decoded
from memdetect.runs.index_facts import found_by
from memdetect.runs.records import Measurement
from memdetect.scanning.soundness import checked

FEW = replace(QUICK, planted=0)


def faint(seed: int, size: tuple[int, int] = (96, 96)) -> Image.Image:
    """A smooth ramp in colours, steep enough to be seen: 150 of 255 from end to end."""
    rng = np.random.default_rng(seed)
    across, down = np.meshgrid(np.linspace(0, 1, size[0]), np.linspace(0, 1, size[1]))
    tilt = rng.uniform(0, 1, 3)
    values = 40 + 150 * (across[..., None] * tilt + down[..., None] * (1 - tilt))
    return Image.fromarray(values.round().astype(np.uint8))


@pytest.fixture(scope="module")
def tiles() -> Embedder:
    return load_embedder("pdq-tiles")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiles: Embedder) -> Path:
    """An index of thirty pictures, two faint ones and one of a single colour."""
    base = tmp_path_factory.mktemp("faint")
    fill(base / "images", range(30))
    for seed in range(2):
        faint(seed).save(base / "images" / f"faint-{seed}.png")
    Image.new("RGB", (64, 64), "blue").save(base / "images" / "blue.png")
    build_index([base / "images"], tiles, base / "i", replace(FEW, training_set=33))
    return base


@pytest.fixture
def index(folder: Path, tiles: Embedder) -> Index:
    return open_index(folder / "i", tiles)


def test_a_code_of_nothing_is_none(tiles):
    assert tiles.codes is not None
    pictures = [natural(0), faint(0), Image.new("RGB", (9, 9), "red")]
    assert not plain(pictures[1])
    for codes in (tiles.codes.gallery(pictures), tiles.codes.queries(pictures)):
        assert sound(codes) == [True, False, False]
        assert sound(codes[:0]) == []


def test_training_pictures_without_a_code_are_left_out_and_said(index):
    """One of a single colour is a copy of nothing, so that nothing is missed of it: its row stays."""
    manifest = index.manifest
    assert manifest.skipped == {FAINT: 2}
    assert (len(index), manifest.pictures, manifest.coverage) == (31, 31, 31 / 33)
    assert found_by(manifest.model_dump(mode="json"))["left_out"] == 2
    assert any(row.path.endswith("blue.png") for row in index.rows)


def test_an_image_without_a_code_is_inconclusive(folder, index, tiles):
    paths = [folder / "images" / name for name in ("faint-0.png", "0003.png", "blue.png")]
    looked = list(look_up_files(paths, index, tiles))
    assert [each.outcome for each in looked] == ["inconclusive", "copy", "clear"]
    assert looked[0].reason == TOO_FAINT
    assert "cannot be looked up: too little texture for the embedder;" in TOO_FAINT
    assert not looked[0].matches


def test_an_item_with_such_an_image_was_not_searched(index, tiles):
    """Nor is it broken: its status stays, and its scores count."""
    images = [Decoded(np.asarray(image), finite=True) for image in (natural(5), faint(1))]
    row = checked(Measurement(index=0, id="x", source=""), None, images, Evidence(index, tiles))
    assert (row.status, row.one_colour) == ("ok", [])
    assert row.notes == ["image 1 cannot be looked up: too little texture for the embedder"]
    assert {match.seed for match in row.matches} == {0}


def test_one_decoding_with_a_code_is_looked_up(index, tiles):
    (seen,) = look_up([[faint(0), natural(3)]], index, tiles).finite
    assert seen
    rim = np.interp(np.arange(192), [0, 48, 144, 191], [90, 128, 128, 166])
    flat = Image.fromarray(np.tile(rim.astype(np.uint8), (96, 1))).convert("RGB")  # of one colour about its centre
    assert look_up([[flat], [Image.new("RGB", (192, 96))]], index, tiles).finite == [False, True]


def test_faint_crops_of_a_picture_are_noted_and_the_picture_counts_once(tmp_path, tiles):
    fill(tmp_path / "images", range(20))
    faint(0, (150, 100)).save(tmp_path / "images" / "faint.png")
    wide = Image.new("RGB", (300, 100))
    wide.paste(faint(1, (200, 100)), (0, 0))
    wide.paste(natural(1, 100), (200, 0))
    wide.save(tmp_path / "images" / "wide.png")
    made = build_index([tmp_path / "images"], tiles, tmp_path / "i", replace(FEW, as_trained="64,random")).manifest
    assert made.skipped == {FAINT: 1}
    assert made.noted[f"crops or decodings left out: {FAINT}"] > 3
    assert made.pictures == 21


def test_nothing_but_faint_pictures_is_no_index(tmp_path, tiles):
    (tmp_path / "images").mkdir()
    faint(0).save(tmp_path / "images" / "a.png")
    with pytest.raises(MemdetectError, match=r"none of 1 images could be used; the first: .*a.png.*too little texture"):
        build_index([tmp_path / "images"], tiles, tmp_path / "i", FEW)


def test_faint_pictures_say_nothing_of_agreement(tiles):
    assert isnan(by_embedder([natural(0), faint(0)], tiles))
    assert by_embedder([natural(0), natural(0)], tiles) == 1
