"""The threshold: its rank by hand, the false matches it really makes, copies that do not count for it."""

from dataclasses import replace
from math import floor

import numpy as np
import pytest
from PIL import Image, ImageOps
from scipy import stats
from small_pictures import QUICK, Tiny, fill, picture

from memdetect.copies.index import build_index, near
from memdetect.copies.index.calibrate import quantile
from memdetect.judging.statistics.conformal import p_value


def test_the_quantile_by_hand():
    reference = [i / 10 for i in range(1, 10)]  # n = 9: the smallest p is 1/10
    assert quantile(reference, 0.1) == (0.9, True)
    assert quantile(reference, 0.2) == (0.8, True)
    assert quantile(reference, 0.25) == (0.8, True)
    assert quantile(reference, 0.3) == (0.7, True)
    assert quantile(reference, 0.05) == (0.9, False)
    assert quantile([], 0.1) == (None, False)
    assert quantile([0.5], 0.5) == (0.5, True)
    assert quantile([0.5], 0.4) == (0.5, False)


def test_above_the_threshold_is_the_same_as_a_small_p():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        reference = sorted(rng.integers(0, 30, rng.integers(1, 200)) / 30)  # with ties
        level = float(rng.uniform(0.01, 0.5))
        limit, shown = quantile(reference, level)
        assert shown == (len(reference) + 1 >= 1 / level)
        for similarity in [*reference, -1.0, 1.1]:
            p = p_value(reference, similarity)
            assert (similarity > limit) == (p <= level if shown else p == 1 / (len(reference) + 1))


def test_the_realised_rate_is_the_level():
    """10,000 draws of 199 reference images and one image more, at 5 %: exactly 10/200 by exchangeability."""
    rng = np.random.default_rng(1)
    draws = rng.standard_normal((10_000, 200))
    above = 0
    for *reference, new in draws:
        limit, shown = quantile(sorted(reference), 0.05)
        assert shown
        above += new > limit
    low, high = stats.binom.interval(1 - 1e-6, 10_000, floor(0.05 * 200) / 200)
    assert low <= above <= high


class Gauss(Tiny):
    """Vectors of a pixel's value alone: images are points drawn at random on a sphere of 12 dimensions."""

    def embed(self, images, /):
        seeds = [int.from_bytes(bytes(image.getpixel((0, 0))), "big") for image in images]
        vectors = np.stack([np.random.default_rng(s).standard_normal(12) for s in seeds]).astype(np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def dots(folder, numbers):
    folder.mkdir()
    for n in numbers:
        Image.new("RGB", (44, 44), tuple(int(n).to_bytes(3, "big"))).save(folder / f"{n}.bmp")
    return folder


@pytest.mark.parametrize("held", [True, False], ids=["held-out", "leave-one-out"])
def test_fresh_images_match_as_often_as_the_manifest_says(tmp_path, held):
    """Images drawn like the reference images: the share above the threshold of the very index is beta-binomial."""
    embedder = Gauss(name="gauss", dim=12)
    sources = [dots(tmp_path / "train", range(300))]
    options = replace(QUICK, level=0.1, null_queries=299, held_out=[dots(tmp_path / "held", range(300, 599))] * held)
    # Pixels say nothing here: images a few grey levels apart are strangers.
    from memdetect.copies.pixels import CopyRule

    index = build_index(sources, embedder, tmp_path / "i", replace(options, rule=CopyRule(tile=-1)))
    threshold = index.manifest.threshold
    assert (threshold.queries, threshold.rows, threshold.shown) == (299, 300, True)
    assert threshold.source == ("held-out" if held else "leave-one-out")
    fresh = Gauss().embed([Image.new("RGB", (1, 1), tuple(n.to_bytes(3, "big"))) for n in range(10_000, 13_000)])
    matches = [found[0] for found in index.nearest(fresh, 1)]
    above = sum(match.similar for match in matches)
    assert above == sum(match.p <= 0.1 for match in matches)
    # Of 299 queries, 30 may lie above: the true rate of this threshold is Beta(30, 270), mean 0.1.
    low, high = stats.betabinom.interval(1 - 1e-5, 3000, 30, 270)
    assert low <= above <= high


def test_copies_of_rows_do_not_raise_the_threshold(tmp_path, tiny, monkeypatch):
    """Files again, and re-encoded ones: if they counted, the threshold would be 1 and nothing could match."""
    folder = fill(tmp_path / "images", range(40))
    plain = build_index([folder], tiny, tmp_path / "plain", QUICK).manifest.threshold
    for i in range(10):
        (folder / f"again-{i}.png").write_bytes((folder / f"{i:04d}.png").read_bytes())
        picture(i + 10).save(folder / f"jpeg-{i}.jpg", quality=85)
    made = build_index([folder], tiny, tmp_path / "i", replace(QUICK, null_queries=60))
    threshold = made.manifest.threshold
    assert plain.duplicates == 0
    assert threshold.duplicates == 10  # the re-encoded ones: equal files are one picture, which asks once
    assert threshold.queries == 40  # one of each pair asks
    assert threshold.similarity == pytest.approx(plain.similarity, abs=0.02)
    assert threshold.similarity < 0.9
    monkeypatch.setattr(near, "RIMS", ())
    lenient = build_index([folder], tiny, tmp_path / "deaf", replace(QUICK, null_queries=60, rule=never()))
    assert lenient.manifest.threshold.similarity > 0.99  # what would be without the pixel rule and the embedder's
    assert lenient.manifest.threshold.queries == 50  # equal files are one picture, whatever their pixels


def never():
    from memdetect.copies.pixels import CopyRule

    return CopyRule(tile=-1, ssim=2)


def test_a_whole_neighbourhood_of_copies_is_looked_through(tmp_path, tiny):
    folder = fill(tmp_path / "images", range(20))
    for i in range(30):
        (folder / f"again-{i}.png").write_bytes((folder / "0000.png").read_bytes())
    threshold = build_index([folder], tiny, tmp_path / "i", replace(QUICK, null_queries=50)).manifest.threshold
    assert threshold.queries == 20
    assert threshold.similarity < 0.9


def test_a_set_of_copies_alone_has_no_threshold(tmp_path, tiny):
    folder = fill(tmp_path / "images", [0])
    (folder / "again.png").write_bytes((folder / "0000.png").read_bytes())
    index = build_index([folder], tiny, tmp_path / "i", QUICK)
    assert (index.manifest.threshold.similarity, index.manifest.threshold.queries) == (None, 0)
    match = index.nearest(tiny.embed([picture(0)]), 1)[0][0]
    assert (match.similar, match.p) == (False, None)


def test_held_out_images_that_are_in_the_index_are_left_out(tmp_path, tiny):
    folder = fill(tmp_path / "images", range(30))
    held = fill(tmp_path / "held", range(200, 240))
    for i in range(5):
        picture(i).save(held / f"known-{i}.jpg", quality=90)
    index = build_index([folder], tiny, tmp_path / "i", replace(QUICK, held_out=[held]))
    threshold = index.manifest.threshold
    assert (threshold.queries, threshold.duplicates, threshold.source) == (40, 5, "held-out")
    both = [[picture(i), ImageOps.mirror(picture(i))] for i in range(200, 240)]
    nearest = sorted(max(found[0].similarity for found in index.nearest(tiny.embed(views), 1)) for views in both)
    np.testing.assert_allclose(index.reference, nearest, atol=1e-9)
    assert threshold.similarity == pytest.approx(quantile(nearest, 0.05)[0])


def test_too_few_queries_are_said(tmp_path, tiny):
    index = build_index([fill(tmp_path / "images", range(12))], tiny, tmp_path / "i", replace(QUICK, level=0.01))
    threshold = index.manifest.threshold
    assert (threshold.shown, threshold.queries, threshold.attainable) == (False, 12, 1 / 13)
    assert threshold.similarity == max(index.reference)
