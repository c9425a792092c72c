"""`memdetect lab text-control`: what the captions alone can tell."""

import json

import numpy as np
import pytest

from memdetect.cli import run
from memdetect.inputs.prompts import read
from memdetect.lab.world.text_control import bundled, compare


def prompts(path, word: str, seed: int = 3):
    """Captions of random letters; those of one group have `word` in them."""
    rng = np.random.default_rng(seed)
    lines = []
    for i in range(80):
        text = "".join(rng.choice(list("abcdefgh "), 12))
        group = ("duplicated", "control")[i % 2]
        lines.append(
            {"prompt": f"{text} {word if group == 'duplicated' else ''}", "group": group, "family": str(i // 2)}
        )
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return read([str(path)]).items


def test_captions_that_give_the_group_away_are_found_out(tmp_path):
    told = compare(prompts(tmp_path / "a.jsonl", "zzz"), "duplicated", "control", 20)
    assert told.auroc > 0.99
    assert told.high < 0.8
    assert told.p == pytest.approx(1 / 21)


def test_captions_that_do_not_are_at_one_half_on_average(tmp_path):
    told = [compare(prompts(tmp_path / f"{seed}.jsonl", "", seed), "duplicated", "control", 10) for seed in range(8)]
    assert 0.42 < np.mean([t.auroc for t in told]) < 0.58  # 0.022 = standard error of the mean of eight
    assert sum(t.p < 0.1 for t in told) <= 4


def test_the_captions_of_the_bundled_world_do_not_give_the_assignment_away():
    assert compare(bundled(0), "duplicated", "control", 20).p > 0.05


def test_the_command_compares_the_groups_of_the_prompts_and_assignments(tmp_path, capsys):
    prompts(tmp_path / "a.jsonl", "zzz")
    assert run(["lab", "text-control", str(tmp_path / "a.jsonl"), "--shuffles", "2", "--assignments", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("duplicated against control: 1.000 (shuffled labels: 0.")
    assert [line.split()[0] for line in lines[1:]] == ["seed", "seed", "mean"]


def test_too_few_captions_are_refused(tmp_path, capsys):
    rows = [{"prompt": f"a {i}", "group": ("duplicated", "control")[i % 2], "family": str(i)} for i in range(18)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run(["lab", "text-control", str(tmp_path / "a.jsonl")]) == 2
    assert "fewer than ten captions are of duplicated or of control" in capsys.readouterr().err
