"""The statistics of `memdetect lab embedder-trial`."""

import numpy as np
import pytest

from memdetect.lab.training.embedder_trial import Trial, threshold


@pytest.mark.parametrize("count", [10, 999, 1000, 2000])
def test_at_most_the_level_of_non_copies_lies_above_the_threshold(count):
    nearest = np.random.default_rng(count).random(count)
    limit = threshold(nearest)
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
    lines = list(Trial(index, strangers, queries).table(Fake()))
    assert "| same | 4 | 1.000 [0.398, 1.000] | 1.000 |" in lines[1]
    assert "| wrong | 4 | 0.000 [0.000, 0.602] | 0.000 |" in lines[2]
    assert "| redraw: above | 2 | 0.000" in lines[3]
