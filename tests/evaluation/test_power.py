"""`memdetect lab power`, on runs whose truth is known."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from synthetic_runs import calibration, header, row, write_run
from wordings import captions, titles, two_kinds, unheld

from memdetect.cli import run
from memdetect.copies.match import Match
from memdetect.errors import MemdetectError
from memdetect.evaluation.power import Wanted, by_group, power, powers, rates, resplits
from memdetect.judging import Runs, read_runs
from memdetect.judging.rows import Records, rows_of
from memdetect.judging.telling import kinds_in, told_fields
from memdetect.runs.policy import Policy

RNG = np.random.default_rng(0)
MADE = calibration(RNG.normal(size=799).tolist())


def run_of(folder: Path, values: dict[str, list[float]], first: int) -> Path:
    pairs = [(group, x) for group, own in values.items() for x in own]
    rows = [row(i, x, meta={"group": group, "part": "test"}) for i, (group, x) in enumerate(pairs, first)]
    return write_run(folder, header(len(rows), MADE), rows, MADE, 50)


def test_clean_prompts_and_groups_are_reported(tmp_path, capsys):
    clean = run_of(tmp_path / "clean", {"clean": np.random.default_rng(2).normal(size=200).tolist()}, 0)
    groups = {
        "duplicated": (8 + RNG.normal(size=20)).tolist(),
        "control": RNG.normal(size=20).tolist(),
        "template": RNG.normal(size=10).tolist(),
    }
    labelled = run_of(tmp_path / "labelled", groups, 5000)
    table = tmp_path / "all.json"
    command = ["lab", "power", str(clean), "--labelled", str(labelled), "--splits", "50"]
    code = run([*command, "--json", str(table)])
    out, found = capsys.readouterr().out, json.loads(table.read_text())
    assert code == 0
    assert [entry["rank"] for entry in found["rates"]] == [8, 40, 80]
    assert "duplicated among control: 20 of 20 found at FDR 0.05" in out
    by_pair = {(entry["group"], entry["among"]): entry for entry in found["power"]}
    assert set(by_pair) == {("duplicated", "control"), ("duplicated", "clean"), ("template", "clean")}
    duplicated = by_pair["duplicated", "clean"]
    assert duplicated == duplicated | {"m": 220, "m1": 20, "n": 799, "h": 6, "found": 20}
    assert by_pair["template", "clean"]["found"] <= 1
    assert run([*command, "--pair", "template=duplicated"]) == 0
    assert "template among duplicated: " in (out := capsys.readouterr().out)
    assert "duplicated among control" not in out


def test_power_is_that_of_the_scores_whatever_an_index_found():
    copied = Match(rank=1, key="k", similarity=0.99, similar=True, copy_found=True)
    high = [row(i, 9.0).model_copy(update={"matches": [copied]}) for i in range(5)]
    low = [row(i, -9.0).model_copy(update={"matches": [copied]}) for i in range(5, 10)]
    head = header(10, MADE)
    found = power(head, (high, low), MADE, ("duplicated", "control"), Policy(fdr=0.05))
    assert (found.found, found.false) == (5, 0)


def test_shifted_clean_prompts_are_outside(tmp_path, capsys):
    clean = run_of(tmp_path / "clean", {"clean": (1 + RNG.normal(size=200)).tolist()}, 0)
    assert run(["lab", "power", str(clean), "--splits", "5"]) == 1
    assert "OUTSIDE" in capsys.readouterr().out


def test_resplits_of_one_population_keep_their_interval():
    found = resplits(RNG.normal(size=1000).tolist(), 800, 0.05, 200)
    assert abs(found.share - 0.05) < 0.01
    assert found.outside <= 25


def test_a_run_without_groups_is_refused(tmp_path, capsys):
    clean = run_of(tmp_path / "clean", {"clean": RNG.normal(size=50).tolist()}, 0)
    assert run(["lab", "power", str(clean), "--labelled", str(clean), "--splits", "2"]) == 2
    assert "expected some of" in capsys.readouterr().err
    with pytest.raises(MemdetectError, match="groups \\['clean'\\], expected some of \\['odd'\\]"):
        powers(read_runs([clean]), None, Wanted({"odd": "even"}, test_split=True), Policy())


def test_rows_of_other_parts_are_left_out_where_there_are_parts():
    rows = [row(i, 0.0, meta={"group": "a", **part}) for i, part in enumerate([{"part": "x"}, {"part": "y"}, {}])]
    assert [r.id for r in by_group(rows, ["x"])["a"]] == [rows[0].id, rows[2].id]
    assert by_group(rows, ["z"]) == by_group(rows) == {"a": rows}


def test_the_test_split_holds_whole_families():
    """Mutant: each prompt by its own hash, so that what was chosen on siblings is reported on siblings."""
    rows = [row(i, 0.0, meta={"group": "odd", "family": f"f{i // 8}"}) for i in range(160)]
    negatives = [row(i, 0.0, meta={"group": "even", "family": ""}) for i in range(160, 200)]
    head = header(200, MADE)
    (found,) = powers(
        Runs(head, Records(rows_of([*rows, *negatives], head.plan), head.plan), MADE, ()),
        None,
        Wanted({"odd": "even"}, test_split=True),
        Policy(),
    )
    assert (found.m1, found.m) == (80, 100)


def test_other_clean_scores_tell_the_kinds_of_both_runs(tmp_path):
    """The runs were told by clean prompts of one kind; given others, of two kinds, each prompt is ranked in its own."""
    made = two_kinds()
    file = tmp_path / "clean.json"
    file.write_text(made.model_dump_json(), encoding="utf-8")
    texts = [*unheld(captions(99, seed=9), made)[:40], *unheld(titles(99, seed=9), made)[:40]]
    values = [*np.random.default_rng(1).normal(0, 1, 40).tolist(), *np.random.default_rng(2).normal(5, 1, 40).tolist()]
    rows = [row(i, x, prompt=t, kind="0", novelty=0.1) for i, (t, x) in enumerate(zip(texts, values, strict=True))]
    clean = read_runs([write_run(tmp_path / "clean", header(80, MADE), rows, MADE)], file)
    found, _ = rates(clean, 5, [0.05])
    assert [(each.kind, each.m) for each in found] == [("kind 0", 40), ("kind 1", 40)]
    assert all(each.inside for each in found)
    texts = [*unheld(captions(99, seed=11), made)[-5:], *unheld(titles(99, seed=11), made)[-5:]]
    own = enumerate(zip(texts, told_fields(texts, kinds_in(made)), strict=True), 100)
    labelled = [row(i, 99.0, prompt=text, meta={"group": "odd"}, **fields) for i, (text, fields) in own]
    others = read_runs([write_run(tmp_path / "labelled", header(10, made), labelled, made)])
    (among,) = powers(replace(others, calibration=made), clean, Wanted({"odd": "even"}), Policy(fdr=0.05))
    assert (among.m, among.undecided, among.false) == (90, 0, 0)


@pytest.mark.parametrize("pair", ["duplicated", "=control", "duplicated="])
def test_a_pair_without_two_groups_is_refused(pair, tmp_path, capsys):
    assert run(["lab", "power", str(tmp_path), "--pair", pair]) == 2
    assert "expected GROUP=CONTROL" in capsys.readouterr().err
