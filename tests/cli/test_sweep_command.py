"""`memdetect sweep` on a tiny pipeline: ranks, draws, writes the card, says that random weights are noise."""

import json
import shutil

import pytest

from memdetect.adapters.cards import read_card
from memdetect.cli import run


@pytest.fixture
def tiny_folder(model_folder, tmp_path):
    """A copy of the tiny pipeline with a card of its own."""
    folder = tmp_path / "model"
    shutil.copytree(model_folder, folder)
    (folder / "card.toml").write_text('name = "tiny"\nsteps = 2\nguidance_scale = 2.0\n', encoding="utf-8")
    return folder


@pytest.fixture
def labelled(tmp_path):
    rows = []
    for i in range(16):
        group, part = ("duplicated", "control")[i % 2], ("tuning", "test")[(i // 2) % 2]
        rows.append({"prompt": f"a {'cat' if i % 2 else 'dog'} of {i}", "group": group, "part": part})
    path = tmp_path / "labelled.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_a_sweep_ranks_draws_and_writes_the_card(labelled, tiny_folder, tmp_path, capsys):
    command = ["sweep", str(labelled), "--model", str(tiny_folder), "--out", str(tmp_path / "run")]
    command += ["--timestep", "50", "--timestep", "400", "--num-seeds", "1", "--layer", "up_blocks.*"]
    command += ["--positive", "duplicated", "--tuning-part", "tuning", "--test-part", "test"]
    assert run([*command, "--heat-map", str(tmp_path / "map.png"), "--write-card"]) == 0
    out, err = capsys.readouterr()
    assert "| spikiness" in out
    assert "combinations tried; the best of shuffled labels is as good in" in out
    assert (tmp_path / "map.png").stat().st_size > 1000
    card = read_card(tiny_folder)
    assert card.default.startswith("chosen by sweep for ")
    assert card.timesteps in ((50,), (400,))
    assert str(tiny_folder / "card.toml") in err


def test_prompts_without_groups_are_refused(tiny_folder, tmp_path, capsys):
    path = tmp_path / "plain.txt"
    path.write_text("a cat\na dog\n", encoding="utf-8")
    command = ["sweep", str(path), "--model", str(tiny_folder), "--positive", "cats", "--out", str(tmp_path / "run")]
    assert run(command) == 2
    assert "has no group" in capsys.readouterr().err


@pytest.fixture
def foreign(tmp_path):
    """Prompts of groups of one's own, without parts."""
    rows = [{"prompt": f"a thing of {i}", "group": ("famous", "plain", "new")[i % 3]} for i in range(18)]
    path = tmp_path / "foreign.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_a_sweep_takes_anybody_s_groups(foreign, tiny_folder, tmp_path, capsys):
    command = ["sweep", str(foreign), "--model", str(tiny_folder), "--timestep", "50", "--num-seeds", "1"]
    command += ["--layer", "mid_block*", "--out", str(tmp_path / "run"), "--positive", "famous"]
    assert run(command) == 0
    assert "| AUROC, plain, tuning split | AUROC, plain | AUROC, new |" in capsys.readouterr().out
    assert run([*command, "--against", "new"]) == 0
    assert "| AUROC, new, tuning split | AUROC, new |" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            ["--positive", "duplicated"],
            "fewer than two items are of the group duplicated; the groups are famous, plain, new",
        ),
        (["--positive", "famous", "--against", "control"], "of the group control"),
        (
            ["--positive", "famous", "--tuning-part", "x", "--test-part", "y"],
            "the tuning split has fewer than two",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused_before_the_scan(foreign, tiny_folder, tmp_path, capsys, more, message):
    assert run(["sweep", str(foreign), "--model", str(tiny_folder), "--out", str(tmp_path / "run"), *more]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_parts_that_nobody_named_are_refused_before_the_scan(labelled, tiny_folder, tmp_path, capsys):
    command = ["sweep", str(labelled), "--model", str(tiny_folder), "--out", str(tmp_path / "run")]
    assert run([*command, "--positive", "duplicated"]) == 2
    assert "have the parts test, tuning; say which are the tuning split (--tuning-part)" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
