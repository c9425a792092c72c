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
        group, part = ("matched", "control")[i % 2], ("tuning", "reporting")[(i // 2) % 2]
        rows.append({"prompt": f"a {'cat' if i % 2 else 'dog'} of {i}", "group": group, "part": part})
    path = tmp_path / "labelled.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_a_sweep_ranks_draws_and_writes_the_card(labelled, tiny_folder, tmp_path, capsys):
    command = ["sweep", str(labelled), "--model", str(tiny_folder), "--out", str(tmp_path / "run")]
    command += ["--timestep", "50", "--timestep", "400", "--num-seeds", "1", "--layer", "up_blocks.*"]
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
    command = ["sweep", str(path), "--model", str(tiny_folder), "--out", str(tmp_path / "run"), "--num-seeds", "1"]
    assert run(command) == 2
    assert "has no group" in capsys.readouterr().err
