"""Nearest neighbours against brute force: FAISS, the matrix product, and IVF; ties, blocks and bad queries."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memdetect.copies.index import Index, Searcher, search
from memdetect.copies.index.draft import Draft, choose_factory, write_faiss
from memdetect.copies.index.rows import Row, RowFile
from memdetect.errors import MemdetectError


def unit(count: int, dim: int, seed: int) -> np.ndarray:
    x = np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def written(folder: Path, vectors: np.ndarray, factory: str | None = None, **options) -> Searcher:
    draft = Draft(folder, folder, vectors.shape[1])
    rows = [Row(key=str(i), path=f"{i}.png", sha256="", width=1, height=1) for i in range(len(vectors))]
    draft.add(vectors, rows)
    draft.close()
    factory, nprobe = choose_factory(len(vectors), factory)
    write_faiss(folder, len(vectors), vectors.shape[1], factory)
    return Searcher(folder, len(vectors), vectors.shape[1], factory, options.pop("nprobe", nprobe), **options)


def brute(queries: np.ndarray, searcher: Searcher, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Every cosine in float64, sorted; of equals, the first row first."""
    x, q = searcher.vectors.astype(np.float64), queries.astype(np.float64)
    cosine = (q / np.linalg.norm(q, axis=1, keepdims=True)) @ (x / np.linalg.norm(x, axis=1, keepdims=True)).T
    order = np.argsort(-cosine, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(cosine, order, 1), order


@pytest.mark.parametrize("engine", ["faiss", "numpy"])
@pytest.mark.parametrize(("count", "k"), [(1, 3), (7, 7), (300, 1), (2000, 10), (5000, 40)])
def test_search_is_brute_force(tmp_path, engine, count, k):
    searcher = written(tmp_path / "i", unit(count, 24, 0), engine=engine)
    queries = 3 * unit(33, 24, 1)  # their length does not matter
    similarities, rows = searcher.search(queries, k)
    expected = brute(queries, searcher, k)
    np.testing.assert_allclose(similarities, expected[0], atol=1e-12)
    np.testing.assert_array_equal(rows, expected[1])


@pytest.mark.parametrize("engine", ["faiss", "numpy"])
def test_equal_vectors_come_in_the_order_of_their_rows(tmp_path, engine):
    vectors = np.repeat(unit(40, 16, 0), 3, axis=0)
    searcher = written(tmp_path / "i", vectors, engine=engine)
    similarities, rows = searcher.search(vectors[::3], 3)
    np.testing.assert_array_equal(rows, np.arange(120).reshape(40, 3))
    np.testing.assert_allclose(similarities, 1, atol=1e-3)


def test_the_product_goes_in_blocks_whether_kept_or_not(tmp_path, monkeypatch):
    queries, vectors = unit(40, 24, 1), unit(3000, 24, 0)
    whole = written(tmp_path / "i", vectors, engine="faiss").search(queries, 10)
    monkeypatch.setattr(search, "BLOCK", 700)
    monkeypatch.setattr(search, "AT_ONCE", 16)
    for keep in (2**31, 0):
        monkeypatch.setattr(search, "KEEP", keep)
        found = written(tmp_path / f"i{keep}", vectors, engine="numpy").search(queries, 10)
        np.testing.assert_array_equal(found[1], whole[1])
        np.testing.assert_array_equal(found[0], whole[0])


@settings(max_examples=60)
@given(st.integers(1, 3), st.integers(1, 1400), st.integers(1, 6), st.integers(0, 2**16))
def test_the_largest_of_a_row_are_the_largest(count, width, k, seed):
    scores = np.random.default_rng(seed).integers(0, 50, (count, width)).astype(np.float32)
    columns = search._largest(scores, k)
    assert columns.shape == (count, min(k, width))
    for row, chosen in zip(scores, columns, strict=True):
        assert len(set(chosen)) == len(chosen)
        assert sorted(row[chosen]) == sorted(row)[-len(chosen) :]


@pytest.mark.parametrize("codes", ["SQ8", "SQfp16", "Flat"])
def test_an_ivf_that_visits_every_list_is_brute_force(tmp_path, codes):
    searcher = written(tmp_path / "i", unit(2000, 24, 0), f"IVF16,{codes}", nprobe=16)
    queries = unit(33, 24, 1)
    similarities, rows = searcher.search(queries, 5)
    expected = brute(queries, searcher, 5)
    np.testing.assert_allclose(similarities, expected[0], atol=1e-12)
    np.testing.assert_array_equal(rows, expected[1])


def test_an_ivf_finds_near_copies_and_says_exact_cosines(tmp_path):
    vectors = unit(4000, 32, 0)
    searcher = written(tmp_path / "i", vectors, "IVF64,SQ8", nprobe=4)
    noise = 0.08 * np.random.default_rng(2).standard_normal((200, 32)).astype(np.float32)
    queries = vectors[:200] + noise
    similarities, rows = searcher.search(queries, 1)
    assert (rows[:, 0] == np.arange(200)).mean() >= 0.95
    expected = brute(queries, searcher, 1)
    right = rows[:, 0] == expected[1][:, 0]
    np.testing.assert_allclose(similarities[right], expected[0][right], atol=1e-12)


def test_what_an_ivf_does_not_find_is_absent(tmp_path):
    searcher = written(tmp_path / "i", unit(40, 8, 0), "IVF8,SQ8", nprobe=1)
    similarities, rows = searcher.search(unit(5, 8, 1), 40)
    missing = rows < 0
    assert missing.any()
    assert (similarities[missing] == -np.inf).all()
    assert (np.diff(missing.astype(int), axis=1) >= 0).all()


def test_bad_queries_are_refused(tmp_path):
    searcher = written(tmp_path / "i", unit(5, 8, 0))
    for queries in (unit(2, 9, 0), np.full((1, 8), np.nan, np.float32)):
        with pytest.raises(MemdetectError, match="8 finite numbers each are expected"):
            searcher.search(queries, 1)
    assert searcher.search(np.zeros((0, 8), np.float32), 3)[1].shape == (0, 3)


@pytest.mark.parametrize(
    ("count", "wanted", "expected"),
    [
        (1, None, ("Flat", 1)),
        (1_000_000, None, ("Flat", 1)),
        (1_000_001, None, ("IVF4096,SQ8", 64)),
        (20_000_000, None, ("IVF16384,SQ8", 256)),
        (500, "IVF8,SQ8", ("IVF8,SQ8", 8)),
        (5_000_000, "Flat", ("Flat", 1)),
    ],
)
def test_the_factory_follows_the_size_unless_told(count, wanted, expected):
    assert choose_factory(count, wanted) == expected


@pytest.mark.parametrize("wanted", ["HNSW32", "IVF0,SQ8", "IVF8,PQ64", "", "Flat,IVF8"])
def test_other_factories_are_refused(wanted):
    with pytest.raises(MemdetectError, match="--factory takes Flat"):
        choose_factory(1000, wanted)


def test_more_lists_than_images_are_refused():
    with pytest.raises(MemdetectError, match="IVF9,SQ8 needs at least 9 images, there are 8"):
        choose_factory(8, "IVF9,SQ8")


@pytest.mark.parametrize("platform", ["darwin", "linux"])
def test_on_macos_a_flat_index_is_searched_without_faiss(tmp_path, platform):
    written(tmp_path / "i", unit(50, 8, 0))
    code = (
        "import sys; from pathlib import Path; import numpy as np; from memdetect.copies.index import Searcher\n"
        f"sys.platform = {platform!r}\n"
        f"s = Searcher(Path({str(tmp_path / 'i')!r}), 50, 8, 'Flat')\n"
        "print(s.search(np.eye(8, dtype=np.float32), 2)[1].tolist(), 'faiss' in sys.modules, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    expected = brute(np.eye(8, dtype=np.float32), Searcher(tmp_path / "i", 50, 8, "Flat"), 2)[1].tolist()
    assert done.stdout.strip() == f"{expected} {platform == 'linux'} False"


PARTS = st.lists(st.sampled_from(["a", "b c", "..", ".", "", "d.png"]), min_size=1, max_size=5).map("/".join)


@settings(max_examples=300)
@given(folder=st.sampled_from(["i", ".", "..", "a/i", "/x/i", "/", "../i/"]), path=PARTS)
def test_a_path_seen_from_a_folder_is_the_normal_one(folder, path):
    row = Row(key="", path=path, sha256="", width=1, height=1)
    expected = os.path.normpath(path if path.startswith("/") else f"{folder}/{path}")
    assert row.seen_from(folder) == expected


def test_rows_together_are_rows_one_by_one(tmp_path):
    written(tmp_path / "i", unit(30, 4, 0))
    rows = RowFile(tmp_path / "i" / "rows.jsonl")
    asked = [29, 0, 7, 7, 1]
    assert [row.key for row in rows.many(asked)] == ["29", "0", "7", "7", "1"]
    assert rows.many(asked) == [rows[i] for i in asked]
    assert rows.many([]) == []
    for wrong in ([30], [0, 30]):
        with pytest.raises(MemdetectError, match=r"rows\.jsonl' is damaged: it has 30 rows"):
            rows.many(wrong)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'{"key": 1}', "key: Input should be a valid string"),
        (b"{", "a row: Invalid JSON"),
        (b"[" * 500, "a row: Invalid JSON"),
        (b"", "a row: Invalid JSON"),
    ],
    ids=["type", "cut", "deep", "blank"],
)
def test_a_line_that_is_no_row_is_named(tmp_path, line, said):
    """Checksums hold: somebody made them of such a file."""
    written(tmp_path / "i", unit(3, 4, 0))
    path = tmp_path / "i" / "rows.jsonl"
    whole = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([whole[0], line, whole[2]]) + b"\n")
    with pytest.raises(MemdetectError, match=f"rows.jsonl' is damaged: {said}"):
        RowFile(path).many([0, 1])
    two = b",".join(whole[:2])
    path.write_bytes(b"\n".join([two, whole[1]]) + b"\n")
    with pytest.raises(MemdetectError, match="a line holds several rows"):
        RowFile(path).many([0])
    path.write_bytes(b"")
    with pytest.raises(MemdetectError, match="it is empty"):
        RowFile(path)


def test_matches_that_are_missing_leave_no_gap(tmp_path):
    """An IVF index that finds fewer than asked for: of every query the matches it has, ranked from 1."""
    searcher = written(tmp_path / "i", unit(40, 8, 0), "IVF8,SQ8", nprobe=1)
    index = Index.__new__(Index)
    index.folder, index.searcher, index.rows, index.reference = (
        searcher.folder,
        searcher,
        RowFile(tmp_path / "i/rows.jsonl"),
        [],
    )
    index._seen, index.manifest = "i", SimpleNamespace(threshold=SimpleNamespace(similarity=0.5))
    queries = unit(9, 8, 1)
    similarities, rows = searcher.search(queries, 30)
    assert len(set((rows >= 0).sum(axis=1))) > 1
    for found, near, named in zip(index.nearest(queries, 30), similarities, rows, strict=True):
        there = named >= 0
        assert [match.row for match in found] == named[there].tolist()
        assert [match.similarity for match in found] == near[there].tolist()
        assert [match.rank for match in found] == list(range(1, there.sum() + 1))
        assert [match.key for match in found] == [str(row) for row in named[there]]
