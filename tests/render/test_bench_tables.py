"""The tables of a bench: both controls beside every row, no line too long, nothing that a terminal would obey."""

import csv
import re
from io import StringIO

import pytest

from memdetect.render.bench import bench_csv, render_bench

NAMES = ["agreement", "noise-gap", "a-detector-with-a-rather-long-name", "spikiness"]


def area(value, negatives, behind=None):
    """One side of a row."""
    tprs = []
    for level in (0.01, 0.05):
        resolved = negatives * level >= 1
        counts = {"found": 27, "false": 1, "share": 0.9, "low": 0.736, "high": 0.979}
        counts = counts if resolved else dict.fromkeys(counts)
        tprs.append({"level": level, "positives": 30, "negatives": negatives, **counts})
    gap = None if behind is None else {"value": behind, "low": behind - 0.04, "high": behind + 0.05}
    own = {"auroc": value, "low": value - 0.1, "high": min(1.0, value + 0.01), "positives": 30, "negatives": negatives}
    return {**own, "tpr": tprs, "behind": gap}


def document(positive="famous", names=NAMES, control="plain"):
    """A bench of one comparison, as `bench.json` holds it."""
    rows = [
        {"detector": name, "control": area(0.98 - k / 10, 30, -k / 10 if k else None) if control else None,
         "clean": area(0.97 - k / 10, 1000, -k / 10 if k else None), "style": {"auroc": 0.51, "low": 0.4, "high": 0.6},
         "found": {"found": 28, "false": 1, "positives": 30, "m": 1030, "n": 2400, "needed": 9}, "lost": k}
        for k, name in enumerate(names)
    ]  # fmt: skip
    told = {"auroc": 0.52, "low": 0.4, "high": 0.6, "p": 0.4}
    every = [
        {"detector": name, "chosen": "-steps 1-3, up_blocks.1.resnets.1, t=100" if k else "its own", "tried": 1040,
         "tuning": 0.9, "place": {}, "turned": bool(k), "passes_more": 2, "passes_alone": 12, "slower": 0.031,
         "screen": 0.31}
        for k, name in enumerate(names)
    ]  # fmt: skip
    counts = {group: {"test": {"prompts": 30, "families": 30}} for group in (positive, control, "fresh") if group}
    return {
        "model": "tiny", "tried": 4160, "fdr": 0.05, "best": names[0], "detectors": every, "dose": {},
        "settings": {"steps": 10, "guidance_scale": 2.5, "num_seeds": 2, "seed": 0, "dtype": "fp32", "device": "cpu"},
        "asked": {"clean": ["fresh"]},
        "counts": {"groups": counts, "families_in_two_splits": 0},
        "comparisons": [{"positive": positive, "control": control, "text": {"control": told if control else None,
                         "clean": {**told, "auroc": 0.8, "p": 0.02}}, "rows": rows}],
        "missing": {"trajectory": "detector 'trajectory' compares with a bank of clean prompts"},
    }  # fmt: skip


@pytest.mark.parametrize("width", [80, 100, 130, 200])
def test_no_line_is_wider_than_the_terminal_and_no_number_is_cut(width):
    text = render_bench(document(), width=width)
    assert max(map(len, text.splitlines())) <= width
    starts = ("agreement ", "noise-gap ", "a-detector-", "spikiness ")
    rows = [line for line in text.splitlines() if line.startswith(starts) and not line.endswith((".", ","))]
    assert len(rows) == (8 if width == 200 else 12)
    assert all(re.search(r"\d%?$", line) for line in rows)


def test_a_row_has_both_controls_beside_it_and_all_its_numbers():
    text = render_bench(document(), width=200)
    (row,) = [line for line in text.splitlines() if line.startswith("noise-gap")][:1]
    assert row.split("  ")[0] == "noise-gap"
    for number in (
        ".88 [.78, .89]",
        "-.10 [-.14, -.05]",
        ".52",
        ".87 [.77, .88]",
        ".90 [.74, .98]",
        "28 (1)",
        ".80*",
        ".51",
    ):
        assert number in row
    assert "against its controls" in text
    narrow = render_bench(document(), width=80).splitlines()
    first = narrow.index("  against its controls")
    assert narrow[first + 1].split()[0] == "detector"
    assert narrow[first + 1].split()[-2:] == ["text", "style"]


def test_what_cannot_be_said_is_said_to_be_so():
    text = render_bench(document(), width=120)
    assert "No TPR where the prompts cannot resolve it: 1% needs 100, there are 30." in " ".join(text.split("\n"))
    assert "- trajectory: detector 'trajectory' compares with a bank of clean prompts" in text
    assert "Without a finite score: 1 prompts by noise-gap" in text
    assert "at least 9 have to stand above all of these" in " ".join(text.split())


def test_without_controls_there_is_one_table():
    text = render_bench(document(control=""), width=130)
    assert "against its controls" not in text
    assert "less the best" in text


def test_hostile_names_show_nothing_but_themselves():
    found = document(positive="\x1b[31mred\n", names=["=cmd()", "a\u202eb"])
    assert "\x1b" not in render_bench(found, width=120)
    assert "\u202e" not in render_bench(found, width=120)
    cells = list(csv.reader(StringIO(bench_csv(found), newline="")))
    assert cells[1][2] == "'=cmd()"
    assert "\\x1b[31mred\\n" in cells[1][0]


def test_the_csv_has_every_number_of_a_row():
    rows = list(csv.DictReader(StringIO(bench_csv(document()), newline="")))
    assert [row["detector"] for row in rows] == NAMES
    one = rows[1]
    expected = {
        "positive": "famous",
        "control": "plain",
        "control:auroc": "0.88",
        "control:less_best_value": "-0.1",
        "control:tpr_1%": "",
        "clean:tpr_1%": "0.9",
        "clean:tpr_5%:low": "0.736",
        "control:text": "0.52",
        "fdr:found": "28",
        "style": "0.51",
        "chosen": "'-steps 1-3, up_blocks.1.resnets.1, t=100",
        "passes_alone": "12",
        "slower": "0.031",
        "lost": "1",
    }
    assert {name: one[name] for name in expected} == expected
