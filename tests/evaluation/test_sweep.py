"""A sweep finds the cell that separates, and says so when nothing does."""

import numpy as np
import pytest

from memdetect.errors import MemdetectError
from memdetect.evaluation import Question, labels_of, scores_of, sweep
from memdetect.judging.statistics.auroc import auroc
from memdetect.runs.folder import RunFolder
from memdetect.runs.records import Measurement, Score

QUESTION = Question("duplicated", (), ("tuning",), ("test",))
DEFAULT = ("spikiness", "mean of up_blocks.0.resnets.*", "50")


def scores_in(run):
    rows = list(RunFolder(run).measurements())
    return {"spikiness": scores_of(rows, labels_of(rows, None, Question("duplicated")), "spikiness")}


def made_up(shift: float, cells: int = 12, items: int = 60, seed: int = 0):
    """Items of two groups; the first of the cells is shifted for one of them."""
    rng, rows = np.random.default_rng(seed), []
    for i in range(items):
        group = "duplicated" if i % 2 else "control"
        noise = rng.normal(0, 1, cells)
        noise[0] += shift * (i % 2)
        table = {f"layer{c}": {"50": [float(noise[c])]} for c in range(cells)}
        meta = {"group": group, "part": "tuning" if i % 4 < 2 else "test"}
        scores = {"spikiness": Score(score=0.0, cells=table)}
        rows.append(Measurement(index=i, id=f"{i:03d}", prompt="a", source="p", meta=meta, scores=scores))
    return {"spikiness": scores_of(rows, labels_of(rows, None, QUESTION), "spikiness")}


def test_areas_of_all_cells_are_those_of_each():
    for seed in range(5):
        rng = np.random.default_rng(seed)
        table, positive = rng.integers(0, 6, (4, 30)).astype(float), rng.random(30) < 0.4
        expected = [auroc(row[positive].tolist(), row[~positive].tolist()) for row in table]
        np.testing.assert_allclose(sweep.areas_of(table, positive), expected)


def test_the_cell_that_separates_is_found_and_believed(run):
    found = sweep.choose(scores_in(run), DEFAULT)
    assert found.place == ("spikiness", "up_blocks.0.resnets.0", "10")
    assert found.tried == 8
    assert found.chance == pytest.approx(1 / 501)
    assert found.reported["control"].auroc > 0.99
    assert found.gain is not None
    assert 0.2 < found.gain[1] < found.gain[0] < found.gain[2] < 0.8
    assert found.noise == ""


def test_the_best_of_many_cells_that_tell_nothing_is_called_noise():
    found = [sweep.choose(made_up(0.0, seed=s)) for s in range(6)]
    assert sum(bool(f.noise) for f in found) >= 5
    assert np.mean([f.selected for f in found]) > 0.6, "the best of many looks good where it was chosen"
    assert "shuffled labels" in next(f.noise for f in found if f.noise)


def test_chance_is_a_p_value_where_nothing_separates(monkeypatch):
    monkeypatch.setattr(sweep, "SHUFFLES", 49)  # a p-value for every number of them
    chances = np.array([sweep.choose(made_up(0.0, cells=4, items=40, seed=100 + s)).chance for s in range(40)])
    assert (chances <= 0.2).sum() <= 18  # 8 expected; 19 or more have a probability below 1e-4
    assert chances.max() > 0.5


def test_where_the_default_is_the_best_there_is_nothing_to_gain():
    found = sweep.choose(made_up(3.0), ("spikiness", "layer0", "50"))
    assert (found.gain, found.noise) == (None, "")


def test_a_best_cell_that_is_not_better_on_the_test_split_is_called_noise():
    scores = made_up(0.0, cells=3)
    table = scores["spikiness"].cells
    for name, value in table["layer0", "50"].items():  # two cells that say the same, but for a trifle
        shift = 3.0 * (scores["spikiness"].labels.groups[name] == "duplicated")
        table["layer0", "50"][name] = value + shift
        table["layer1", "50"][name] = value + shift + 1e-3 * (int(name) % 3)
    found = [sweep.choose(scores, ("spikiness", layer, "50")) for layer in ("layer0", "layer1")]
    gained = next(choice for choice in found if choice.gain)
    assert abs(gained.gain[0]) < 0.01
    assert "no better than the default" in gained.noise


def test_splits_that_are_too_small_are_refused():
    with pytest.raises(MemdetectError, match="has fewer than two items of duplicated or of control"):
        sweep.choose(made_up(1.0, items=6))


def test_the_ranking_and_the_heat_map_show_every_cell(run, tmp_path):
    scores = scores_in(run)
    rows = list(sweep.ranking(scores, 20))
    assert len(rows) == 8
    assert [area for _, area, _ in rows] == sorted((area for _, area, _ in rows), reverse=True)
    text = sweep.render(scores, sweep.choose(scores, DEFAULT))
    assert text.count("\n| spikiness |") == 8
    assert "8 combinations tried; the best of shuffled labels is as good in 0.2%." in text
    assert "Over the default, on the test split: +0." in text
    sweep.heat_map(scores, tmp_path / "map.png")
    assert (tmp_path / "map.png").read_bytes()[:4] == b"\x89PNG"
