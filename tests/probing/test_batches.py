"""Batches keep their order, shrink only where memory runs out, and every draw has a seed of its own."""

import hashlib
import weakref
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from memdetect.errors import Exit, MemdetectError
from memdetect.probing.batches import Batching, seed_of

examples = settings(max_examples=60)
OUT_OF_MEMORY = (
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory"),
    RuntimeError("MPS backend out of memory (MPS allocated: 9.0 GB)"),
)


def bounds(rows: slice) -> tuple[int, int]:
    return rows.start, rows.stop


@examples
@given(st.integers(0, 40), st.integers(1, 12))
def test_every_row_comes_once_and_in_order(rows, size):
    slices = list(Batching(size).run(rows, bounds))
    assert [i for start, stop in slices for i in range(start, stop)] == list(range(rows))
    assert all(stop - start == size for start, stop in slices[:-1])


@pytest.mark.parametrize("problem", OUT_OF_MEMORY, ids=["cuda", "cpu", "mps"])
def test_only_the_batch_that_failed_is_halved(problem):
    tried: list[tuple[int, int]] = []

    def work(rows: slice) -> tuple[int, int]:
        tried.append(bounds(rows))
        if rows.start == 8 and rows.stop - rows.start > 2:
            raise problem
        return bounds(rows)

    batching = Batching(8)
    with mock.patch("gc.collect"):
        assert list(batching.run(20, work)) == [(0, 8), (8, 10), (10, 18), (18, 20)]
    assert tried == [(0, 8), (8, 16), (8, 12), (8, 10), (10, 18), (18, 20)]
    assert batching.halved == [(8, 4), (4, 2)]
    assert batching.size == 8


@examples
@given(st.integers(0, 40), st.integers(1, 12), st.integers(1, 12))
def test_no_row_is_lost_when_memory_is_short(rows, size, room):
    def work(part: slice) -> range:
        if part.stop - part.start > room:
            raise OUT_OF_MEMORY[0]
        return range(part.start, part.stop)

    batching = Batching(size)
    with mock.patch("gc.collect"):  # a true one takes a tenth of a second
        done = list(batching.run(rows, work))
    assert [i for part in done for i in part] == list(range(rows))
    assert all(len(part) <= min(size, room) for part in done)
    assert all(after == before // 2 for before, after in batching.halved)


def test_a_real_allocation_that_fails_is_recognised():
    def work(rows: slice) -> int:
        return torch.empty(2**50 if rows.stop - rows.start > 1 else 1).numel()

    assert list(Batching(2).run(2, work)) == [1, 1]


def test_what_a_failed_batch_held_is_free_before_the_next_try():
    held: list[weakref.ref[torch.Tensor]] = []

    def work(rows: slice) -> bool:
        if not held:
            large = torch.zeros(8)
            held.append(weakref.ref(large))
            raise torch.OutOfMemoryError
        return held[0]() is None

    assert list(Batching(2).run(2, work)) == [True, True]


def test_no_memory_for_a_single_row_is_an_error_of_one_line():
    batching = Batching(2)

    def work(_rows: slice) -> None:
        raise OUT_OF_MEMORY[0]

    with pytest.raises(MemdetectError, match="batch size 1") as caught:
        list(batching.run(4, work))
    assert caught.value.exit is Exit.ERROR
    assert "\n" not in str(caught.value)
    assert batching.halved == [(2, 1)]


@pytest.mark.parametrize("problem", [RuntimeError("mat1 and mat2 shapes cannot be multiplied"), ValueError("no")])
def test_another_error_passes_through_untouched(problem):
    batching = Batching(4)

    def work(_rows: slice) -> None:
        raise problem

    with pytest.raises(type(problem)) as caught:
        list(batching.run(4, work))
    assert caught.value is problem
    assert batching.halved == []


@pytest.mark.parametrize("size", [0, -1])
def test_a_batch_holds_at_least_one_row(size):
    with pytest.raises(MemdetectError, match=f"batch size is {size}"):
        Batching(size)


def test_a_seed_is_63_bits_of_sha256_and_stays_the_same():
    assert seed_of(7, "a red cat", 2) == 7782788365306825151
    digest = hashlib.sha256(b"7|a red cat|2|image").hexdigest()
    assert seed_of(7, "a red cat", 2) == int(digest[:16], 16) // 2


@examples
@given(st.integers(0, 2**63), st.text(), st.integers(0, 1000), st.text())
def test_any_seed_is_one_that_torch_takes(run_seed, item, k, purpose):
    seed = seed_of(run_seed, item, k, purpose)
    assert 0 <= seed < 2**63
    assert torch.Generator("cpu").manual_seed(seed).initial_seed() == seed


def test_seeds_differ_by_run_item_draw_and_purpose():
    base = {"run_seed": 0, "item": "cat", "k": 0, "purpose": "image"}
    changes = [{}, {"run_seed": 1}, {"item": "dog"}, {"k": 1}, {"purpose": "look"}]
    assert len({seed_of(**{**base, **change}) for change in changes}) == len(changes)
