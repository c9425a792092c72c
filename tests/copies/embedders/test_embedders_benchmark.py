"""The statistics of the benchmark of embedders."""

import math

import numpy as np
import pytest
from scripts import script

embedders = script("embedders")


def test_clopper_pearson_by_its_definition():
    """At the ends of the interval the tail that holds the count has 2.5 %; none and all are in closed form."""
    low, high = embedders.interval(7, 40)
    assert sum(math.comb(40, k) * low**k * (1 - low) ** (40 - k) for k in range(7, 41)) == pytest.approx(0.025)
    assert sum(math.comb(40, k) * high**k * (1 - high) ** (40 - k) for k in range(8)) == pytest.approx(0.025)
    assert embedders.interval(0, 50) == pytest.approx((0, 1 - 0.025 ** (1 / 50)))
    assert embedders.interval(50, 50) == pytest.approx((0.025 ** (1 / 50), 1))


@pytest.mark.parametrize("count", [10, 999, 1000, 2000])
def test_at_most_the_level_of_non_copies_lies_above_the_threshold(count):
    nearest = np.random.default_rng(count).random(count)
    limit = embedders.threshold(nearest)
    assert limit in nearest
    assert (nearest > limit).sum() <= 1e-3 * count
    assert (nearest >= limit).sum() > 1e-3 * (count - 1)


def test_a_table_of_embedders_counts_what_is_found(tmp_path):
    """Images that are their own vectors: exact copies are found, others are not, and one stranger sets the limit."""

    class Fake:
        name = "fake"

        def embed(self, images):
            flat = np.stack([np.asarray(x, np.float32).ravel() for x in images])
            return flat / np.linalg.norm(flat, axis=1, keepdims=True)

    rng = np.random.default_rng(0)
    index = rng.integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    strangers = rng.integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    queries = {"same": index[:4], "wrong": index[1:5], "redraw": strangers[:2]}
    lines = list(embedders.table(Fake(), index, queries, strangers))
    assert "| same | 4 | 1.000 [0.398, 1.000] | 1.000 |" in lines[1]
    assert "| wrong | 4 | 0.000 [0.000, 0.602] | 0.000 |" in lines[2]
    assert "| redraw: above | 2 | 0.000" in lines[3]
