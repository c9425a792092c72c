"""Files of very many prompts: what is held of a line, and lines against the standard library's."""

import csv
import io
import json
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memdetect.inputs import prompts
from memdetect.inputs.prompts import read
from memdetect.inputs.tables import lines_of

FEW, MANY = 300, 3300
EACH = {"txt": 460, "jsonl": 520, "csv": 520}  # bytes that a line may add to the most, its own 60 to 110 included


@given(st.text(st.sampled_from('ab\r\n\u2028\x0c ,"')))
def test_lines_are_those_of_a_file(text):
    assert list(lines_of(text)) == list(io.StringIO(text, newline=""))
    try:
        expected = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error:
        return
    assert list(csv.reader(lines_of(text), strict=True)) == expected


def made(path: Path, count: int) -> Path:
    texts = [f"a photo of a thing number {i} beside a house and a tree" for i in range(count)]
    lines = {
        ".txt": texts,
        ".jsonl": [json.dumps({"prompt": text, "id": f"p{i}", "group": "clean"}) for i, text in enumerate(texts)],
        ".csv": ["id,prompt,group", *(f"p{i},{text},clean" for i, text in enumerate(texts))],
    }[path.suffix]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("form", sorted(EACH))
def test_a_line_takes_a_few_hundred_bytes(tmp_path, form, monkeypatch):
    tops = []
    for count in (FEW, MANY):
        path = made(tmp_path / f"{count}.{form}", count)
        monkeypatch.setattr(prompts, "MAX_BYTES", path.stat().st_size)  # the buffer that a file is read into
        read([path])
        tracemalloc.start()
        found = read([path])
        tops.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert len(found.items) == count
    each = (tops[1] - tops[0]) / (MANY - FEW)
    assert 200 < each < EACH[form]


def test_equal_columns_are_held_once_and_unlike_ones_are_not_mixed(tmp_path):
    rows = [{"prompt": f"p{i}", "group": "ab"[i % 2]} for i in range(6)]
    rows += [{"prompt": "q0", "n": 1}, {"prompt": "q1", "n": True}, {"prompt": "q2", "n": 1.0}]
    path = tmp_path / "p.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    items = read([path]).items
    assert [item.meta for item in items] == [{k: v for k, v in row.items() if k != "prompt"} for row in rows]
    assert [type(item.meta["n"]) for item in items[6:]] == [int, bool, float]
    assert len({id(item.meta) for item in items[:6]}) == 2
