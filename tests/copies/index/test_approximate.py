"""Indexes too large to compare every row: compressed, filled in parts, mapped, and measured against an exact search."""

import numpy as np
import pytest
from test_search import brute, unit, written

from memdetect.copies.index import faiss_work
from memdetect.copies.index.draft import choose_factory
from memdetect.copies.index.recall import COSINES, measured
from memdetect.errors import MemdetectError

KINDS = ("IVF16,SQ8", "IVF16,SQfp16", "IVF16,Flat", "HR32,IVF16,RaBitQ", "IVF16_HNSW32,SQ8", "IVF16,RaBitQ")


@pytest.mark.parametrize("kind", KINDS)
def test_an_index_that_is_filled_in_parts_has_the_same_bytes(tmp_path, kind):
    unit(5000, 32, 0).astype(np.float16).tofile(tmp_path / "v")
    for at_once in (5000, 1700, 4999):
        faiss_work.write(str(tmp_path / "v"), 5000, 32, kind, str(tmp_path / f"{at_once}"), at_once)
    whole = (tmp_path / "5000").read_bytes()
    assert (tmp_path / "1700").read_bytes() == whole
    assert (tmp_path / "4999").read_bytes() == whole
    assert sorted(file.name for file in tmp_path.iterdir()) == ["1700", "4999", "5000", "v"]


def test_lists_that_are_mostly_empty_are_filled_in_parts_too(tmp_path):
    few = np.repeat(unit(20, 16, 0), 10, axis=0)
    few.astype(np.float16).tofile(tmp_path / "v")
    for at_once in (200, 60):
        faiss_work.write(str(tmp_path / "v"), 200, 16, "IVF100,SQ8", str(tmp_path / f"{at_once}"), at_once)
    assert (tmp_path / "60").read_bytes() == (tmp_path / "200").read_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_similarities_are_exact_however_the_codes_are_compressed(tmp_path, kind):
    vectors = unit(3000, 32, 0)
    searcher = written(tmp_path / "i", vectors, kind, nprobe=16)
    queries = (0.8 * vectors[:40] + 0.6 * unit(40, 32, 1)).astype(np.float32)
    similarities, rows = searcher.search(queries, 3)
    expected = brute(queries, searcher, 3)
    np.testing.assert_array_equal(rows[:, 0], expected[1][:, 0])
    np.testing.assert_allclose(similarities[:, 0], expected[0][:, 0], atol=1e-12)
    assert np.mean(rows == expected[1]) > (0.6 if "RaBitQ" in kind else 0.97)


@pytest.mark.parametrize("count", [1, 7, 2000])
def test_the_exact_search_is_brute_force(tmp_path, count):
    searcher = written(tmp_path / "i", unit(count, 24, 0))
    queries = unit(9, 24, 1)
    similarities, rows = searcher.exact(queries, 10)
    expected = brute(queries, searcher, 10)
    np.testing.assert_array_equal(rows, expected[1])
    np.testing.assert_allclose(similarities, expected[0], atol=1e-12)


def test_recall_is_that_of_a_brute_force_count(tmp_path):
    """One list of 64: most of the ten nearest are missed, and the measure says the share that a count by hand gives."""
    searcher = written(tmp_path / "i", unit(4000, 48, 0), "IVF64,SQ8", nprobe=1)
    found = measured(searcher, seed=3)
    assert found is not None
    rows = np.sort(np.random.default_rng(3).choice(4000, 100, replace=False))
    queries = np.asarray(searcher.vectors[rows], np.float32)
    true = [[r for r in near if r != own][:10] for near, own in zip(brute(queries, searcher, 11)[1], rows, strict=True)]
    near = [
        [r for r in near if r not in (own, -1)][:10]
        for near, own in zip(searcher.search(queries, 11)[1], rows, strict=True)
    ]
    assert found.ten == pytest.approx(np.mean([len({*a} & {*b}) / 10 for a, b in zip(true, near, strict=True)]))
    assert found.nearest == pytest.approx(np.mean([a[0] in b for a, b in zip(true, near, strict=True)]))
    assert found.ten < 0.7
    assert found.planted["0.9"] > found.planted["0.6"]


def test_an_index_that_visits_every_list_misses_nothing(tmp_path):
    found = measured(written(tmp_path / "i", unit(2000, 64, 0), "IVF16,SQfp16", nprobe=16))
    assert found is not None
    assert (found.queries, found.nearest) == (100, 1)
    assert found.ten > 0.99
    assert found.planted == {f"{cosine:g}": 1 for cosine in COSINES}


def test_an_exact_search_has_no_recall_to_measure(tmp_path):
    assert measured(written(tmp_path / "i", unit(50, 24, 0))) is None


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (1_000_000, ("Flat", 1)),
        (1_000_001, ("IVF4096,SQ8", 64)),
        (20_000_000, ("IVF16384,SQ8", 256)),
        (20_000_001, ("IVF16384_HNSW32,SQ8", 256)),
        (100_000_000, ("IVF32768_HNSW32,SQ8", 256)),
        (10**9, ("IVF65536_HNSW32,SQ8", 256)),
    ],
)
def test_a_factory_by_size(count, expected):
    assert choose_factory(count, None) == expected


@pytest.mark.parametrize(
    "wanted", ["HNSW32", "IVF16,PQ8", "IVF16,RaBitQfs", "OPQ8,IVF16,SQ8", "IVF16_HNSW,SQ8", "Flat,Flat"]
)
def test_other_factories_are_refused(wanted):
    with pytest.raises(MemdetectError, match="--factory takes Flat, IVFn,CODE"):
        choose_factory(10_000, wanted)
