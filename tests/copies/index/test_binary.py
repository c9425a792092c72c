"""A binary index: exact against brute force, each image once, both engines, on disk, appended to, and end to end."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from small_pictures import QUICK, fill, natural, picture

from memdetect.copies.embedders import Embedder, load_embedder
from memdetect.copies.index import Searcher, build_index, open_index, verify
from memdetect.copies.index.draft import Draft, choose_factory, write_faiss
from memdetect.copies.index.faiss_work import open_codes
from memdetect.copies.index.rows import Row
from memdetect.copies.matching import look_up
from memdetect.errors import MemdetectError


def brute(queries: np.ndarray, codes: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Bits that differ between the nearest two codes of every query and image, sorted; equals in the order of rows."""
    bits, asked = (np.unpackbits(x, axis=2).astype(np.int64) for x in (codes, queries))
    apart = np.abs(asked[:, None, :, None] - bits[None, :, None]).sum(-1).min((2, 3))
    order = np.argsort(apart, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(apart, order, 1), order


def some(shape: tuple[int, int, int], values: int, seed: int) -> np.ndarray:
    """Codes of few kinds of bytes, so that many are equally far, and many equal."""
    return np.random.default_rng(seed).integers(0, values, shape).astype(np.uint8)


def written(folder: Path, codes: np.ndarray, engine=None) -> Searcher:
    count, tiles, width = codes.shape
    draft = Draft(folder, folder, 8 * width, tiles)
    draft.add(codes, [Row(key=str(i), path=f"{i}.png", sha256="", width=1, height=1) for i in range(count)])
    draft.close()
    factory, nprobe = choose_factory(count, None, binary=True)
    write_faiss(folder, count, 8 * width, factory)
    return Searcher(folder, count, 8 * width, factory, nprobe, engine, tiles)


@settings(max_examples=80, deadline=None)
@given(
    count=st.integers(1, 60),
    tiles=st.integers(1, 4),
    width=st.sampled_from([1, 3, 8, 32]),
    views=st.integers(1, 5),
    values=st.sampled_from([1, 2, 4, 256]),
    k=st.integers(1, 80),
    seed=st.integers(0, 2**16),
)
def test_search_is_brute_force_and_each_image_is_found_once(count, tiles, width, views, values, k, seed):
    codes, queries = some((count, tiles, width), values, seed), some((7, views, width), values, seed + 1)
    near, rows = open_codes(codes, count, tiles, width)(queries, min(k, count))
    expected = brute(queries, codes, k)
    np.testing.assert_array_equal(near, expected[0])
    np.testing.assert_array_equal(rows, expected[1])


@pytest.mark.parametrize("engine", ["faiss", "process"])
def test_both_engines_find_what_brute_force_finds(tmp_path, engine):
    codes, queries = some((300, 11, 32), 256, 0), some((5, 12, 32), 256, 1)
    queries[0, 3], queries[1] = codes[77, 10], 255
    searcher = written(tmp_path / "i", codes, engine)
    near, rows = searcher.search(queries, 10)
    expected = brute(queries, codes, 10)
    np.testing.assert_array_equal(near, 1 - expected[0] / 128)
    np.testing.assert_array_equal(rows, expected[1])
    assert (rows[0, 0], near[0, 0]) == (77, 1)
    assert (tmp_path / "i" / "codes.u8").stat().st_size == 300 * 11 * 32


def test_copies_of_one_image_by_the_thousand_come_in_the_order_of_their_rows(tmp_path):
    codes = np.repeat(some((1, 11, 32), 256, 0), 2000, axis=0)
    near, rows = written(tmp_path / "i", codes).search(codes[:1], 20)
    np.testing.assert_array_equal(rows, np.arange(20)[None])
    assert (near == 1).all()


def test_bad_queries_are_refused(tmp_path):
    searcher = written(tmp_path / "i", some((4, 2, 32), 256, 0))
    for queries in (np.zeros((1, 256), np.float32), some((1, 2, 31), 256, 0), np.zeros((1, 2, 32), np.int64)):
        with pytest.raises(MemdetectError, match="codes of 32 bytes each are expected"):
            searcher.search(queries, 1)
    assert searcher.search(np.zeros((0, 12, 32), np.uint8), 3)[1].shape == (0, 3)
    with pytest.raises(MemdetectError, match="but BinaryFlat needs FAISS"):
        Searcher(searcher.folder, 4, 256, "BinaryFlat", engine="numpy", tiles=2)


def test_codes_of_another_shape_are_refused(tmp_path):
    with pytest.raises(MemdetectError, match=r"codes of shape \(1, 3, 32\) and type uint8, expected \(1, 2, 32\)"):
        Draft(tmp_path / "i", tmp_path, 256, 2).add(
            some((1, 3, 32), 256, 0), [Row(key="", path="", sha256="", width=1, height=1)]
        )


@pytest.fixture(scope="module")
def tiles() -> Embedder:
    return load_embedder("pdq-tiles")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiles) -> Path:
    """An index of 40 pictures and a plain one beside them."""
    base = tmp_path_factory.mktemp("binary")
    Image.new("RGB", (64, 64), "blue").save(fill(base / "images", range(40)) / "plain.png")
    build_index([base / "images"], tiles, base / "train.index", QUICK)
    return base


def test_codes_take_the_place_of_vectors(folder, tiles):
    manifest = verify(folder / "train.index")
    assert set(manifest.files) == {"codes.u8", "rows.jsonl", "nulls.json"}
    assert (manifest.factory, manifest.embedder.tiles, manifest.count) == ("BinaryFlat", 11, 41)
    assert manifest.skipped == {}
    for wrong in (load_embedder("pdq"), replace(tiles, codes=None)):
        with pytest.raises(MemdetectError, match="was made with embedder pdq-tiles"):
            open_index(folder / "train.index", wrong)


def test_mirrored_zoomed_and_shifted_pictures_are_found(tiles, tmp_path):
    (tmp_path / "images").mkdir()
    for k in range(40):
        natural(k).save(tmp_path / "images" / f"{k:02d}.png")
    index = build_index([tmp_path / "images"], tiles, tmp_path / "train.index", QUICK)
    for change in (lambda x: x, lambda x: ImageOps.mirror(zoomed(x)), shifted):
        found = look_up([[change(natural(k))] for k in range(20)], index, tiles, 1).matches
        first = [match for match in found if match.rank == 1]
        assert np.mean([match.row == match.seed for match in first]) >= 0.95
        assert np.mean([match.similar for match in first]) >= 0.9
    mirrored = look_up([[ImageOps.mirror(natural(3))]], index, tiles, 1).matches[0]
    assert (mirrored.similarity, mirrored.copy_found) == (1, True)
    fresh = look_up([[natural(k)] for k in range(500, 510)], index, tiles, 1).matches
    assert sum(match.similar for match in fresh) <= 2


def zoomed(image: Image.Image) -> Image.Image:
    return image.resize(image.size, Image.Resampling.BICUBIC, box=(4, 12, 112, 120))


def shifted(image: Image.Image) -> Image.Image:
    values = np.pad(np.asarray(image), ((0, 6), (10, 0), (0, 0)), mode="edge")
    return Image.fromarray(values[6:, :128])


def test_a_plain_image_is_near_nothing(folder, tiles):
    index = open_index(folder / "train.index", tiles)
    found = look_up([[Image.new("RGB", (64, 64), "blue")]], index, tiles, 2)
    assert found.finite == [True]
    assert [(match.similarity, match.similar, match.p) for match in found.matches] == [(0, False, 1)] * 2
    assert all(match.path.rpartition("/")[2] != "plain.png" for match in found.matches)


def test_appending_keeps_the_codes_and_calibrates_anew(folder, tiles, tmp_path):
    build_index([folder / "images"], tiles, tmp_path / "i", QUICK)
    more = fill(tmp_path / "more", range(100, 110))
    grown = build_index([more], tiles, tmp_path / "i", replace(QUICK, append=True))
    whole = build_index([folder / "images", more], tiles, tmp_path / "whole", QUICK)
    np.testing.assert_array_equal(grown.searcher.vectors, whole.searcher.vectors)
    assert grown.reference == whole.reference


def test_held_out_images_set_the_threshold(folder, tiles, tmp_path):
    held = fill(tmp_path / "held", range(200, 230))
    picture(0).save(held / "known.png")
    made = build_index([folder / "images"], tiles, tmp_path / "i", replace(QUICK, held_out=[held])).manifest.threshold
    assert (made.queries, made.duplicates, made.source) == (30, 1, "held-out")
    assert made.similarity is not None
    assert made.similarity < 0.6


def test_pictures_that_are_gone_are_asked_by_their_codes(folder, tiles, tmp_path):
    """Their reference similarities are of one orientation then."""
    images = fill(tmp_path / "images", range(40))
    build_index([images], tiles, tmp_path / "i", QUICK)
    for path in list(images.iterdir())[:20]:
        path.unlink()
    more = fill(tmp_path / "more", range(100, 101))
    grown = build_index([more], tiles, tmp_path / "i", replace(QUICK, append=True)).manifest.threshold
    assert grown.queries == 41
    assert grown.similarity is not None
    assert grown.similarity < 0.6


def test_a_factory_of_the_other_kind_is_refused(folder, tiles, tmp_path):
    for embedder, factory in ((tiles, "IVF4,SQ8"), (tiles, "Flat"), (load_embedder("pdq"), "BinaryFlat")):
        with pytest.raises(MemdetectError, match="leave --factory out"):
            build_index([folder / "images"], embedder, tmp_path / "i", replace(QUICK, factory=factory))
