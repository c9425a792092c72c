"""The figures of docs/ground-truth.md: dose and response, and what the captions alone can tell."""

import json

import numpy as np
import pytest
from scipy import stats
from scripts import script

from memdetect.inputs.prompts import read
from memdetect.lab.world.recipe import TruthRow, write_truth
from memdetect.runs.folder import RunFolder
from memdetect.runs.records import Measurement, Score

dose, text_control = script("dose"), script("text_control")


def truth(exposures: int, reproduced: float, number: int) -> TruthRow:
    group = "control" if exposures <= 1 else "ladder"
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
        [
            Measurement(
                index=k, id=row.id, prompt="a", source="p", scores={"spikiness": Score(score=0.0, cells=cells[k])}
            )
            for k, row in enumerate(rows)
        ]
    )
    return tmp_path


def test_shares_and_scores_by_rung(world, capsys, tmp_path):
    plot = tmp_path / "dose.png"
    assert dose.main([str(world), str(world / "run"), "--plot", str(plot)]) == 0
    out = capsys.readouterr().out
    assert "| 0 | 5 | 0.000 [0.000, 0.000] | 0 [0.00, 0.52] | 1.0000" in out
    assert "| 64 | 5 | 0.500 [" in out
    assert "| 2 [0.05, 0.85] | 35.5000" in out  # two of five scenes in at least 3 of 4; (64 + 5..9) / 2 on average
    assert plot.stat().st_size > 1000


def test_a_cell_that_was_not_scanned_is_refused(world, capsys):
    with pytest.raises(SystemExit):
        dose.main([str(world), str(world / "run"), "--timestep", "400"])
    assert "t = 400; name a cell that was scanned" in capsys.readouterr().err


def test_the_bootstrap_agrees_with_the_normal_interval():
    values = np.random.default_rng(1).normal(0, 1, 400)
    low, high = dose.bootstrap(values)
    reach = 1.96 * stats.sem(values)
    assert low == pytest.approx(values.mean() - reach, abs=0.02)
    assert high == pytest.approx(values.mean() + reach, abs=0.02)


def prompts(path, word: str, seed: int = 3):
    """Captions of random letters; those of one group have `word` in them."""
    rng = np.random.default_rng(seed)
    lines = []
    for i in range(80):
        text = "".join(rng.choice(list("abcdefgh "), 30))
        group = ("matched", "control")[i % 2]
        lines.append({"prompt": f"{text} {word if group == 'matched' else ''}", "group": group, "family": str(i // 2)})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return read([str(path)]).items


def test_captions_that_give_the_group_away_are_found_out(tmp_path):
    told = text_control.compare(prompts(tmp_path / "a.jsonl", "zzz"), "matched", "control", 40)
    assert told.auroc > 0.99
    assert told.high < 0.8
    assert told.p == pytest.approx(1 / 41)


def test_captions_that_do_not_are_at_one_half_on_average(tmp_path):
    told = [
        text_control.compare(prompts(tmp_path / f"{seed}.jsonl", "", seed), "matched", "control", 10)
        for seed in range(8)
    ]
    assert 0.42 < np.mean([t.auroc for t in told]) < 0.58  # 0.022 = standard error of the mean of eight
    assert sum(t.p < 0.1 for t in told) <= 4


def test_the_captions_of_the_bundled_world_do_not_give_the_lot_away():
    assert text_control.compare(text_control.bundled(0), "matched", "control", 20).p > 0.05
