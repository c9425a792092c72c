"""`memdetect gate` as a pipeline meets it: codes, one line that says why, and nothing heavy loaded."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from synthetic_runs import INDEX, calibration, header, row, searched, write_run

from memdetect.cli import run
from memdetect.runs.policy import Policy

ROOT = Path(__file__).parents[2]
MADE = calibration(np.random.default_rng(0).normal(size=999).tolist())


def made(folder: Path, detections: int = 0, planned: int = 40, policy: Policy | None = None) -> Path:
    values = np.random.default_rng(1).normal(size=40)
    values[:detections] = 9.0
    rows = [row(i, float(x)) for i, x in enumerate(values)]
    return write_run(folder, header(planned, MADE, policy, index=INDEX), searched(rows), MADE)


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("detections", "planned", "code", "said"),
    [
        (0, 40, 0, "verdict: pass, searched an index of 500 training images, 97.00% of the training set as"),
        (3, 40, 1, "verdict: fail, searched an index of 500 ... states its size: findings: 3 suspicious among 40"),
        (0, 50, 3, "verdict: inconclusive, searched ... complete: 40 of 50 planned items were measured; run the same"),
        (3, 50, 1, "verdict: fail, searched ... its size: findings: 3 suspicious among 50; complete: 40 of 50"),
    ],
)
def test_the_exit_code_is_the_verdict(detections, planned, code, said, tmp_path, capsys):
    assert run(["gate", str(made(tmp_path / "run", detections, planned))]) == code
    out, err = capsys.readouterr()
    first, *rest = said.split(" ... ")
    assert err.startswith(first)
    assert all(part in err for part in rest)
    assert err.count("\n") == 1
    assert "40 of" in out


def test_options_stand_over_what_the_run_was_planned_with(tmp_path, capsys):
    folder = str(made(tmp_path / "run", 3, policy=Policy(fail_on="none", max_undetectable=0.2)))
    assert run(["gate", folder, "--format", "json"]) == 0
    held = json.loads(capsys.readouterr().out)["verdict"]
    assert (held["policy"]["fail_on"], held["fixed"], held["verdict"]) == ("none", True, "pass")
    assert run(["gate", folder, "--fail-on", "suspicious", "--format", "json"]) == 1
    held = json.loads(capsys.readouterr().out)["verdict"]
    assert (held["policy"]["max_undetectable"], held["fixed"], held["exit"]) == (0.2, False, 1)


def test_a_file_stands_over_what_the_run_was_planned_with(tmp_path, capsys):
    folder = str(made(tmp_path / "run", 3, policy=Policy(fail_on="none")))
    (tmp_path / "memdetect.toml").write_text('[policy]\nfdr = 0.1\nfail-on = "suspicious"\n', encoding="utf-8")
    assert run(["gate", folder]) == 1
    (tmp_path / "memdetect.toml").write_text('[policy]\nfail-onn = "none"\n', encoding="utf-8")
    assert run(["gate", folder]) == 2
    assert "did you mean 'fail-on'" in capsys.readouterr().err


def test_a_rate_that_cannot_be_shown_says_what_it_takes(tmp_path, capsys):
    assert run(["gate", str(made(tmp_path / "run")), "--max-rate", "0.05"]) == 3
    assert "to show 5.00% takes 59 families" in capsys.readouterr().err


def test_a_damaged_shard_is_named_and_never_green(tmp_path, capsys):
    folder = made(tmp_path / "run")
    shard = sorted((folder / "shards").iterdir())[0]
    shard.write_bytes(shard.read_bytes()[:-30])
    assert run(["gate", str(folder)]) == 3
    said = capsys.readouterr().err.splitlines()
    assert said[0].endswith("line 8 is damaged; delete this shard and scan again")
    assert said[1].startswith("verdict: inconclusive, searched")
    assert "complete: 39 of 40" in said[1]


@pytest.mark.parametrize("arguments", [["gate"], ["gate", "nowhere"], ["gate", "nowhere", "--fail-on", "all"]])
def test_usage_is_refused_as_such(arguments, capsys):
    assert run(arguments) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_several_runs_are_one(tmp_path, capsys):
    first = made(tmp_path / "a")
    rows = [row(i, float(x)) for i, x in enumerate(np.random.default_rng(2).normal(size=20), 500)]
    second = write_run(tmp_path / "b", header(20, MADE, index=INDEX), searched(rows), MADE)
    assert run(["gate", str(first), str(second)]) in (0, 3)
    assert "60 of 60 items measured" in capsys.readouterr().out


@pytest.mark.parametrize("format", ["table", "json"])
def test_a_gate_loads_nothing_heavy(format, tmp_path):
    code = (
        "import sys; from memdetect.cli import run; "
        f"code = run(['gate', {str(made(tmp_path / 'run', 1))!r}, '--format', {format!r}]); "
        "print(code, *sorted({m.partition('.')[0] for m in sys.modules}), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=300)
    found = done.stderr.splitlines()[-1].split()
    assert found[0] == "1"
    assert not {"torch", "faiss", "scipy", "numpy", "diffusers", "transformers", "sklearn", "PIL"} & set(found)
