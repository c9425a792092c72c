"""What stands before anything is opened: every damaged, foreign, newer, missing or added file is refused by name."""

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from small_pictures import QUICK, Tiny, fill, picture

from memdetect.copies.index import build_index, faiss_process, open_index, search, verify
from memdetect.copies.index.manifest import MANIFEST, read_manifest
from memdetect.errors import Exit, MemdetectError


@pytest.fixture(scope="module")
def ivf(pictures, tiny, tmp_path_factory) -> Path:
    """An index with a file of FAISS's own."""
    from dataclasses import replace

    folder = tmp_path_factory.mktemp("ivf") / "train.index"
    build_index([pictures], tiny, folder, replace(QUICK, factory="IVF4,SQ8"))
    return folder


@pytest.fixture(scope="module")
def foreign(tiny, tmp_path_factory) -> Path:
    """Another index of as many other pictures."""
    from dataclasses import replace

    base = tmp_path_factory.mktemp("foreign")
    build_index(
        [fill(base / "images", range(300, 360))], tiny, base / "train.index", replace(QUICK, factory="IVF4,SQ8")
    )
    return base / "train.index"


@pytest.fixture
def copy(ivf, tmp_path) -> Path:
    shutil.copytree(ivf, tmp_path / "i")
    return tmp_path / "i"


@pytest.fixture
def untouched(monkeypatch):
    """FAISS must not be asked to open anything, nor the vectors be mapped."""
    import faiss

    def fail(*_, **__):
        raise AssertionError("opened before it was verified")

    for name in ("read_index", "index_factory", "IndexFlatIP", "deserialize_index"):
        monkeypatch.setattr(faiss, name, fail)
    monkeypatch.setattr(faiss_process.FaissProcess, "__init__", fail)
    monkeypatch.setattr(search.Searcher, "__post_init__", fail)


def refusal(folder: Path) -> str:
    with pytest.raises(MemdetectError) as caught:
        open_index(folder)
    assert caught.value.exit == Exit.USAGE
    assert "\n" not in str(caught.value)
    return str(caught.value)


def reseal(folder: Path, **changes) -> None:
    """Change fields of the manifest and give it the right digest again."""
    changed = read_manifest(folder).model_copy(update=changes)
    (folder / MANIFEST).write_text(changed.sealed().text())


def test_a_sound_index_opens(ivf, tiny):
    opened = open_index(ivf, tiny)
    assert opened.manifest == verify(ivf)
    assert opened.manifest.factory == "IVF4,SQ8"
    assert opened.nearest(tiny.embed([picture(5)]), 3)[0][0].row == 5
    assert set(opened.manifest.files) == {"vectors.f16", "rows.jsonl", "nulls.json", "index.faiss"}


def test_two_hundred_corruptions_are_all_refused(ivf, foreign, tmp_path, untouched):
    """In every file: a byte changed, the end cut off, another file of the index or that of another index in its place.

    Each is named, and none opened.
    """
    rng = np.random.default_rng(0)
    files = sorted(file.name for file in ivf.iterdir())
    folder, seen = tmp_path / "i", Counter()
    shutil.copytree(ivf, folder)
    for turn in range(200):
        path = folder / files[turn % len(files)]
        whole = path.read_bytes()
        kind = ("flip", "flip", "cut", "flip", "flip", "swap", "cut", "foreign")[turn // len(files) % 8]
        if kind == "flip":
            damaged = bytearray(whole)
            damaged[int(rng.integers(0, len(whole)))] ^= int(rng.integers(1, 256))
        elif kind == "cut":
            damaged = whole[: int(rng.integers(0, len(whole)))]
        elif kind == "swap":
            damaged = (folder / files[(turn + int(rng.integers(1, 5))) % len(files)]).read_bytes()
        else:
            damaged = (foreign / path.name).read_bytes()
        assert damaged != whole
        path.write_bytes(damaged)
        if kind == "foreign" and path.name == MANIFEST:
            assert str(folder) in refusal(folder)  # it is sound: the files are those that do not fit it
        else:
            assert str(path) in refusal(folder)
        seen[path.name, kind] += 1
        path.write_bytes(whole)
    assert sum(seen.values()) == 200
    assert len(seen) == 5 * 4
    assert min(seen.values()) == 5
    assert verify(folder)


def test_every_byte_of_the_manifest_counts(copy, untouched):
    """No blank, digit or letter of it can change unseen."""
    path = copy / MANIFEST
    whole = path.read_bytes()
    for at in range(0, len(whole), 7):
        for other in (b" ", b"\n", b"0"):
            if whole[at : at + 1] != other:
                path.write_bytes(whole[:at] + other + whole[at + 1 :])
                assert str(path) in refusal(copy)
    for text in (whole + b"\n", b"\xef\xbb\xbf" + whole, whole.replace(b"\n", b"\r\n"), whole[:-1]):
        path.write_bytes(text)
        assert str(path) in refusal(copy)


@pytest.mark.parametrize("name", ["vectors.f16", "rows.jsonl", "nulls.json", "index.faiss", MANIFEST])
def test_missing_and_renamed_files_are_named(copy, name, untouched):
    (copy / name).rename(copy.parent / "kept")
    assert name in refusal(copy)
    (copy.parent / "kept").rename(copy / f"{name}.bak")
    assert name in refusal(copy)
    (copy / f"{name}.bak").rename(copy / name)
    verify(copy)
    (copy / "extra.pkl").touch()
    assert refusal(copy).endswith("extra.pkl' does not belong to the index; remove it")
    (copy / "extra.pkl").unlink()
    (copy / name).unlink()
    (copy / name).mkdir()
    assert name in refusal(copy)


def test_files_of_another_index_are_refused(copy, index, untouched):
    for name in ("vectors.f16", "rows.jsonl", "nulls.json"):
        kept = (copy / name).read_bytes()
        other = bytearray((index.folder / name).read_bytes())
        other[-2] ^= 1
        (copy / name).write_bytes(other)
        assert name in refusal(copy)
        (copy / name).write_bytes(kept)


def test_newer_and_foreign_manifests_say_so(copy, untouched):
    path = copy / MANIFEST
    held = json.loads(path.read_text())
    path.write_text(json.dumps({**held, "schema_version": 5, "news": 1}))
    assert "schema 5, made by a newer memdetect; this one reads 3 and 4: update memdetect" in refusal(copy)
    path.write_text(json.dumps({**held, "schema_version": 2}))
    anew = f"build it again with memdetect index build SOURCES --out {copy}"
    assert refusal(copy).endswith(f"schema 2, made by an older memdetect; this one reads 3 and 4: {anew}")
    for foreign in ("{}", "[]", "null", '{"schema_version": "1"}', '{"schema_version": true}', '{"name": "npm"}'):
        path.write_text(foreign)
        assert "is no manifest of an index" in refusal(copy)
    for broken in ("", "{", "[" * 100_000, "\0"):
        path.write_text(broken)
        assert "does not parse" in refusal(copy)
    path.write_bytes(b"\xff" * 20)
    assert "does not parse" in refusal(copy)
    path.write_bytes(b" " * (2**24 + 1))
    assert "does not parse" in refusal(copy)


def test_no_index_at_all(tmp_path):
    assert "there is no index folder" in refusal(tmp_path / "gone")
    assert "is no index: it has no manifest.json" in refusal(tmp_path)


def test_a_manifest_that_contradicts_itself_is_refused(copy, untouched):
    """Resealed by hand, so that only the sense can tell."""
    kept = (copy / MANIFEST).read_text()
    held = read_manifest(copy)
    for changes in ({"count": 61}, {"count": 30}, {"factory": "Flat"}, {"files": {}}):
        reseal(copy, **changes)
        assert "does not describe" in refusal(copy)
        (copy / MANIFEST).write_text(kept)
    reseal(copy, embedder=held.embedder.model_copy(update={"dim": 96}), count=120)
    verify(copy)  # 120 vectors of 96 have the same size: FAISS's file and the rows tell, see below
    (copy / MANIFEST).write_text(kept)
    assert verify(copy) == held


def test_another_embedder_is_refused_naming_both(ivf):
    for other in (Tiny(name="big"), Tiny(fingerprint="beef"), Tiny(dim=96)):
        with pytest.raises(MemdetectError) as caught:
            open_index(ivf, other)
        text = str(caught.value)
        assert "tiny (fingerprint f00d, 192 numbers)" in text
        assert f"{other.name} ({other.fingerprint}, {other.dim})" in text
        assert caught.value.exit == Exit.USAGE


def test_a_file_that_faiss_cannot_read_or_of_other_vectors_is_an_error_not_a_crash(copy, tmp_path):
    """A manifest resealed over rubbish: what FAISS itself finds is told in one line."""
    from memdetect.copies.index.manifest import file_sum

    held = read_manifest(copy)
    sound = (copy / "index.faiss").read_bytes()
    for content, said in ((b"rubbish" * 30, "cannot be opened by FAISS"), (sound[:300], "cannot be opened by FAISS")):
        (copy / "index.faiss").write_bytes(content)
        reseal(copy, files={**held.files, "index.faiss": file_sum(copy / "index.faiss")})
        with pytest.raises(MemdetectError, match=said):
            open_index(copy).nearest(np.ones((1, 192), np.float32), 1)
    (copy / "index.faiss").write_bytes(sound)
    reseal(copy, files=held.files, embedder=held.embedder.model_copy(update={"dim": 96}), count=120)
    with pytest.raises(MemdetectError, match="60 vectors of 192, expected 120 of 96"):
        open_index(copy).nearest(np.ones((1, 96), np.float32), 1)


def test_faiss_reads_under_limits_that_are_restored(ivf, tiny, monkeypatch):
    import faiss

    seen = {}
    read = faiss.read_index

    def watched(path, flags):
        seen["bytes"] = faiss.get_deserialization_vector_byte_limit()
        seen["loops"] = faiss.get_deserialization_loop_limit()
        return read(path, flags)

    before = faiss.get_deserialization_vector_byte_limit(), faiss.get_deserialization_loop_limit()
    monkeypatch.setattr(faiss, "read_index", watched)
    open_index(ivf, tiny).nearest(tiny.embed([picture(0)]), 1)
    assert seen == {"bytes": (ivf / "index.faiss").stat().st_size + 2**20, "loops": 2**20}
    assert (faiss.get_deserialization_vector_byte_limit(), faiss.get_deserialization_loop_limit()) == before


def test_images_that_were_laid_as_large_ones_are_a_field_where_there_are_any(index, tmp_path):
    copy = tmp_path / "i"
    shutil.copytree(index.folder, copy)
    before, held = (copy / MANIFEST).read_bytes(), read_manifest(copy)
    assert (held.schema_version, held.agreement.large) == (3, 0)
    assert b'"large"' not in before
    made = held.model_copy(update={"agreement": held.agreement.model_copy(update={"large": 7})}).sealed()
    (copy / MANIFEST).write_text(made.text())
    assert (made.schema_version, read_manifest(copy)) == (4, made)
    assert open_index(copy).manifest.agreement.large == 7
    back = made.model_copy(update={"agreement": held.agreement}).sealed()
    assert back.text().encode() == before
