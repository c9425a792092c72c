"""One item of very many, found a line at a time."""

import tracemalloc
from pathlib import Path

import pytest

from memdetect.errors import MemdetectError
from memdetect.runs.records import Result
from memdetect.runs.results import ids_of, result_of

NAMES = ["plain", 'quote " and \\', "snow \u2603 \U0001f600", "back\\", "new\nline", '","id":"plain', "{", ""]


def written(folder: Path, names: list[str]) -> list[Result]:
    rows = [Result(index=i, id=name, source="p", prompt=f"prompt {i}", outcome="clear") for i, name in enumerate(names)]
    (folder / "results.jsonl").write_text("".join(row.model_dump_json() + "\n" for row in rows), encoding="utf-8")
    return rows


def test_any_id_finds_its_item(tmp_path):
    rows = written(tmp_path, NAMES)
    assert [result_of(tmp_path, name) for name in NAMES] == rows
    assert list(ids_of(tmp_path)) == NAMES
    assert result_of(tmp_path, "prompt 1") is None


def test_a_line_that_begins_in_another_way_is_read_too(tmp_path):
    (row,) = written(tmp_path, ["own"])
    text = row.model_dump_json()
    (tmp_path / "results.jsonl").write_text('{"id":"own",' + text[1:].replace('"id":"own",', "", 1) + "\n")
    assert result_of(tmp_path, "own") == row


def test_a_damaged_line_is_named_where_it_may_be_the_item(tmp_path):
    written(tmp_path, ["a", "b"])
    lines = (tmp_path / "results.jsonl").read_text().splitlines()
    (tmp_path / "results.jsonl").write_text(f"{lines[0]}\n{lines[1][:60]}\n")
    assert result_of(tmp_path, "a")
    with pytest.raises(MemdetectError, match="line 2 is damaged"):
        result_of(tmp_path, "b")


def test_an_unfinished_run_has_none(tmp_path):
    with pytest.raises(MemdetectError, match="the scan is not finished"):
        result_of(tmp_path, "a")


def test_memory_holds_a_line(tmp_path):
    written(tmp_path, [f"i{i}" for i in range(3000)])
    result_of(tmp_path, "i0")
    tracemalloc.start()
    found = result_of(tmp_path, "i2999")
    top = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found is not None
    assert (tmp_path / "results.jsonl").stat().st_size > 600_000
    assert top < 150_000
