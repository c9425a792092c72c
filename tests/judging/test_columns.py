"""Columns of many items against plain lists, and how little of a run is held while it is judged."""

import subprocess
import sys
from array import array
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memdetect.judging import columns
from memdetect.judging.columns import Codes, Filtered, Numbers, Pieces, Shared, Texts, distinct, parted

TEXTS = st.lists(st.none() | st.text(st.characters(codec=None), max_size=8))


@given(TEXTS)
def test_texts_are_a_list(values):
    held = Texts()
    for value in values:
        held.append(value)
    assert [held[i] for i in range(len(held))] == values


@given(st.lists(st.integers(0, 99)), st.integers(1, 5), st.sampled_from([list, bytearray, lambda: array("I")]))
def test_pieces_are_a_list(values, size, kind):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(columns, "PIECE", size)
        held = Pieces[int](kind)
        for value in values:
            held.append(value)
        assert list(held) == [held[i] for i in range(len(held))] == values
        assert [held[i - len(held)] for i in range(len(held))] == values
        with pytest.raises(IndexError):
            held[len(values)]


@given(TEXTS, st.integers(1, 5))
def test_texts_of_several_pieces_are_a_list(values, size):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(columns, "PIECE", size)
        test_texts_are_a_list.hypothesis.inner_test(values)


def test_ends_of_texts_beyond_their_type_take_a_wider_one():
    """As those of more than 4 GB do, here with one byte for each end."""
    piece = columns._Text()
    piece._ends = array("B")
    texts = ["a" * 100, None, "b" * 155, "c", "d" * 300]
    for text in texts:
        piece.append(text)
    assert piece[:] == texts
    assert piece._ends.typecode == "Q"


@given(st.lists(st.none() | st.floats(allow_nan=False)))
def test_numbers_are_a_list(values):
    held = Numbers(values)
    assert [held[i] for i in range(len(values))] == values


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 2))))
def test_codes_are_a_list_that_keeps_equal_values_once(values):
    held = Codes(values)
    assert list(held) == [held[i] for i in range(len(held))] == values
    assert len({id(value) for value in held}) == len(set(values))
    assert list(held.distinct) == list(dict.fromkeys(values))
    assert list(held.mapped([value[1] for value in held.distinct])) == [value[1] for value in values]


def test_what_is_shared_stays_what_it_was():
    """The number of an object that is gone may be another's: what was kept keeps its parts."""
    shared = Shared[tuple[list[int]]](most=3)
    found = []
    for i in range(50):
        part = [i]
        found.append(shared.of((part,), part))
        assert shared.of((part,), part) == ([i],)
    assert found == [([i],) for i in range(50)]


class Alike(str):
    """A text whose hash others have as well."""

    __slots__ = ()

    def __hash__(self) -> int:
        return len(self)


@given(st.lists(st.text("ab", max_size=3)), st.sampled_from([str, Alike]))
def test_distinct_texts_are_counted_even_where_hashes_are_equal(texts, kind):
    assert distinct(lambda: (kind(text) for text in texts)) == len(set(texts))


@given(st.lists(st.integers(-(2**63), 2**63 - 1)))
def test_equal_numbers_are_in_one_part(values):
    parts = parted("q", values, by=lambda value: value >> 1)
    assert sorted(value for part in parts for value in part) == sorted(values)
    assert sum(len({value >> 1 for value in part}) for part in parts) == len({value >> 1 for value in values})


def test_what_is_filtered_is_found_each_time():
    held = [1, 2, 3, 4]
    even = Filtered(held, lambda value: value % 2 == 0)
    assert (list(even), len(even), list(even)) == ([2, 4], 2, [2, 4])


PEAK = """
import sys, tracemalloc
from pathlib import Path
from memdetect.judging import judge, read_runs
judge(*[(found := read_runs([Path(sys.argv[1])])).header, found.rows, found.calibration])  # what is imported once
del found
tracemalloc.start()
found = read_runs([Path(sys.argv[1])])
tracemalloc.reset_peak()  # a shard is read into a buffer of the largest size that a file may have
results, verdict = judge(found.header, found.rows, found.calibration, altered=found.altered)
held, peak = tracemalloc.get_traced_memory()
print(held, peak, len(results))
"""
SIZES = (500, 2500)
HELD, HIGHEST = 220, 400  # bytes a record: kept, and at the highest point, of ids of 16 and prompts of 53 characters


def test_judging_holds_a_few_hundred_bytes_a_record(tmp_path: Path):
    """By what four fifths of the records add, as tracemalloc counts it in a process of its own."""
    sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
    try:
        from gate import make_run
    finally:
        sys.path.pop(0)
    found = []
    for size in SIZES:
        make_run(tmp_path / f"{size}", size, 100)
        command = [sys.executable, "-c", PEAK, str(tmp_path / f"{size}")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=Path(__file__).parents[2])
        assert not done.stderr, done.stderr
        found.append([int(part) for part in done.stdout.split()])
    assert [count for _, _, count in found] == list(SIZES)
    held, highest = ((found[1][k] - found[0][k]) / (SIZES[1] - SIZES[0]) for k in (0, 1))
    print(held, highest)
    assert 100 < held < HELD, (held, highest)
    assert held < highest < HIGHEST, (held, highest)
