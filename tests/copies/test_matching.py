"""A copy needs both: the embedder's threshold and the pixels; whatever cannot be compared says so."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from memdetect.copies import measures
from memdetect.copies.embedders import load_embedder
from memdetect.copies.index import (
    BuildOptions,
    build_index,
    open_index,
)
from memdetect.copies.match import ONE_COLOUR
from memdetect.copies.matching import Evidence, decide, evidence, look_up_files
from memdetect.copies.measures import common_size, comparable, measure, measure_all
from memdetect.copies.pixels import CopyRule, ms_ssim, tile_distance
from memdetect.errors import MemdetectError

EMBEDDER = load_embedder("pixels")


def blocks(seed: int, size: tuple[int, int] = (64, 64)) -> Image.Image:
    cells = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(cells).resize(size, Image.Resampling.NEAREST)


def jpeg(image: Image.Image) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=60)
    return Image.open(file).convert("RGB")


def brighter(image: Image.Image) -> Image.Image:
    """The same thumbnail direction with other pixels: what an embedder without brightness or contrast confuses."""
    return Image.fromarray((128 + (np.asarray(image, np.float32) - 128) * 0.2).astype(np.uint8))


def redrawn(image: Image.Image) -> Image.Image:
    """The same thumbnail with other detail all over: what an embedder of thumbnails confuses."""
    pixels = np.asarray(brighter(image), np.float32)
    signs = np.random.default_rng(5).choice([-90.0, 90.0], (16, 16))
    detail = np.kron(signs, np.array([[1, -1], [-1, 1]])).repeat(2, 0).repeat(2, 1)  # no mean over 4 x 4 pixels
    return Image.fromarray((pixels + detail[..., None]).clip(0, 255).astype(np.uint8))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    for seed in range(40):
        blocks(seed).save(tmp_path / "images" / f"{seed:02d}.png")
    build_index([tmp_path / "images"], EMBEDDER, tmp_path / "i", BuildOptions(level=0.05, planted=0))
    return tmp_path


def test_copies_strangers_and_disagreement(folder):
    index = open_index(folder / "i")
    images = [jpeg(blocks(7)), blocks(900), redrawn(blocks(9)), brighter(blocks(9))]
    found = evidence(images, index, EMBEDDER, 2)
    assert [(m.seed, m.rank) for m in found] == [(k, rank) for k in range(4) for rank in (1, 2)]
    copy, stranger, other, faded = found[0], found[2], found[4], found[6]
    assert (copy.row, copy.similar, copy.copy_found) == (7, True, True)
    assert (stranger.similar, stranger.copy_found) == (False, False)
    assert (other.row, other.similar, other.copy_found, other.partial_found) == (9, True, False, False)
    assert (faded.row, faded.similar, faded.tile > CopyRule().tile) == (9, True, True)
    original = np.asarray(blocks(7))
    assert copy.tile == pytest.approx(tile_distance(np.asarray(images[0]), original), abs=1e-6)
    assert copy.ssim == pytest.approx(ms_ssim(np.asarray(images[0]), original), abs=1e-9)
    outcomes = [decide([m for m in found if m.seed == k], index) for k in range(4)]
    assert outcomes[:3] == [("copy", ""), ("clear", ""), ("similar", "similar, but the pixels differ")]
    assert outcomes[3][0] != "clear"  # the structure of the whole comes back, at a fifth of the contrast


def test_pixels_alone_make_no_copy(folder):
    """A rule that lets everything pass: what is not similar is still no copy."""
    found = evidence([blocks(900)], open_index(folder / "i"), EMBEDDER, 3, CopyRule(tile=1, ssim=-1))
    assert not any(match.copy_found for match in found)
    assert all(match.tile is not None for match in found)
    strict = evidence([blocks(7)], open_index(folder / "i"), EMBEDDER, 1, CopyRule(tile=-1, telling=2))
    assert (strict[0].similar, strict[0].copy_found) == (True, False)


def test_a_training_image_that_is_gone_or_changed_proves_nothing(folder):
    index = open_index(folder / "i")
    (folder / "images" / "07.png").unlink()
    blocks(8, (65, 64)).save(folder / "images" / "08.png")
    gone, changed = (m for m in evidence([blocks(7), blocks(8)], index, EMBEDDER, 1) if m.rank == 1)
    assert (gone.similar, gone.copy_found, gone.tile) == (True, False, None)
    assert gone.note == "the training image cannot be opened"
    assert (changed.similar, changed.copy_found, changed.tile) == (True, False, None)
    assert changed.note == "the training image has changed since it was indexed"
    assert decide([gone], index) == ("inconclusive", f"may be a copy: {gone.note}")


def test_a_copy_behind_nearer_siblings_is_found_however_few_are_kept(folder):
    """The nearest row by the embedder has other pixels; the copy stands second."""
    brighter(blocks(7)).save(folder / "images" / "7-faded.png")
    options = BuildOptions(level=0.05, planted=0, replace=True)
    index = build_index([folder / "images"], EMBEDDER, folder / "i", options)
    image = Image.blend(blocks(7), brighter(blocks(7)), 0.15)
    both = evidence([image], index, EMBEDDER, 2)
    order = [i for i, m in enumerate(both) if m.copy_found]
    one = evidence([image], index, EMBEDDER, 1)
    assert [m.rank for m in one] == sorted({1, *(m.rank for m in both if m.copy_found or m.partial_found)})
    assert decide(one, index) == decide(both, index) == ("copy", "")
    (folder / "images" / f"{Path(both[order[0]].path).name}").unlink()
    gone = evidence([image], open_index(folder / "i"), EMBEDDER, 1)
    assert [m.note for m in gone if m.tile is None] == ["the training image cannot be opened"]
    far = evidence([blocks(900)], index, EMBEDDER, 1)
    assert [m.rank for m in far] == [1]


def test_every_picture_that_an_image_repeats_is_kept_however_few_are_asked_for(folder):
    """Whoever answers for a copy of one of them answers for no other."""
    jpeg(blocks(7)).save(folder / "images" / "7-again.png")
    options = BuildOptions(level=0.05, planted=0, replace=True)
    index = build_index([folder / "images"], EMBEDDER, folder / "i", options)
    one = evidence([blocks(7)], index, EMBEDDER, 1)
    assert {Path(m.path).name for m in one if m.copy_found} == {"07.png", "7-again.png"}


def test_too_few_reference_images_for_their_level_make_nothing_suspicious(folder):
    options = BuildOptions(level=0.001, planted=0, replace=True)
    index = build_index([folder / "images"], EMBEDDER, folder / "i", options)
    found = evidence([redrawn(blocks(9))], index, EMBEDDER, 1)
    assert found[0].similar
    assert decide(found, index) == ("inconclusive", "similar, but 40 reference images cannot show a level of 0.001")
    assert decide(evidence([blocks(9)], index, EMBEDDER, 1), index)[0] == "copy"


def test_another_embedder_is_refused_and_no_image_gives_nothing(folder):
    index = open_index(folder / "i")
    assert evidence([], index, EMBEDDER) == []
    with pytest.raises(MemdetectError, match=r"made with embedder pixels .* this is pdq"):
        evidence([blocks(0)], index, load_embedder("pdq"))
    with pytest.raises(MemdetectError, match="top-k is 0"):
        evidence([blocks(0)], index, EMBEDDER, 0)


def test_files_are_looked_up_in_their_order_whatever_the_batch(folder, monkeypatch):
    paths = [folder / "images" / f"{i:02d}.png" for i in range(5)]
    paths[2].write_text("no image")
    index = open_index(folder / "i")
    whole = list(look_up_files(paths, index, EMBEDDER, 1))
    monkeypatch.setattr("memdetect.copies.matching.BATCH", 2)
    assert list(look_up_files(paths, index, EMBEDDER, 1)) == whole
    assert [row.outcome for row in whole] == ["copy", "copy", "inconclusive", "copy", "copy"]
    assert "not an image of a known format" in whole[2].reason
    assert [row.matches[0].row for row in whole if row.matches] == [0, 1, 3, 4]
    assert all(match.seed == 0 for row in whole for match in row.matches)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ((64, 64), (64, 64), (64, 64)),
        ((64, 64), (512, 512), (256, 256)),
        ((512, 512), (100, 100), (256, 256)),
        ((100, 100), (80, 80), (100, 100)),
        ((32, 32), (16, 16), (64, 64)),
        ((512, 256), (64, 64), (128, 256)),
        ((1000, 10), (64, 64), (44, 256)),
    ],
)
def test_the_common_size(one, other, expected):
    assert common_size(Image.new("RGB", one), Image.new("RGB", other)) == expected


def test_a_copy_in_another_size_and_crop_is_measured_as_one():
    tile, ssim, agree = measure(blocks(3), blocks(3, (200, 200)))
    assert agree
    assert (tile, ssim) == (pytest.approx(0, abs=0.1), pytest.approx(1, abs=0.05))
    wide = Image.new("RGB", (128, 64), "white")
    wide.paste(blocks(3), (32, 0))
    assert measure(blocks(3), wide)[2]
    assert not measure(blocks(3), blocks(4))[2]


@pytest.mark.parametrize("at_once", [1, 2 * 64 * 64, 2**20])
def test_measured_together_or_alone_is_the_same(monkeypatch, at_once):
    """Sizes mixed and out of order; by at most `at_once` pixels a time."""
    monkeypatch.setattr(measures, "AT_ONCE", at_once)
    others = [blocks(k, size) for k, size in enumerate([(64, 64), (200, 200), (64, 64), (128, 64), (64, 64), (64, 64)])]
    pairs = [(jpeg(blocks(k % 4)), other) for k, other in enumerate(others)]
    together = measure_all([comparable(*pair) for pair in pairs])
    assert together == [pytest.approx(measure(*pair), abs=1e-6) for pair in pairs]
    assert {agree for *_, agree in together} == {False, True}
    assert measure_all([]) == []


@pytest.mark.parametrize("size", [(64, 16), (4000, 8), (16, 64), (96, 24)])
def test_narrow_images_are_compared_from_end_to_end(size):
    """Equal in the middle third and elsewhere of another colour; and each equal to itself."""
    one = blocks(5, size)
    other = Image.new("RGB", size, "black")
    third = [slice(side // 3, -(side // 3)) if side == max(size) else slice(None) for side in (size[1], size[0])]
    values = np.asarray(other).copy()
    values[*third] = np.asarray(one)[*third]
    assert not measure(one, Image.fromarray(values))[2]
    assert measure(one, one) == (0, pytest.approx(1), True)


def test_large_images_are_looked_up_a_few_at_a_time(folder, monkeypatch):
    held = []
    monkeypatch.setattr("memdetect.copies.matching.WAITING", 3 * 64 * 64)
    monkeypatch.setattr("memdetect.copies.matching._looked", lambda waiting, *_: held.append(len(waiting)) or [])
    list(look_up_files(sorted((folder / "images").iterdir())[:8], open_index(folder / "i"), EMBEDDER))
    assert held == [3, 3, 2]


def test_more_pixels_than_allowed_is_one_images_fate_and_the_index_remembers_its_own(folder, monkeypatch):
    index = open_index(folder / "i")
    paths = [folder / "images" / "07.png", folder / "images" / ("x" * 300 + ".png")]
    small, long = look_up_files(paths, index, EMBEDDER, max_pixels=100)
    assert small.outcome == long.outcome == "inconclusive"
    assert "4,096 pixels are more than the 100 allowed" in small.reason
    assert "cannot be read (File name too long)" in long.reason
    monkeypatch.setattr("memdetect.copies.matching.MAX_PIXELS", 100)
    assert next(iter(look_up_files(paths, index, EMBEDDER, max_pixels=4096))).outcome == "copy"


def test_a_scan_compares_what_can_decide_and_the_nearest(folder):
    """The same copies and the same unseen ones; of what is merely near the first alone has pixel measures."""
    found = Evidence(open_index(folder / "i"), EMBEDDER, 4)
    images: list[Image.Image] = [blocks(3), blocks(7)]
    images.append(Image.new("RGB", (64, 64), "red"))
    spare, every = found.of(images), evidence(images, found.index, found.embedder, 4)
    assert [(m.seed, m.rank, m.copy_found) for m in spare] == [(m.seed, m.rank, m.copy_found) for m in every]
    assert sum(m.copy_found for m in spare) == 2
    for few, full in zip(spare, every, strict=True):
        assert full.note == (ONE_COLOUR if full.seed == 2 else "")
        assert (full.tile is None) == (full.seed == 2)
        assert (few == full) if full.similar or full.rank == 1 else (few.tile is None or few == full)


class Breaks:
    """The embedder of pixels, which gives no number for a red image, and a zero vector for a blue one."""

    name, dim, fingerprint = EMBEDDER.name, EMBEDDER.dim, EMBEDDER.fingerprint

    def embed(self, images, /):
        vectors = EMBEDDER.embed(images)
        for vector, image in zip(vectors, images, strict=True):
            vector *= {(255, 0, 0): np.nan, (0, 0, 255): 0}.get(image.getpixel((0, 0)), 1)
        return vectors


def test_an_embedding_that_is_not_finite_is_said_and_stops_nobody(folder, tmp_path):
    """It used to end the scan; now the image has no match, and the others have theirs."""
    index = open_index(folder / "i")
    images = [blocks(3), Image.new("RGB", (64, 64), "red"), blocks(7), Image.new("RGB", (64, 96), "blue")]
    seen = Evidence(index, Breaks(), 1).look_up(images)
    assert seen.finite == [True, False, True, False]
    assert [(m.seed, m.row, m.copy_found) for m in seen.matches] == [(0, 3, True), (2, 7, True)]
    assert Evidence(index, Breaks(), 1).of(images) == seen.matches
    assert Evidence(index, Breaks(), 1).of(images[1:2]) == []
    images[1].save(tmp_path / "red.png")
    red, three = look_up_files([tmp_path / "red.png", folder / "images" / "03.png"], index, Breaks(), 1)
    assert (red.outcome, red.matches) == ("inconclusive", [])
    assert "its embedding is not finite" in red.reason
    assert three.outcome == "copy"


def test_one_similar_image_that_is_gone_leaves_a_copy_possible(folder):
    """Two are similar: one has other pixels, the other is not there any more."""
    brighter(blocks(7)).save(folder / "images" / "7-faded.png")
    options = BuildOptions(level=0.05, planted=0, replace=True)
    index = build_index([folder / "images"], EMBEDDER, folder / "i", options)
    image = redrawn(blocks(7))
    assert decide(evidence([image], index, EMBEDDER, 3), index)[0] == "similar"
    (folder / "images" / "07.png").unlink()
    outcome, reason = decide(evidence([image], index, EMBEDDER, 3), index)
    assert (outcome, reason) == ("inconclusive", "may be a copy: the training image cannot be opened")
