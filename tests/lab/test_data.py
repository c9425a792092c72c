"""Tiles, folders and mixtures: what they hold, that a seed fixes them, and one line for what cannot be used."""

from itertools import combinations

import numpy as np
import pytest
from PIL import Image

from memdetect.errors import MemdetectError
from memdetect.lab.theory import data, forms, presets
from memdetect.lab.theory.sets import training_set

RED = Image.new("RGBA", (8, 8), (255, 0, 0, 255))


@pytest.fixture(scope="module")
def tiles() -> data.Data:
    return data.tiles(120, seed=3, fresh=30)


def test_tiles_are_grey_pictures_of_two_kinds(tiles):
    assert tiles.train.shape == (120, 1024)
    assert tiles.fresh.shape == (30, 1024)
    assert -1 <= tiles.train.min() < -0.7
    assert 0.8 < tiles.train.max() <= 1
    light, dark = tiles.clusters()
    assert light.mean() > 0.3
    assert dark.mean() < -0.3
    assert forms.separability([light, dark])[1] < -0.9
    assert len(np.unique(tiles.train, axis=0)) == 120


def test_a_seed_fixes_the_tiles(tiles):
    again = data.tiles(120, seed=3, fresh=30)
    np.testing.assert_array_equal(again.train, tiles.train)
    np.testing.assert_array_equal(again.rare, tiles.rare)
    assert np.abs(data.tiles(120, seed=4, fresh=30).train - tiles.train).max() > 0.5


def test_the_number_of_samples_changes_none_of_the_others(tiles):
    fewer = data.tiles(50, seed=3, fresh=7)
    np.testing.assert_array_equal(fewer.train, tiles.train[:50])
    np.testing.assert_array_equal(fewer.fresh, tiles.fresh[:7])
    np.testing.assert_array_equal(fewer.rare, tiles.rare)
    few, many = data.from_mixture(10, 0), data.from_mixture(99, 0)
    np.testing.assert_array_equal(few.fresh, many.fresh)
    np.testing.assert_array_equal(few.rare, many.rare)


def test_what_a_tile_shows():
    """A red picture of grey value 0.299 * 255 / 127.5 - 1 on ground 0.9, and nothing else."""
    (tile,) = data.paint_tiles({"red": RED}, [0.9], 1, np.random.default_rng(0))
    assert sorted(set(tile.round(4))) == [pytest.approx(2 * 0.299 - 1, abs=1e-4), pytest.approx(0.9)]
    (bare,) = data.paint_tiles({"red": RED}, [-0.8], 0, np.random.default_rng(0))
    np.testing.assert_allclose(bare, -0.8, rtol=1e-6)


def test_a_picture_is_cut_out_of_its_white_ground():
    picture = np.full((9, 9, 3), 255, dtype=np.uint8)
    picture[2:7, 2:7] = 0
    picture[4, 4] = 255  # white, but not of the ground
    alpha = np.asarray(data.cut_out(picture))[..., 3]
    assert (alpha > 0).sum() == 25
    assert alpha[4, 4] == 255


def folder_of(path, count, size=(40, 30)):
    rng = np.random.default_rng(0)
    path.mkdir()
    for k in range(count):
        pixels = rng.integers(0, 256, (*size, 3), dtype=np.uint8) // 2 + (128 if k % 2 else 0)
        Image.fromarray(pixels.astype(np.uint8)).save(path / f"{k}.png")
    return path


def test_a_folder_of_images_of_any_size(tmp_path):
    folder = folder_of(tmp_path / "images", 30)
    Image.new("RGB", (9, 90), "white").save(folder / "tall.jpg")
    (folder / "notes.txt").write_text("no image")
    found = data.from_folder(folder, 1000, seed=0)
    assert found.train.shape == (28, 1024)
    assert found.fresh.shape == (3, 1024)
    assert [len(c) for c in found.clusters()] != [28]
    means = [c.mean() for c in found.clusters()]
    assert np.sign(means[0]) != np.sign(means[1])


def test_bad_folders_are_one_line_each(tmp_path):
    with pytest.raises(MemdetectError, match="is no folder; give tiles, pictures, mixture or a folder"):
        data.from_folder(tmp_path / "missing", 10, 0)
    folder = folder_of(tmp_path / "few", 3)
    with pytest.raises(MemdetectError, match="holds 3 images, expected at least 20"):
        data.from_folder(folder, 10, 0)
    many = folder_of(tmp_path / "many", 25)
    (many / "x.png").write_bytes(b"not an image")
    with pytest.raises(MemdetectError, match=r"x\.png.*not an image of a known format"):
        data.from_folder(many, 100, 0)
    (many / "x.png").unlink()
    Image.new("RGB", (5, 5), (128, 127, 128)).save(many / "y.png")
    grey = data._grey(many / "y.png")  # nearly the origin, but not
    assert np.linalg.norm(grey) < 1


def test_the_known_mixture_is_a_simplex():
    mixture = data.known_mixture(clusters=4, norm=6.0)
    cosines = mixture.means @ mixture.means.T / 36
    np.testing.assert_allclose(cosines, np.where(np.eye(4) == 1, 1, -1 / 3), atol=1e-12)
    for k, covariance in enumerate(mixture.covariances):
        np.testing.assert_allclose(covariance @ mixture.means[k], 0.05**2 * mixture.means[k], atol=1e-12)
    with pytest.raises(MemdetectError, match="4 clusters of 3 own directions need more than 10 dimensions"):
        data.known_mixture(dim=10)


def test_the_chosen_samples_are_the_most_separate():
    """Against all triples of a small pool."""
    for seed in range(5):
        pool = np.random.default_rng(seed).standard_normal((14, 3))
        unit = pool / np.linalg.norm(pool, axis=1, keepdims=True)

        def worst(chosen, unit=unit):
            return max(unit[a] @ unit[b] for a, b in combinations(chosen, 2))

        best = min(worst(chosen) for chosen in combinations(range(14), 3))
        chosen = data.separate(pool, 3)
        assert len(set(chosen.tolist())) == 3
        assert worst(chosen) <= best + 0.05
        away = -unit[chosen[0]]
        other = data.separate(pool, 1, [away])
        assert (unit @ away)[other[0]] == pytest.approx((unit @ away).min())


def test_two_sides_by_direction():
    rng = np.random.default_rng(0)
    samples = np.concatenate([[4.0, 0, 0], [-4.0, 0, 0]] * 10).reshape(-1, 3) + rng.standard_normal((20, 3)) * 0.1
    found = data.two_sides(samples)
    assert found.tolist() in ([0, 1] * 10, [1, 0] * 10)
    assert data.two_sides(np.ones((5, 3))).tolist() == [0] * 5


def test_the_samples_of_each_regime():
    drawn = data.from_mixture(400, seed=0)
    plan = presets.Plan(presets.plan("hybrid", pictures=False, full=False).recipe, 100, duplicated=2, times=30)
    hybrid = training_set(drawn, "hybrid", plan)
    assert hybrid.names == ("duplicate 0", "duplicate 1", "cluster 2", "cluster 3")
    assert [len(c) for c in hybrid.clusters] == [30, 30, 20, 20]
    assert list(hybrid.groups()) == ["duplicated", "training", "fresh"]
    assert forms.separability(hybrid.clusters)[1] < 0
    memorize = training_set(drawn, "memorize", presets.Plan(plan.recipe, 4))
    assert memorize.samples.shape == (4, 24)
    assert list(memorize.groups()) == ["training", "fresh"]
    assert forms.separability(memorize.clusters)[1] < 0
    generalize = training_set(drawn, "generalize", presets.Plan(plan.recipe, 400))
    assert sum(map(len, generalize.clusters)) == 400
    with pytest.raises(MemdetectError, match="mixture has 1500 samples to choose from, expected at least 2000"):
        training_set(drawn, "memorize", presets.Plan(plan.recipe, 2000))
