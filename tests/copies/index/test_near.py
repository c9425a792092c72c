"""Near-duplicates do not raise the threshold, strangers are left alone, and the planted copies say what is found."""

import json
from dataclasses import replace
from math import inf
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from scipy import stats
from small_pictures import QUICK, Tiny, fill, picture

from memdetect.copies.embedders import load_embedder
from memdetect.copies.index import BuildOptions, Manifest, build_index, near
from memdetect.copies.index.near import bound, cuts, rimless
from memdetect.copies.index.recall_check import cropped, shifted

MODEL = Path(__file__).parents[3] / "models" / "emoji-scenes"


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)


def test_the_bound_is_the_normal_quantile_of_the_pairs():
    """Random directions in 64 dimensions: cosines are nearly normal with deviation 1/8."""
    vectors = unit(np.random.default_rng(0).standard_normal((500, 64)))
    expected = np.tanh(stats.norm.ppf(1 - 1 / (100 * 500)) / 8)
    assert bound(vectors) == pytest.approx(expected, rel=0.05)
    every = vectors.astype(np.float64) @ vectors.T.astype(np.float64)
    assert np.mean(every[np.triu_indices(500, 1)] > bound(vectors)) < 1e-4


def test_a_copy_of_every_row_hardly_moves_the_bound():
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((300, 64))
    twins = unit(np.repeat(vectors, 4, axis=0) + 0.05 * rng.standard_normal((1200, 64)))
    one = np.tanh(stats.norm.ppf(1 - 1 / (100 * 1200)) / 8)
    assert bound(twins) == pytest.approx(one, rel=0.05)


def test_too_few_rows_or_rows_that_are_all_alike_say_nothing():
    assert bound(unit(np.random.default_rng(0).standard_normal((7, 64)))) == inf
    assert bound(unit(np.ones((100, 64)))) == inf


@pytest.mark.parametrize("rows", [8, 30, 300])
def test_few_rows_give_the_bound_of_pairs_one_by_one(rows, monkeypatch):
    """However often the sample draws a pair, it counts as often; among 8 rows there are 28 for some 17,500 draws."""
    vectors = unit(np.random.default_rng(2).standard_normal((rows, 16)))
    together = bound(vectors)
    monkeypatch.setattr(near, "FEW", 0)
    assert bound(vectors) == pytest.approx(together, abs=1e-6)
    one, other = np.random.default_rng(0).integers(0, rows, (2, near.PAIRS))
    pairs = [
        float(vectors[a].astype(float) @ vectors[b].astype(float)) for a, b in zip(one, other, strict=True) if a != b
    ]
    spread = 1.4826 * np.median(np.abs(np.arctanh(pairs) - np.median(np.arctanh(pairs))))
    expected = np.tanh(np.median(np.arctanh(pairs)) + stats.norm.ppf(1 - 1 / (100 * rows)) * spread)
    assert together == pytest.approx(expected, abs=1e-6)


class Says(Tiny):
    """A fixed cosine to (1, 0) for the image itself, and for each of its rims."""

    def __init__(self, cosines):
        object.__setattr__(self, "cosines", iter(cosines))

    def embed(self, images, /):
        value = next(self.cosines)
        return np.array([[value, np.sqrt(max(0, 1 - value**2))]] * len(images), np.float32)


@pytest.mark.parametrize(
    ("cosines", "expected"),
    [((0.7,), 0.7), ((0.4, 0.8), 0.8), ((0.3, 0.4, 0.9), 0.9), ((0.3, 0.4, 0.5), inf), ((np.nan, 0.7), 0.7)],
)
def test_the_cut_is_the_widest_rim_that_is_seen(cosines, expected):
    assert cuts([picture(0)], np.array([[1, 0]], np.float32), Says(cosines), 0.5) == [pytest.approx(expected)]


def test_a_rim_is_cut_off_on_all_sides_and_large_pictures_get_smaller():
    ramp = Image.fromarray(np.tile(np.arange(64, dtype=np.uint8)[None, :, None], (64, 1, 3)))
    cut = np.asarray(rimless(ramp, 3 / 32))
    assert cut.shape == (64, 64, 3)
    assert (cut[0, 0, 0], cut[0, -1, 0]) == (6, 57)
    assert rimless(Image.new("RGB", (2000, 1000)), 1 / 32).size == (512, 256)
    assert rimless(Image.new("RGB", (1, 900)), 1 / 32).size == (1, 512)


def shipped() -> list[tuple[str, Image.Image]]:
    lines = (MODEL / "train.index" / "rows.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return [(row["key"], Image.open(MODEL / "train.index" / row["path"]).convert("RGB")) for row in rows]


def crop_by_4(image: Image.Image) -> Image.Image:
    return image.crop((4, 4, image.width - 4, image.height - 4)).resize(image.size, Image.Resampling.LANCZOS)


def made(folder: Path, pictures: list[Image.Image], name: str = "scenes", planted: int = 200) -> Manifest:
    folder.mkdir()
    for k, image in enumerate(pictures):
        image.save(folder / f"{k:04d}.png")
    options = BuildOptions(level=0.003, planted=planted)
    return build_index([folder], load_embedder(name, folder=MODEL), folder.with_suffix(".index"), options).manifest


@pytest.mark.slow
def test_pictures_beside_their_own_crops(tmp_path):
    """Half the bundled pictures, each with its crop by 4 of 64 pixels; of all the threshold was 0.994."""
    index = made(tmp_path / "a", [image for _, own in shipped()[::2] for image in (own, crop_by_4(own))])
    assert index.threshold.similarity < 0.9
    assert index.threshold.duplicates > 215
    assert index.planted.similar >= 0.99
    assert index.planted.copies >= 0.99


@pytest.mark.slow
@pytest.mark.parametrize("name", ["scenes", "pdq", "pixels"])
def test_a_folder_of_strangers_keeps_its_threshold(tmp_path, name, monkeypatch):
    """The bundled pictures without variants of one composition, the split that no constant was chosen on."""
    own = [image for key, image in shipped() if not key.startswith("template")][1::2]
    now = made(tmp_path / "now", own, name, planted=1).threshold
    monkeypatch.setattr(near, "RIMS", ())
    before = made(tmp_path / "before", own, name, planted=1).threshold
    assert now.similarity == before.similarity
    assert now.queries >= before.queries - 4


def test_bursts_are_left_out_and_counted(tmp_path, tiny):
    """Brighter copies too far apart for the pixel rule: if they counted, the threshold would be 1."""
    folder = fill(tmp_path / "images", range(40))
    plain = build_index([folder], tiny, tmp_path / "plain", QUICK).manifest.threshold
    for i in range(10):
        for k, factor in enumerate((0.5, 0.6, 0.4)):
            ImageEnhance.Brightness(picture(i)).enhance(factor).save(folder / f"burst-{i}-{k}.png")
    threshold = build_index([folder], tiny, tmp_path / "i", replace(QUICK, null_queries=70)).manifest.threshold
    assert (threshold.queries, threshold.duplicates) == (40, 30)
    assert threshold.similarity == pytest.approx(plain.similarity, abs=0.05)


def test_where_all_neighbours_are_near_duplicates_there_is_no_reference(tmp_path, tiny, monkeypatch):
    monkeypatch.setattr(near, "bound", lambda *_: -1.0)
    monkeypatch.setattr("memdetect.copies.index.calibrate.bound", lambda *_: -1.0)
    monkeypatch.setattr("memdetect.copies.index.calibrate.cuts", lambda images, *_: [-1.0] * len(images))
    threshold = build_index([fill(tmp_path / "images", range(12))], tiny, tmp_path / "i", QUICK).manifest.threshold
    assert (threshold.similarity, threshold.queries, threshold.duplicates) == (None, 0, 12)


def test_held_out_images_that_are_near_duplicates_are_left_out_and_counted(tmp_path, tiny):
    """What a held-out image owes to a training picture would raise the threshold beyond what the model gives back."""
    folder, held = fill(tmp_path / "images", range(30)), fill(tmp_path / "held", range(200, 210))
    sound = build_index([folder], tiny, tmp_path / "a", replace(QUICK, held_out=[held])).manifest.threshold
    ImageEnhance.Brightness(picture(3)).enhance(0.4).save(held / "dark.png")
    found = build_index([folder], tiny, tmp_path / "b", replace(QUICK, held_out=[held])).manifest.threshold
    assert (found.queries, found.duplicates) == (10, 1)
    assert found.similarity == sound.similarity < 0.99


def test_planted_changes_by_hand():
    image = Image.fromarray(np.arange(32 * 64, dtype=np.uint8).reshape(32, 64, 1).repeat(3, 2))
    moved = np.asarray(shifted(image))
    np.testing.assert_array_equal(moved[2:, 4:], np.asarray(image)[:-2, :-4])
    np.testing.assert_array_equal(moved[:2, 4:], np.asarray(image)[[0, 0], :-4])
    ramp = Image.fromarray(np.tile(np.arange(64, dtype=np.uint8)[None, :, None], (64, 1, 3)))
    part = np.asarray(cropped(ramp))
    assert (part.shape, part[0, 0, 0], part[0, -1, 0]) == ((64, 64, 3), 6, 61)  # 6 of 8 lie left


def test_planted_kinds_say_what_is_found(tmp_path, tiny):
    """An embedder of sorted pixels sees no geometry: every kind is similar, mirrored ones alone agree."""

    class Sorted(Tiny):
        def embed(self, images, /):
            kept = [np.sort(np.asarray(i.resize((64, 64)), np.float32).reshape(-1, 3), axis=0)[::64] for i in images]
            centred = np.stack([v.ravel()[:192] - v.mean() for v in kept])
            return centred / np.linalg.norm(centred, axis=1, keepdims=True)

    folder = fill(tmp_path / "images", range(30))
    blind = build_index([folder], tiny, tmp_path / "tiny", QUICK).manifest.geometry
    kinds = {kind: (found.images, found.copies) for kind, found in blind.items()}
    assert kinds == {"mirrored": (6, 1.0), "cropped": (6, 1.0), "shifted": (6, 1.0), "cropped square": (0, 0.0)}
    seen = build_index(
        [folder], Sorted(), tmp_path / "sorted", replace(QUICK, held_out=[fill(tmp_path / "h", range(200, 240))])
    )
    mirrored = seen.manifest.geometry["mirrored"]
    assert (mirrored.images, mirrored.similar, mirrored.copies) == (6, 1.0, 1.0)
    assert (seen.manifest.geometry["cropped"].similar, seen.manifest.geometry["cropped"].copies) == (1.0, 1.0)


def test_a_planted_copy_without_a_finite_vector_is_not_found(tmp_path):
    class Fades(Tiny):
        def embed(self, images, /):
            vectors = super().embed(images)
            return np.where([[i.getpixel((0, 0)) == (255, 0, 0)] for i in images], np.nan, vectors)

    folder = fill(tmp_path / "images", range(20))
    for i in range(20):
        image = picture(i)
        image.paste((255, 0, 0), (60, 0, 64, 4))  # a mirror image has it where the embedder breaks
        image.save(folder / f"{i:04d}.png")
    index = build_index([folder], Fades(), tmp_path / "i", QUICK).manifest
    assert (index.planted.copies, index.geometry["mirrored"].images, index.geometry["mirrored"].similar) == (1, 6, 0)
