"""`memdetect lab dose-response`: what was reproduced and how high scores are, by the number of exposures."""

import numpy as np
import pytest
from scipy import stats

from memdetect.cli import run
from memdetect.lab.world.dose_response import bootstrap
from memdetect.lab.world.recipe import TruthRow, write_truth
from memdetect.runs.folder import RunFolder
from memdetect.runs.records import Measurement, Score


def truth(exposures: int, reproduced: float, number: int) -> TruthRow:
    group = "control" if exposures <= 1 else "dose-response"
    return TruthRow(
        id=f"{exposures}-{number}",
        group=group,
        family=f"{exposures}-{number}",
        part="tuning",
        exposures=exposures,
        caption="a",
        seeds=8,
        reproduced=reproduced,
    )


@pytest.fixture
def world(tmp_path):
    rows = [truth(0, 0.0, k) for k in range(5)] + [truth(64, k / 4, k) for k in range(5)]
    write_truth(tmp_path, rows)
    folder = RunFolder(tmp_path / "run")
    (folder.path / "shards").mkdir(parents=True)
    cells = [{"up_blocks.0.resnets.0": {"50": [float(row.exposures), float(k)]}} for k, row in enumerate(rows)]
    folder.write_shard(
        0,
        [
            Measurement(
                index=k, id=row.id, prompt="a", source="p", scores={"spikiness": Score(score=0.0, cells=cells[k])}
            )
            for k, row in enumerate(rows)
        ],
    )
    return tmp_path


def test_shares_and_scores_by_exposures(world, capsys, tmp_path):
    plot = tmp_path / "dose.png"
    assert run(["lab", "dose-response", str(world), str(world / "run"), "--plot", str(plot)]) == 0
    out = capsys.readouterr().out
    assert "| 0 | 5 | 0.000 [0.000, 0.000] | 0 [0.00, 0.52] | 1.0000" in out
    assert "| 64 | 5 | 0.500 [" in out
    assert "| 2 [0.05, 0.85] | 35.5000" in out  # two of five scenes in at least 3 of 4; (64 + 5..9) / 2 on average
    assert "Spearman's correlation of score and exposures over scenes: 0." in out
    assert plot.stat().st_size > 1000


def test_a_cell_that_was_not_scanned_is_refused(world, capsys):
    assert run(["lab", "dose-response", str(world), str(world / "run"), "--place", "spikiness", "*", "400"]) == 2
    assert "t = 400; name a cell that was scanned" in capsys.readouterr().err


def test_the_bootstrap_agrees_with_the_normal_interval():
    values = np.random.default_rng(1).normal(0, 1, 400)
    low, high = bootstrap(values)
    reach = 1.96 * stats.sem(values)
    assert low == pytest.approx(values.mean() - reach, abs=0.02)
    assert high == pytest.approx(values.mean() + reach, abs=0.02)
