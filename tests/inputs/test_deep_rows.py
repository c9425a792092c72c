"""Whatever a row holds beside its prompt can be written to a record and read back, or is refused with its line."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memdetect.errors import MemdetectError
from memdetect.inputs.given import prompt_requests
from memdetect.inputs.prompts import read
from memdetect.inputs.tables import DEEPEST
from memdetect.runs.records import Measurement


def nested(depth: int, kind: str) -> str:
    return "[" * depth + "]" * depth if kind == "lists" else '{"a":' * depth + "1" + "}" * depth


def recorded(meta: Any) -> dict[str, Any]:
    """Columns as a shard holds them, read back."""
    row = Measurement(index=0, id="a", source="p", meta=dict(meta))
    return Measurement.model_validate_json(row.model_dump_json()).meta


@pytest.mark.parametrize("kind", ["lists", "tables"])
def test_a_column_is_kept_as_deep_as_records_can_be_read_back(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(f'{{"prompt": "a", "x": {nested(DEEPEST - 2, kind)}}}\n', encoding="utf-8")
    (item,) = read([path]).items
    assert recorded(item.meta) == item.meta
    for depth in (DEEPEST, 2 * DEEPEST, 5 * DEEPEST, 100_000):
        path.write_text(f'{{"prompt": "a"}}\n{{"prompt": "a", "x": {nested(depth, kind)}}}\n', encoding="utf-8")
        with pytest.raises(MemdetectError, match=r"line 2: (columns nested deeper|broken JSON)"):
            read([path])


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("x", object(), "what JSON has no form for"),
        ("x", float("nan"), "a number that is not finite"),
        ("x", "\ud800", "a lone surrogate"),
        ("x", b"1", "what JSON has no form for"),
        ("x", {1, 2}, "what JSON has no form for"),
        ("x", 10**5000, "what JSON has no form for"),
        (1, "a", "a column is called 1, which is no text"),
        (None, "a", "a column is called None"),
    ],
    ids=["object", "nan", "surrogate", "bytes", "set", "long", "number", "none"],
)
def test_a_row_from_python_that_no_record_can_hold_is_refused(name: Any, value: Any, said: str) -> None:
    with pytest.raises(MemdetectError, match=said):
        prompt_requests([{"prompt": "a", name: value}])


def test_a_row_from_python_that_is_too_deep_is_refused() -> None:
    with pytest.raises(MemdetectError, match="nested deeper than"):
        prompt_requests([{"prompt": "a", "x": json.loads(nested(300, "lists"))}])


columns = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(st.dictionaries(st.text().filter(lambda name: name.lower() not in ("prompt", "caption", "text")), columns))
def test_what_is_taken_reads_back(meta: dict[str, Any]) -> None:
    try:
        (item,) = prompt_requests([{**meta, "prompt": "a cat"}]).items
    except MemdetectError:
        return
    assert recorded(item.meta) == item.meta
