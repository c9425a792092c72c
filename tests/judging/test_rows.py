"""Rows hold what judging needs; records and results are made of them on demand, the same as those kept whole."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from recorded_runs import recorded, scene
from synthetic_runs import calibration, header, plan_of, row, write_run

from memdetect.judging import judge, read_runs
from memdetect.judging.calibration import Calibration, read_calibration
from memdetect.judging.rows import Records, rows_of
from memdetect.runs.folder import RunFolder
from memdetect.runs.records import Score

BOTH = {"detectors": ["spikiness", "other"], "combine": ["spikiness", "other"]}
CLEAN = calibration([float(i) for i in range(99)])


COUNTER = """
import sys
from pathlib import Path
from memdetect.judging import judge, read_runs
from memdetect.runs.records import Measurement

class Counting:
    lines = []

    def validate_json(self, line, **options):
        self.lines.append(line)
        return plain.validate_json(line, **options)

Measurement.model_rebuild()
plain, Measurement.__pydantic_validator__ = Measurement.__pydantic_validator__, Counting()
found = read_runs([Path(sys.argv[1])])
results, verdict = judge(found.header, found.rows, found.calibration, altered=found.altered)
print(len(Counting.lines), len(set(Counting.lines)), len(results), verdict.measured)
print(results[7].id, len(Counting.lines))
"""


def test_a_gate_parses_each_line_once(tmp_path: Path) -> None:
    """In a process of its own: this suite reads arguments to check their types, and makes measurements by that."""
    folder = write_run(tmp_path / "run", header(30, CLEAN), [row(i, float(i)) for i in range(30)], CLEAN)
    command = [sys.executable, "-c", COUNTER, str(folder)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines() == ["30 30 30 30", "i7 31"], done.stderr


@pytest.mark.parametrize("name", ["memorizing", "clean"])
def test_a_run_that_was_read_is_judged_as_one_in_memory(name: str, tmp_path: Path) -> None:
    made = scene(name)
    found = read_runs([made.write(tmp_path / "run")])
    read, verdict = judge(found.header, found.rows, found.calibration)
    held, expected = judge(made.header, recorded(name), made.calibration)
    assert list(found.rows) == list(RunFolder(tmp_path / "run").measurements()) == list(recorded(name))
    assert list(read) == list(held)
    assert read[3:5] == held[3:5]
    assert (verdict.rules, verdict.tally, verdict.counts) == (expected.rules, expected.tally, expected.counts)


def test_rows_that_were_read_for_another_plan_are_read_again() -> None:
    rows = [row(i, {"spikiness": 1.0, "other": 2.0}) for i in range(3)]
    kept = Records(rows_of(rows, plan_of()), plan_of())
    assert [own.scores for own in kept.rows] == [(1.0,)] * 3
    assert rows_of(kept, plan_of(seed=9)) is kept.rows
    assert [own.scores for own in rows_of(kept, plan_of(**BOTH))] == [(1.0, 2.0)] * 3
    assert [own.scores for own in rows_of(kept, plan_of(num_seeds=1))] == [(None,)] * 3


@pytest.mark.parametrize(
    "cells",
    [
        {},
        {"up": {}},
        {"up": {"50": [1.0]}},
        {"up": {"50": [1.0, None]}},
        {"up": {"50": [1.0, float("nan")]}},
        {"up": {"50": [float("inf"), float("-inf")]}},
        {"up": {"50": [1.0, 2.0, 3.0]}},
    ],
)
def test_a_score_needs_a_finite_value_for_each_seed(cells: dict[str, dict[str, list[float | None]]]) -> None:
    (own,) = rows_of(
        [row(0, 1.0).model_copy(update={"scores": {"spikiness": Score(score=1.0, cells=cells)}})], plan_of()
    )
    assert own.scores == (None,)


def test_several_runs_count_their_records_on(tmp_path: Path) -> None:
    def folders() -> Iterator[Path]:
        for k, name in enumerate("ab"):
            rows = [row(i, float(i), id=f"{name}{i}") for i in range(3)]
            yield write_run(tmp_path / name, header(3, CLEAN, plan={"seed": k}), rows, CLEAN)

    found = read_runs(list(folders()))
    assert [measured.index for measured in found.rows] == list(range(6))
    results, _ = judge(found.header, found.rows, found.calibration)
    assert [result.index for result in results] == list(range(6))
    assert {result.id[0] for result in results[:3]} != {result.id[0] for result in results[3:]}


def test_a_copy_of_clean_scores_has_a_digest_of_its_own(tmp_path: Path) -> None:
    whole = CLEAN.digest
    other = CLEAN.model_copy(update={"strata": "kind"})
    assert other.digest != whole == CLEAN.digest
    cut = CLEAN.cut(plan_of())
    path = tmp_path / "calibration.json"
    path.write_text(cut.model_dump_json() + "\n", encoding="utf-8")
    for named in ("", cut.digest, "0" * 64):
        found = read_calibration(path, named)
        assert found == cut
        assert found is not None
        assert (found.digest, found.cut(plan_of()).digest) == (cut.digest, cut.digest)
    path.write_text(cut.model_dump_json(indent=1), encoding="utf-8")
    found = read_calibration(path, cut.digest)
    assert found is not None
    assert found.digest == cut.digest


def test_the_bundled_clean_scores_are_as_they_were() -> None:
    """Their digest stands in the headers of runs."""
    made = read_calibration(Path(__file__).parents[2] / "models" / "emoji-scenes" / "calibration.json")
    assert isinstance(made, Calibration)
    assert made.digest == "8553d5b2ce56f2d13c1b4f31cf30faed68a9ebdd3ffe3c014c2fa7125de414b1"
