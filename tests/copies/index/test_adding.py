"""Indexes of embeddings that were made elsewhere: with their pictures, and without."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_pictures import QUICK, Tiny, fill, picture

from memdetect.copies.index import build_index
from memdetect.copies.index.adding import add_embeddings
from memdetect.copies.index.merging import merge_parts
from memdetect.copies.match import NO_PICTURE
from memdetect.copies.matching import decide, evidence
from memdetect.errors import MemdetectError
from memdetect.inputs.ranks import Rank

COUNT = 30


def vectors(tiny: Tiny, seeds=range(COUNT)) -> np.ndarray:
    return np.asarray(tiny.embed([picture(seed) for seed in seeds]), np.float32)


def dataset(folder: Path, tiny: Tiny, sizes=(12, 18), images: Path | None = None) -> Path:
    """A folder as clip-retrieval leaves it: arrays of fp16, and a table of metadata for each."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for name in ("img_emb", "metadata"):
        (folder / name).mkdir(parents=True)
    start = 0
    for k, size in enumerate(sizes):
        seeds = range(start, start + size)
        np.save(folder / "img_emb" / f"img_emb_{k}.npy", (7 * vectors(tiny, seeds)).astype(np.float16))
        paths = [str(images / f"{seed:04d}.png") if images else f"{seed:09d}" for seed in seeds]
        table = {"image_path": paths, "caption": [f"picture {seed}" for seed in seeds], "NSFW": [0.0] * size}
        pq.write_table(pa.table(table), folder / "metadata" / f"metadata_{k}.parquet")
        start += size
    return folder


def test_embeddings_alone_are_found_and_never_called_a_copy(tiny, tmp_path):
    pytest.importorskip("pyarrow")
    held = fill(tmp_path / "held", range(100, 140))
    index = add_embeddings([dataset(tmp_path / "set", tiny)], tiny, tmp_path / "i", replace(QUICK, held_out=(held,)))
    manifest = index.manifest
    assert (manifest.count, manifest.unseen, manifest.pictures) == (COUNT, COUNT, COUNT)
    assert manifest.threshold.queries == 40
    assert manifest.planted.images == 0
    matches = evidence([picture(7), picture(500)], index, tiny)
    best = matches[0]
    assert (best.path, best.caption, best.similar, best.note) == ("000000007", "picture 7", True, NO_PICTURE)
    assert best.similarity == pytest.approx(1, abs=1e-3)
    assert not any(match.copy_found or match.partial_found for match in matches)
    for seed in (0, 1):
        outcome, reason = decide([match for match in matches if match.seed == seed], index)
        assert outcome == "inconclusive"
        assert NO_PICTURE in reason


def test_embeddings_with_their_pictures_are_an_index_of_the_pictures(tiny, tmp_path):
    pytest.importorskip("pyarrow")
    images = fill(tmp_path / "images", range(COUNT))
    index = add_embeddings([dataset(tmp_path / "set", tiny, images=images)], tiny, tmp_path / "i", QUICK)
    usual = build_index([images], tiny, tmp_path / "j", QUICK)
    assert index.manifest.unseen == 0
    assert index.manifest.threshold.similarity == pytest.approx(usual.manifest.threshold.similarity, abs=1e-3)
    for ours, theirs in zip(index.rows, usual.rows, strict=True):
        assert (ours.path, ours.sha256, ours.width) == (theirs.path, theirs.sha256, theirs.width)
    assert next(iter(evidence([picture(7)], index, tiny))).copy_found


def test_vectors_of_another_embedder_are_refused(tiny, tmp_path):
    pytest.importorskip("pyarrow")
    images = fill(tmp_path / "images", range(COUNT)[::-1])
    place = dataset(tmp_path / "set", tiny, images=images)
    turned = np.load(place / "img_emb" / "img_emb_1.npy")[::-1]
    np.save(place / "img_emb" / "img_emb_1.npy", turned)
    with pytest.raises(MemdetectError, match=r"is at a cosine of .* from that of tiny, expected 0.98 or more"):
        add_embeddings([place], tiny, tmp_path / "i", QUICK)
    assert not (tmp_path / "i").exists()


def test_parts_of_shards_make_one_index(tiny, tmp_path):
    pytest.importorskip("pyarrow")
    place = dataset(tmp_path / "set", tiny, (9, 4, 12, 5))
    whole = add_embeddings([place], tiny, tmp_path / "whole", QUICK).folder
    parts = [
        add_embeddings([place], tiny, tmp_path / f"{r}", replace(QUICK, rank=Rank(r, 3, ""))).folder for r in range(3)
    ]
    made = merge_parts(parts, tiny, tmp_path / "merged", QUICK).folder
    for file in whole.iterdir():
        assert (made / file.name).read_bytes() == file.read_bytes(), file.name


def test_arrays_and_tables_of_vectors(tiny, tmp_path):
    """One array with a list beside it, one without, and a table with a column of vectors: the same rows."""
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    own = vectors(tiny)
    np.save(tmp_path / "a.npy", own[:10])
    (tmp_path / "a.csv").write_text("key,caption\n" + "".join(f"k{i},c{i}\n" for i in range(10)))
    np.save(tmp_path / "b.npy", own[10:20].astype(np.float64))
    cells = pa.array(own[20:].tolist(), pa.list_(pa.float32()))
    pq.write_table(pa.table({"key": [f"t{i}" for i in range(10)], "embedding": cells}), tmp_path / "c.parquet")
    names = [tmp_path / name for name in ("a.npy", "b.npy", "c.parquet")]
    index = add_embeddings(names, tiny, tmp_path / "i", QUICK)
    assert [row.key for row in index.rows] == [
        *(f"k{i}" for i in range(10)), *(f"b.npy:{i}" for i in range(10)), *(f"t{i}" for i in range(10))
    ]  # fmt: skip
    np.testing.assert_allclose(index.searcher.vectors, own, atol=1e-3)
    assert index.row(3).caption == "c3"


def test_equal_embeddings_are_one_picture_and_no_strangers(tiny, tmp_path):
    np.save(tmp_path / "a.npy", np.repeat(vectors(tiny), 2, axis=0))
    index = add_embeddings([tmp_path / "a.npy"], tiny, tmp_path / "i", QUICK)
    assert (index.manifest.count, index.manifest.pictures) == (2 * COUNT, COUNT)
    assert max(index.reference) < 0.9


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda p, v: np.save(p / "a.npy", v[:, :100]), "has vectors of 100 numbers, tiny makes 192"),
        (lambda p, v: np.save(p / "a.npy", v[0]), "of shape (192,), expected floats [row, number]"),
        (lambda p, v: np.save(p / "a.npy", v.astype(int)), "holds int64"),
        (lambda p, v: np.save(p / "a.npy", np.array([{}] * 3, object)), "cannot be read as an array"),
        (lambda p, v: (p / "a.npy").write_bytes(b"nothing"), "cannot be read as an array"),
        (lambda p, v: np.save(p / "a.npy", v * np.nan), "none of 30 images could be used"),
        (lambda p, v: (np.save(p / "a.npy", v), (p / "a.txt").write_text("x.png\ny.png\n")), "30 vectors, "),
        (lambda p, v: (np.save(p / "a.npy", v), (p / "a.txt").write_text("x.png\n" * 30)), "is there twice"),
        (lambda p, v: None, "is not there"),
    ],
)
def test_what_is_no_embedding_is_refused_in_a_line(tiny, tmp_path, made, said):
    made(tmp_path, vectors(tiny))
    with pytest.raises(MemdetectError) as caught:
        add_embeddings([tmp_path / "a.npy"], tiny, tmp_path / "i", QUICK)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "i").exists()
