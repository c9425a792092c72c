"""What benchmarks/calibrated.py and gate.py compute, on runs whose truth is known."""

import json
from pathlib import Path

import numpy as np
import pytest
from scripts import script
from synthetic_runs import calibration, header, row, write_run

from memdetect.copies.match import Match
from memdetect.judging import judge, read_runs
from memdetect.runs.policy import Policy

calibrated = script("calibrated")
RNG = np.random.default_rng(0)
MADE = calibration(RNG.normal(size=799).tolist())


def run_of(folder: Path, values: dict[str, list[float]], first: int) -> Path:
    pairs = [(group, x) for group, own in values.items() for x in own]
    rows = [row(i, x, meta={"group": group, "part": "reporting"}) for i, (group, x) in enumerate(pairs, first)]
    return write_run(folder, header(len(rows), MADE), rows, MADE, 50)


def test_clean_prompts_and_groups_are_reported(tmp_path, capsys):
    clean = run_of(tmp_path / "clean", {"clean": np.random.default_rng(2).normal(size=200).tolist()}, 0)
    groups = {
        "matched": (8 + RNG.normal(size=20)).tolist(),
        "control": RNG.normal(size=20).tolist(),
        "template": RNG.normal(size=10).tolist(),
    }
    labelled = run_of(tmp_path / "labelled", groups, 5000)
    table = tmp_path / "all.json"
    code = calibrated.main([str(clean), "--labelled", str(labelled), "--json", str(table), "--splits", "50"])
    out, found = capsys.readouterr().out, json.loads(table.read_text())
    assert code == 0
    assert [entry["rank"] for entry in found["rates"]] == [8, 40, 80]
    assert "matched among control: 20 of 20 found at FDR 0.05" in out
    power = {(entry["group"], entry["among"]): entry for entry in found["power"]}
    assert set(power) == {("matched", "control"), ("matched", "clean"), ("template", "clean")}
    assert power["matched", "clean"] == power["matched", "clean"] | {"m": 220, "m1": 20, "n": 799, "h": 6, "found": 20}
    assert power["template", "clean"]["found"] <= 1


def test_power_is_that_of_the_scores_whatever_an_index_found():
    copied = Match(rank=1, key="k", similarity=0.99, similar=True, copy_found=True)
    high = [row(i, 9.0).model_copy(update={"matches": [copied]}) for i in range(5)]
    low = [row(i, -9.0).model_copy(update={"matches": [copied]}) for i in range(5, 10)]
    head = header(10, MADE)
    found = calibrated.power(head, high, low, MADE, ("matched", "control"), Policy(fdr=0.05))
    assert (found.found, found.false) == (5, 0)


def test_shifted_clean_prompts_are_outside(tmp_path, capsys):
    clean = run_of(tmp_path / "clean", {"clean": (1 + RNG.normal(size=200)).tolist()}, 0)
    assert calibrated.main([str(clean), "--splits", "5"]) == 1
    assert "OUTSIDE" in capsys.readouterr().out


def test_resplits_of_one_population_keep_their_interval():
    found = calibrated.resplits(RNG.normal(size=1000).tolist(), 800, 0.05, 200)
    assert abs(found.share - 0.05) < 0.01
    assert found.outside <= 25


def test_a_run_without_groups_is_refused(tmp_path, capsys):
    clean = run_of(tmp_path / "clean", {"clean": RNG.normal(size=50).tolist()}, 0)
    with pytest.raises(SystemExit) as stopped:
        calibrated.main([str(clean), "--labelled", str(clean), "--splits", "2"])
    assert stopped.value.code == 2
    assert "expected some of" in capsys.readouterr().err


def test_the_run_that_the_gate_is_timed_on_is_sound(tmp_path):
    script("gate").make_run(tmp_path / "run", 30, 100)
    found = read_runs([tmp_path / "run"])
    _, verdict = judge(found.header, found.rows, found.calibration)
    assert (verdict.measured, verdict.complete, verdict.fixed, verdict.calibrated) == (30, True, True, 100)
