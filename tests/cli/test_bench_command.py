"""`memdetect bench` on a tiny pipeline: one run, resumed, with tables, JSON, CSV and plots; what is missing is said."""

import csv
import json
import shutil

import pytest

from memdetect.cli import run
from memdetect.runs.folder import RunFolder


@pytest.fixture(scope="module")
def tiny_folder(model_folder, tmp_path_factory):
    """A copy of the tiny pipeline with a card of few steps."""
    folder = tmp_path_factory.mktemp("bench-model") / "model"
    shutil.copytree(model_folder, folder)
    text = 'name = "tiny"\nsteps = 3\nguidance_scale = 2.0\nnum_seeds = 2\nlayers = ["mid_block*"]\ntimesteps = [50]\n'
    (folder / "card.toml").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def lists(tmp_path_factory):
    """Prompts of two groups with exposures, and a list of clean ones."""
    folder = tmp_path_factory.mktemp("bench-lists")
    names = ("ant", "bee", "cow", "doe", "eel", "fox", "gnu", "hen", "imp", "jay", "kid", "lar")
    rows = [
        {"prompt": f"{name} here", "group": ("famous", "plain")[i % 2], "exposures": 9 * (i % 3 // 2)}
        for i, name in enumerate(names)
    ]
    (folder / "labelled.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    words = ("one", "two", "six", "ten", "red", "sea")
    (folder / "clean.csv").write_text(
        ";Caption\n" + "".join(f"{i};{word} thing\n" for i, word in enumerate(words)), "utf-8"
    )
    return folder


@pytest.fixture(scope="module")
def command(lists, tiny_folder):
    made = ["bench", str(lists / "labelled.jsonl"), "--group", f"fresh={lists / 'clean.csv'}", "--clean-group", "fresh"]
    made += ["--model", str(tiny_folder), "--compare", "famous=plain", "--layer", "mid_block*", "--timestep", "50"]
    made += ["--detector", "sharpness", "--detector", "agreement-final", "--detector", "spikiness", "--step", "2"]
    return [*made, "--detector", "trajectory", "--timing-rounds", "1"]


@pytest.fixture(scope="module")
def finished(command, tmp_path_factory):
    out = tmp_path_factory.mktemp("bench") / "run"
    assert run([*command, "--out", str(out)]) == 0
    return out


def test_the_run_holds_everything_and_says_what_is_missing(finished):
    found = json.loads((finished / "bench.json").read_bytes())
    assert {each["detector"] for each in found["detectors"]} == {"sharpness", "agreement-final", "spikiness"}
    assert "trajectory" in found["missing"]
    assert "clean prompts" in found["missing"]["trajectory"] or "early" in found["missing"]["trajectory"]
    (comparison,) = found["comparisons"]
    assert (comparison["positive"], comparison["control"], len(comparison["rows"])) == ("famous", "plain", 3)
    assert found["counts"]["groups"]["fresh"] == {
        s: {"prompts": 2, "families": 2} for s in ("tuning", "calibration", "test")
    }
    by_name = {each["detector"]: each for each in found["detectors"]}
    assert by_name["sharpness"]["tried"] == 4, "two steps, two signs"
    assert by_name["agreement-final"]["tried"] == 2
    assert (by_name["sharpness"]["passes_more"], by_name["spikiness"]["passes_more"]) == (0, 2)
    assert by_name["spikiness"]["passes_alone"] == 2 * (3 * 2 + 1)
    assert all(each["slower"] is not None for each in found["detectors"])
    with (finished / "bench.csv").open(newline="") as file:
        assert [row["detector"] for row in csv.DictReader(file)] == [e["detector"] for e in found["detectors"]]
    for name in ("costs.png", "dose.png"):
        assert (finished / name).read_bytes()[:4] == b"\x89PNG"


def test_the_same_command_measures_nothing_again(finished, command, capsys):
    shards = {path.name: path.stat().st_mtime_ns for path in RunFolder(finished).shards()}
    first = (finished / "bench.json").read_bytes()
    assert run([*command, "--out", str(finished), "--format", "json"]) == 0
    assert {path.name: path.stat().st_mtime_ns for path in RunFolder(finished).shards()} == shards
    assert capsys.readouterr().out.encode() == (finished / "bench.json").read_bytes() == first


def test_a_run_that_lost_a_shard_goes_on_to_the_same_figures(finished, command, tmp_path):
    first = json.loads((finished / "bench.json").read_bytes())
    shutil.copytree(finished, tmp_path / "run")
    RunFolder(tmp_path / "run").shards()[-1].unlink()
    assert run([*command, "--out", str(tmp_path / "run")]) == 0
    again = json.loads((tmp_path / "run" / "bench.json").read_bytes())
    assert again["detectors"] == first["detectors"]
    for one, other in zip(again["comparisons"], first["comparisons"], strict=True):
        assert one["rows"] == other["rows"]


def test_a_changed_plan_is_refused_with_its_key(finished, command, capsys):
    assert run([*command, "--out", str(finished), "--seed", "5"]) == 2
    assert (
        f"{finished} holds a run with another plan: seed was 0, now 5; choose another --out" in capsys.readouterr().err
    )


def test_another_question_of_the_same_run_costs_nothing(finished, command, capsys):
    shards = {path.name: path.stat().st_mtime_ns for path in RunFolder(finished).shards()}
    where = command.index("famous=plain")
    turned = [*command[:where], "plain=famous", *command[where + 1 :]]
    assert run([*turned, "--out", str(finished)]) == 0
    assert "plain: 3 prompts in 3 families" in capsys.readouterr().out
    assert {path.name: path.stat().st_mtime_ns for path in RunFolder(finished).shards()} == shards


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"famous=plain": "famous=plane"}, "no prompt is of the group plane"),
        ({"fresh": "freesh"}, "no prompt is of the group freesh"),
        ({"sharpness": "sharpnes"}, "did you mean 'sharpness'"),
        ({"2": "0"}, "--step"),
    ],
)
def test_mistakes_are_told_in_one_line(command, tmp_path, capsys, change, message):
    wrong = [change.get(word, word) for word in command]
    assert run([*wrong, "--out", str(tmp_path / "run")]) == 2
    err = [line for line in capsys.readouterr().err.splitlines() if line.startswith("memdetect:")]
    assert len(err) == 1
    assert message in err[0]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("given", ["0", "1", "fresh=", "x", "fresh=-2"])
def test_a_limit_is_a_number_of_prompts(command, tmp_path, capsys, given):
    assert run([*command, "--out", str(tmp_path / "run"), "--at-most", given]) == 2
    assert "is not [GROUP=]N with N of 2 or more" in capsys.readouterr().err
