"""Building: what goes in, what is left out, one writer, whole or not at all."""

import json
import multiprocessing
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from image_files import PICTURES, UNOPENED
from PIL import Image
from small_pictures import QUICK, Tiny, fill, picture

from memdetect.copies.index import BuildOptions, build_index, open_index
from memdetect.copies.index.manifest import verify
from memdetect.errors import Exit, MemdetectError
from memdetect.locks import only_writer


def refusal(*given, **options) -> str:
    with pytest.raises(MemdetectError) as caught:
        build_index(*given, **options)
    assert caught.value.exit == Exit.USAGE
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_every_image_is_a_row_and_finds_itself(index, pictures, tiny):
    assert len(index) == 60
    files = sorted(pictures.iterdir())
    rows = [index.row(i) for i in range(60)]
    assert [row.path for row in rows] == [f"../images/{file.name}" for file in files]
    assert [row.key for row in rows] == [row.path for row in rows]
    found = index.nearest(tiny.embed([Image.open(file).convert("RGB") for file in files]), 1)
    assert [match[0].row for match in found] == list(range(60))
    assert [Path(match[0].path) for match in found] == files
    assert all(match[0].similarity == pytest.approx(1, abs=1e-4) for match in found)
    assert (rows[0].width, rows[0].height) == (64, 64)


def test_the_same_images_give_the_same_bytes(index, pictures, tiny, tmp_path):
    copy = tmp_path / "elsewhere"
    shutil.copytree(pictures, copy / "images")
    again = build_index([copy / "images"], tiny, copy / "train.index", QUICK)
    assert again.manifest == index.manifest
    other = build_index([copy / "images"], tiny, copy / "other.index", replace(QUICK, seed=1))
    assert other.manifest.digest != index.manifest.digest


def test_an_index_travels_with_its_images(index, pictures, tiny, tmp_path):
    shutil.copytree(pictures.parent, tmp_path / "moved")
    moved = open_index(tmp_path / "moved" / "train.index", tiny)
    assert Path(moved.nearest(tiny.embed([picture(7)]), 1)[0][0].path) == tmp_path / "moved/images/0007.png"


def test_images_elsewhere_have_absolute_paths(pictures, tiny, tmp_path):
    made = build_index([pictures], tiny, tmp_path / "far.index", QUICK)
    assert made.row(0).path == (pictures / "0000.png").as_posix()
    assert made.row(0).file(tmp_path / "anywhere") == pictures / "0000.png"


def test_what_cannot_be_used_is_counted_by_reason(tiny, tmp_path):
    folder = fill(tmp_path / "images", range(4))
    (folder / "empty.png").touch()
    (folder / "text.png").write_text("hello")
    (folder / "cut.png").write_bytes((folder / "0000.png").read_bytes()[:60])
    Image.new("RGB", (200, 100), "red").save(folder / "huge.png")
    Image.new("RGB", (64, 64), "red").save(folder / "plain.png")
    frames = [picture(i) for i in (90, 91, 92)]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:])
    Image.new("RGBA", (64, 64), (255, 0, 0, 0)).save(folder / "clear.png")
    table = tmp_path / "list.csv"
    table.write_text("path\nimages/gone.png\n")
    made = build_index([folder, table], tiny, tmp_path / "i", replace(QUICK, max_pixels=10_000))
    assert made.manifest.skipped == {
        "empty": 1,
        "missing": 1,
        "no embedding": 1,
        "no image": 1,
        "too many pixels": 1,
        "unreadable": 1,
    }
    assert made.manifest.noted == {"alpha composited on white, each decoding taken": 1, "animated: first frame used": 1}
    assert len(made) == 6


@pytest.mark.parametrize("name", [name for name, told in PICTURES.items() if told.row == UNOPENED])
def test_pictures_in_formats_that_are_not_opened_lower_the_coverage(tiny, tmp_path, name):
    folder = fill(tmp_path / "images", range(4))
    PICTURES[name].write(folder / PICTURES[name].name)
    made = build_index([folder], tiny, tmp_path / "i", replace(QUICK, training_set=5))
    assert (len(made), made.manifest.skipped, made.manifest.coverage) == (4, {"no image": 1}, 0.8)


def test_an_image_named_like_a_reason_is_not_taken_for_it(tiny, tmp_path):
    folder = fill(tmp_path / "the file is empty" / "images", range(3))
    (folder / "bad.png").write_bytes(picture(0).tobytes())
    made = build_index([folder], tiny, tmp_path / "i", QUICK)
    assert made.manifest.skipped == {"no image": 1}


def test_nothing_to_index_is_refused(tiny, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.md").touch()
    assert "holds no image" in refusal([tmp_path / "empty"], tiny, tmp_path / "i")
    (tmp_path / "empty" / "a.png").write_text("x")
    message = refusal([tmp_path / "empty"], tiny, tmp_path / "i")
    assert "none of 1 images could be used; the first: " in message
    assert "a.png" in message
    assert "no such file or folder" in refusal([tmp_path / "gone"], tiny, tmp_path / "i")
    assert "no images given" in refusal([], tiny, tmp_path / "i")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty"]


def test_duplicate_keys_are_refused_naming_both(pictures, tiny, tmp_path):
    table = tmp_path / "a.jsonl"
    paths = [str(pictures / f"{i:04d}.png") for i in range(4)]
    keys = ["a", "b", "c", "b"]
    table.write_text("".join(json.dumps({"path": p, "key": k}) + "\n" for p, k in zip(paths, keys, strict=True)))
    message = refusal([table], tiny, tmp_path / "i")
    assert "the key 'b' is there twice" in message
    assert message.index("line 2 (") < message.index("line 4 (")
    assert "is there twice" in refusal([pictures, str(pictures / "00*.png")], tiny, tmp_path / "i")


def test_an_existing_folder_is_kept_unless_told(pictures, tiny, tmp_path):
    folder = tmp_path / "i"
    first = build_index([pictures / "0000.png", pictures / "0001.png"], tiny, folder, QUICK)
    assert "is there already" in refusal([pictures], tiny, folder, options=QUICK)
    replaced = build_index([pictures], tiny, folder, replace(QUICK, replace=True))
    assert (len(first), len(replaced)) == (2, 60)
    (tmp_path / "other").mkdir()
    message = refusal([pictures], tiny, tmp_path / "other", options=replace(QUICK, replace=True))
    assert "is no index, so that it is not replaced" in message
    assert sorted(p.name for p in tmp_path.iterdir()) == ["i", "other"]


def test_appending_keeps_the_rows_and_calibrates_anew(index, pictures, tiny, tmp_path):
    shutil.copytree(pictures.parent, tmp_path / "moved")
    folder = tmp_path / "moved" / "train.index"
    more = fill(tmp_path / "moved" / "more", range(100, 120))
    grown = build_index([more], tiny, folder, replace(QUICK, append=True, null_queries=80))
    assert len(grown) == 80
    assert grown.row(3) == index.row(3)
    assert grown.row(60).path == "../more/0100.png"
    assert grown.nearest(tiny.embed([picture(110)]), 1)[0][0].row == 70
    assert (grown.manifest.threshold.rows, grown.manifest.threshold.queries) == (80, 80)
    assert index.manifest.threshold.rows == 60
    np.testing.assert_array_equal(grown.searcher.vectors[:60], index.searcher.vectors)
    append = replace(QUICK, append=True)
    assert "twice: the index, and" in refusal([more], tiny, folder, options=append)
    assert "tiny (fingerprint f00d" in refusal([more], Tiny(fingerprint="beef"), folder, options=append)


def hold(folder: Path, ready, done) -> None:
    with only_writer(folder.parent / f".{folder.name}.lock", folder):
        ready.set()
        done.wait(60)


def test_another_process_keeps_writers_out(pictures, tiny, tmp_path):
    context = multiprocessing.get_context("fork")
    ready, done = context.Event(), context.Event()
    holder = context.Process(target=hold, args=(tmp_path / "i", ready, done))
    holder.start()
    assert ready.wait(60)
    try:
        assert "another process is writing to" in refusal([pictures], tiny, tmp_path / "i")
    finally:
        done.set()
        holder.join()
    assert list(tmp_path.iterdir()) == []
    assert len(build_index([pictures / "0000.png"], tiny, tmp_path / "i", QUICK)) == 1


def test_a_failed_build_leaves_nothing_and_the_old_index_stands(pictures, tmp_path):
    class Broken(Tiny):
        def embed(self, images, /):
            return super().embed(images) * 2

    build_index([pictures / "0000.png"], Tiny(), tmp_path / "i", QUICK)
    with pytest.raises(MemdetectError, match=r"lengths 2 to 2, expected .* and 1") as caught:
        build_index([pictures], Broken(), tmp_path / "i", replace(QUICK, replace=True))
    assert caught.value.exit == Exit.ERROR
    assert [p.name for p in tmp_path.iterdir()] == ["i"]
    assert verify(tmp_path / "i").count == 1


def test_what_a_killed_build_left_is_cleared(pictures, tiny, tmp_path):
    build_index([pictures / "0000.png"], tiny, tmp_path / "i", QUICK)
    (tmp_path / ".i.77.tmp").mkdir()
    (tmp_path / "i").rename(tmp_path / ".i.old")  # killed between the two renames
    grown = build_index([pictures / "0001.png"], tiny, tmp_path / "i", replace(QUICK, append=True))
    assert len(grown) == 2
    assert [p.name for p in tmp_path.iterdir()] == ["i"]


def test_memory_holds_a_batch_and_progress_is_told(pictures, tmp_path):
    sizes, told = [], []

    class Counting(Tiny):
        def embed(self, images, /):
            sizes.append(len(images))
            return super().embed(images)

    options = BuildOptions(batch_size=16, planted=0, level=0.5)
    build_index([pictures], Counting(), tmp_path / "i", options, lambda *step: told.append(step))
    assert sizes == [16, 16, 16, 12] * 2  # then the mirror images of those whose nearest strangers make the threshold
    assert [step[:2] for step in told[:4]] == [(16, 60), (32, 60), (48, 60), (60, 60)]
    assert "60 images; writing the index (Flat)" in told[4][2]


def test_large_images_go_in_smaller_batches(tmp_path, monkeypatch):
    sizes = []

    class Counting(Tiny):
        def embed(self, images, /):
            sizes.append(len(images))
            return super().embed(images)

    monkeypatch.setattr("memdetect.copies.index.embed_files.WAITING", 2 * 64 * 64)
    build_index([fill(tmp_path / "images", range(5))], Counting(), tmp_path / "i", BuildOptions(planted=0))
    assert sizes == [2, 2, 1, 5]  # the last: mirror images of what is looked up


def test_planted_copies_are_found(index):
    planted = index.manifest.planted
    assert (planted.images, planted.recall_at_1, planted.similar, planted.copies) == (8, 1.0, 1.0, 1.0)


def test_a_blind_embedder_is_told_by_its_planted_copies(pictures, tmp_path):
    class Blind(Tiny):
        def embed(self, images, /):
            noise = np.random.default_rng(len(images)).standard_normal((len(images), 192)).astype(np.float32)
            return noise / np.linalg.norm(noise, axis=1, keepdims=True)

    planted = build_index([pictures], Blind(), tmp_path / "i", replace(QUICK, planted=30)).manifest.planted
    assert planted.images == 30
    assert planted.recall_at_1 < 0.3
