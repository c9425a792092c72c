"""`memdetect calibrate`, then a scan that judges: what a release pipeline runs."""

import json
from pathlib import Path

import pytest
from PIL import Image
from synthetic_runs import calibration

from memdetect.cli import run
from memdetect.cli.calibrate import _say_back
from memdetect.inputs.bundled import model_folder as model_folder_of
from memdetect.judging.calibration import read_calibration

FAST = ["--steps", "1", "--num-seeds", "1", "--device", "cpu"]
WORDS = ["a", "photo", "of", "cat", "dog", "red", "blue", "and"]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory, model_folder: Path) -> Path:
    """A folder with prompts, clean prompts and their scores."""
    folder = tmp_path_factory.mktemp("work")
    clean = [f"{first} {second} {third}" for first in WORDS[:3] for second in WORDS[3:6] for third in WORDS[5:]]
    (folder / "clean.txt").write_text("\n".join(clean), encoding="utf-8")
    (folder / "scan.txt").write_text("a cat and a dog\na dog and a cat\n", encoding="utf-8")
    out = folder / "calibration.json"
    assert run(["calibrate", str(folder / "clean.txt"), "-m", str(model_folder), "--out", str(out), *FAST]) == 0
    return folder


def test_the_scores_are_kept_with_their_settings(work, capsys):
    made = read_calibration(work / "calibration.json")
    assert made is not None
    assert len(made.items) == 27
    assert set(made.scores) == {"spikiness"}  # of one image a prompt there are no seeds to compare
    assert made.settings.steps == 1


def test_a_scan_that_is_asked_to_judge_exits_as_the_gate_does(work, model_folder, capsys, monkeypatch):
    monkeypatch.chdir(work)
    scan = ["scan", "scan.txt", "-m", str(model_folder), "--calibration", "calibration.json", "--out", "run", *FAST]
    scan += ["--no-save-images"]
    code = run([*scan, "--fail-on", "suspicious"])
    said = capsys.readouterr().err
    assert code in (0, 1, 3)
    assert f"verdict: {({0: 'pass', 1: 'fail', 3: 'inconclusive'})[code]}" in said
    assert run(["gate", "run"]) == code
    assert run(scan) == 0
    held = json.loads((work / "run" / "run.json").read_text(encoding="utf-8"))
    assert held["policy"]["fail_on"] == "suspicious"
    assert len(held["plan_digest"]) == len(held["policy_digest"]) == len(held["calibration"]) == 64
    capsys.readouterr()
    assert run([*scan, "--fail-on", "copy"]) == 2  # another policy than before the first image
    assert 'another policy: fail_on was "suspicious", now "copy"' in capsys.readouterr().err
    assert run(["gate", "run", "--fail-on", "copy"]) == 3


def test_a_dry_run_says_what_can_be_shown_and_makes_nothing(work, model_folder, capsys, monkeypatch):
    monkeypatch.chdir(work)
    monkeypatch.setattr("memdetect.adapters.load", lambda *_args, **_more: pytest.fail("weights were loaded"))
    scan = ["scan", "scan.txt", "-m", str(model_folder), "--calibration", "calibration.json", "--out", "dry", *FAST]
    assert run([*scan, "--dry-run", "--max-rate", "0.2"]) == 0
    out = capsys.readouterr().out
    assert "plan: 2 items of 2 families against 27 clean prompts" in out
    assert (
        "minimum number of detections at a false discovery rate of 0.05: 2 above every clean prompt; 39 clean prompts"
        in out
    )
    assert "P(pass | clean), no finding by scores and none undecided: 0.00" in out
    assert "not even a clean model can pass: sensitivity: no index was searched and what the score can miss" in out
    assert "smallest scan that can show the policy: 14 families against 99 clean prompts" in out
    assert "2 images, 6 passes of the denoiser; about" in out
    assert "of weights on disk" in out
    assert "no index: outputs are not looked up" in out
    assert not (work / "dry").exists()


def test_a_dry_run_says_what_outputs_would_be_looked_up_in(work, capsys, monkeypatch):
    monkeypatch.chdir(work)
    monkeypatch.setattr("memdetect.adapters.load", lambda *_args, **_more: pytest.fail("weights were loaded"))
    scan = ["scan", "scan.txt", "-m", "emoji-scenes", "--dry-run"]
    assert run(scan) == 0
    rows = json.loads((model_folder_of("emoji-scenes") / "train.index" / "manifest.json").read_text("utf-8"))["count"]
    assert f"looked up among {rows} training images (embedder scenes)" in capsys.readouterr().out
    assert run([*scan, "--index", "own.index"]) == 2
    assert "'own.index'" in capsys.readouterr().err
    assert run([*scan, "--index", "own.index", "--no-index"]) == 2
    assert "index 'own.index' and no-index exclude each other" in capsys.readouterr().err
    assert run([*scan, "--train-images", "photos"]) == 2
    assert "'photos': the folder cannot be read" in capsys.readouterr().err
    Path("photos").mkdir()
    assert run([*scan, "--train-images", "photos"]) == 2
    assert "'photos' holds no image" in capsys.readouterr().err
    Image.new("RGB", (8, 8)).save("photos/a.png")
    assert run([*scan, "--train-images", "photos"]) == 0
    assert "looked up among the pictures of photos" in capsys.readouterr().out


@pytest.mark.parametrize("count", [0, 2, 12])
def test_prompts_of_the_bank_that_came_back_are_said_in_one_line(count, capsys):
    made = calibration([1.0]).model_copy(update={"bank": {"removed": [f"r{i}" for i in range(count)]}})
    _say_back(made)
    told = {
        2: "2 prompts that came back as copies are in the bank, ids r0, r1; take them out and calibrate again\n",
        12: "12 prompts that came back as copies are in the bank, ids r0, r1, r2, r3, r4, r5, r6, r7, r8, r9, ...; "
        "take them out and calibrate again\n",
    }
    assert capsys.readouterr().err == told.get(count, "")
