"""Halves, groups and cells of labelled runs."""

import json
from itertools import count

import numpy as np
import pytest

from memdetect.evaluation import cells
from memdetect.runs.folder import RunFolder


def labelled(**sizes: int) -> dict[str, str]:
    number = count()
    return {f"{group}-{next(number):03d}": group for group, size in sizes.items() for _ in range(size)}


def test_halves_cut_every_group_and_forget_the_order():
    groups = labelled(duplicated=40, control=40, seen=21, held=2)
    choosing, reporting = cells.halves(groups)
    assert choosing | reporting == set(groups)
    assert not choosing & reporting
    sizes = {g: sum(groups[i] == g for i in choosing) for g in groups.values()}
    assert sizes == {"duplicated": 20, "control": 20, "seen": 10, "held": 1}
    assert cells.halves(dict(reversed(groups.items()))) == (choosing, reporting)
    first = [i for i in groups if groups[i] == "duplicated"][:20]
    assert choosing & set(first) != set(first), "the halves follow the order of the ids"


def test_a_mean_of_layers_is_the_mean_of_their_seed_means(run):
    rows = list(RunFolder(run).measurements())
    scores = cells.scores_of(rows, cells.labels_of(rows, None, "matched"), "spikiness")
    own = rows[3].scores["spikiness"].cells
    expected = np.mean([own[layer]["50"] for layer in own])
    assert scores.cells["mean of all 2", "50"][rows[3].id] == pytest.approx(expected)


def test_groups_come_from_the_truth_file_where_there_is_one(run, tmp_path):
    rows = list(RunFolder(run).measurements())
    truth = tmp_path / "truth.jsonl"
    truth.write_text(json.dumps({"id": rows[0].id, "group": "held-out"}) + "\n", encoding="utf-8")
    assert cells.labels_of(rows, truth, "matched").groups[rows[0].id] == "held-out"
    assert cells.labels_of(rows, None, "matched").groups[rows[0].id] == "matched"


def test_the_world_s_own_parts_make_the_halves():
    groups = dict.fromkeys("abcdef", "matched")
    parts = {"a": "tuning", "b": "A", "c": "reporting", "d": "report", "e": "B", "f": "B"}
    assert cells.halves(groups, parts) == ({"a", "b"}, {"c", "d"})
