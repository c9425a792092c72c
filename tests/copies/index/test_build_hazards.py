"""What a build may delete, what it must not overlook, and readers of an index that is replaced under them."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from small_pictures import QUICK, Tiny, fill, picture

from memdetect.copies.index import build_index, nearest, open_index
from memdetect.copies.index.sources import listed
from memdetect.errors import MemdetectError

REPLACE = replace(QUICK, replace=True)
APPEND = replace(QUICK, append=True)


@pytest.mark.parametrize("names", [("0000.png",), ("index.html",), ("vectors.f16", "rows.jsonl", "notes.txt")])
def test_a_folder_that_holds_anything_else_is_never_replaced(names, pictures, tiny, tmp_path):
    home = tmp_path / "site"
    home.mkdir()
    for name in ("manifest.json", *names):
        (home / name).write_text("{}")
    before = sorted(home.iterdir())
    with pytest.raises(MemdetectError, match="is not replaced"):
        build_index([pictures], tiny, home, REPLACE)
    assert sorted(home.iterdir()) == before


def test_a_damaged_index_can_be_replaced(pictures, tiny, tmp_path):
    home = build_index([pictures], tiny, tmp_path / "i", QUICK).folder
    (home / "manifest.json").write_text("{")
    (home / "nulls.json").unlink()
    assert len(build_index([pictures], tiny, home, REPLACE)) == 60
    assert [entry.name for entry in tmp_path.iterdir()] == ["i"]


def test_what_a_killed_replacement_left_behind_is_cleared(pictures, tiny, tmp_path):
    home = build_index([pictures], tiny, tmp_path / "i", QUICK).folder
    home.rename(tmp_path / ".i.old")
    build_index([pictures], tiny, tmp_path / "other", QUICK).folder.rename(home)  # killed after the second rename
    assert len(build_index([pictures], tiny, home, REPLACE)) == 60
    assert [entry.name for entry in tmp_path.iterdir()] == ["i"]


@pytest.mark.parametrize(("out", "kept"), [("train", ".train.index.77.tmp"), ("*", ".other.77.tmp")])
def test_only_its_own_leftovers_are_swept(out, kept, pictures, tiny, tmp_path):
    (tmp_path / kept).mkdir()
    (tmp_path / f".{out}.78.tmp").mkdir()
    build_index([pictures], tiny, tmp_path / out, QUICK)
    assert (tmp_path / kept).is_dir()
    assert not (tmp_path / f".{out}.78.tmp").exists()


def test_linked_folders_are_entered_once_and_loops_end(tmp_path):
    fill(tmp_path / "tree" / "own", range(2))
    fill(tmp_path / "else", range(10, 13))
    (tmp_path / "tree" / "linked").symlink_to(tmp_path / "else")
    (tmp_path / "tree" / "again").symlink_to(tmp_path / "else")
    (tmp_path / "tree" / "own" / "up").symlink_to(tmp_path / "tree")
    names = [entry.path.name for entry in listed([tmp_path / "tree"])]
    assert sorted(names) == ["0000.png", "0001.png", "0010.png", "0011.png", "0012.png"]


def test_a_folder_that_cannot_be_read_is_an_error(tmp_path, monkeypatch):
    fill(tmp_path / "tree" / "secret", range(2))
    scan = os.scandir

    def refuse(path):
        if Path(path).name == "secret":
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(MemdetectError, match=r"secret': the folder cannot be read \(Permission denied\)"):
        list(listed([tmp_path / "tree"]))


@pytest.mark.parametrize(("source", "message"), [("", "an empty name is no source"), ("a/0**", "is no glob")])
def test_names_that_mean_nothing_are_refused(source, message):
    with pytest.raises(MemdetectError, match=message):
        list(listed([source]))


@pytest.mark.parametrize("factory", ["Flat", "IVF4,SQ8"])
def test_a_reader_stays_with_the_index_that_it_verified(factory, pictures, tiny, tmp_path):
    made = replace(QUICK, factory=factory)
    reader = build_index([pictures], tiny, tmp_path / "i", made)
    others = fill(tmp_path / "others", range(200, 300))
    build_index([others], tiny, tmp_path / "i", replace(made, replace=True))
    found = reader.nearest(tiny.embed([picture(7)]), 1)[0][0]
    assert (found.key, found.similarity) == ((pictures / "0007.png").as_posix(), pytest.approx(1, abs=1e-3))


@pytest.mark.parametrize("factory", ["Flat", "IVF4,SQ8"])
def test_an_index_replaced_while_it_is_opened_is_opened_anew(factory, pictures, tiny, tmp_path, monkeypatch):
    made = replace(QUICK, factory=factory)
    build_index([pictures], tiny, tmp_path / "i", made)
    build_index([fill(tmp_path / "others", range(200, 230))], tiny, tmp_path / "next", made)
    check, calls = nearest.verify, []

    def verify(folder, progress=None):
        manifest = check(folder, progress)
        if not calls:
            (tmp_path / "i").rename(tmp_path / "gone")
            (tmp_path / "next").rename(tmp_path / "i")
        calls.append(manifest.count)
        return manifest

    monkeypatch.setattr(nearest, "verify", verify)
    reader = open_index(tmp_path / "i", tiny)
    assert calls == [60, 30]
    assert len(reader) == 30
    assert Path(reader.nearest(tiny.embed([picture(205)]), 1)[0][0].path).name == "0205.png"


def test_an_appended_index_keeps_what_it_was_told(pictures, tiny, tmp_path):
    home = build_index([pictures], tiny, tmp_path / "i", replace(QUICK, training_set=500, level=0.1)).folder
    more = fill(tmp_path / "more", range(100, 110))
    manifest = build_index([more], tiny, home, replace(APPEND, level=None)).manifest
    assert (manifest.training_set, manifest.threshold.level) == (500, 0.1)
    again = fill(tmp_path / "again", range(110, 113))
    assert build_index([again], tiny, home, replace(APPEND, level=0.2)).manifest.threshold.level == 0.2


def test_a_threshold_of_held_out_images_is_not_replaced_in_silence(pictures, tiny, tmp_path):
    held = fill(tmp_path / "held", range(200, 230))
    options = replace(QUICK, held_out=[held])
    home = build_index([pictures], tiny, tmp_path / "i", options).folder
    before, more = (home / "manifest.json").read_bytes(), fill(tmp_path / "more", range(100, 110))
    with pytest.raises(MemdetectError, match=r"rests on \d+ held-out images, .* give them again with --held-out"):
        build_index([more], tiny, home, APPEND)
    assert (home / "manifest.json").read_bytes() == before
    grown = build_index([more], tiny, home, replace(APPEND, held_out=[held]))
    assert grown.manifest.threshold.source == "held-out"


def test_an_index_is_found_through_a_link_and_replaced_behind_it(tiny, tmp_path):
    fill(tmp_path / "store" / "images", range(12))
    (tmp_path / "link").symlink_to(tmp_path / "store" / "i")
    build_index([tmp_path / "store" / "images"], tiny, tmp_path / "link", QUICK)
    assert (tmp_path / "link").is_symlink()
    seen = open_index(tmp_path / "link", tiny).nearest(tiny.embed([picture(3)]), 1)[0][0]
    assert Path(seen.path).is_file()
    (tmp_path / "deep" / "sub").mkdir(parents=True)
    fill(tmp_path / "deep" / "images", range(20, 32))
    (tmp_path / "store" / "other").symlink_to(tmp_path / "deep" / "sub")
    source = tmp_path / "store" / "other" / ".." / "images"
    made = build_index([source], tiny, tmp_path / "link", REPLACE)
    assert (tmp_path / "link").is_symlink()
    assert Path(made.nearest(tiny.embed([picture(25)]), 1)[0][0].path).is_file()


def test_wrong_options_are_found_before_an_image_is_opened(pictures, tmp_path):
    class Unused(Tiny):
        def embed(self, images, /):
            raise AssertionError

    with pytest.raises(MemdetectError, match="no index of kind 'flat'"):
        build_index([pictures], Unused(), tmp_path / "i", replace(QUICK, factory="flat"))
    with pytest.raises(MemdetectError, match="IVF4096,SQ8 needs at least 4096 images, there are"):
        build_index([pictures], Unused(), tmp_path / "i", replace(QUICK, factory="IVF4096,SQ8"))


def test_held_out_images_that_are_left_out_are_counted(pictures, tiny, tmp_path):
    held = fill(tmp_path / "held", range(300, 320))
    (held / "bad.png").write_text("no image")
    manifest = build_index([pictures], tiny, tmp_path / "i", replace(QUICK, held_out=[held])).manifest
    assert manifest.noted == {"held-out left out: no image": 1}
    for good in held.glob("0*.png"):
        good.unlink()
    with pytest.raises(MemdetectError, match=r"none of 1 held-out images could be used; the first: .*bad\.png"):
        build_index([pictures], tiny, tmp_path / "j", replace(QUICK, held_out=[held]))


def test_images_longer_than_a_jpeg_are_taken_in_and_not_planted(tiny, tmp_path):
    folder = fill(tmp_path / "images", range(8))
    Image.new("RGB", (65_501, 1), "red").save(folder / "long.png")
    made = build_index([folder], tiny, tmp_path / "i", replace(QUICK, planted=9))
    assert (len(made), made.manifest.planted.images) == (9, 8)


def test_headers_with_spaces_blank_captions_and_numbers_are_read(tmp_path):
    fill(tmp_path / "images", range(2))
    (tmp_path / "list.csv").write_text("image, caption, id\nimages/0000.png, a cat,7\nimages/0001.png, ,8\n")
    assert [(e.key, e.caption) for e in listed([tmp_path / "list.csv"])] == [("7", " a cat"), ("8", None)]
    rows = [{"image": "images/0000.png", "caption": 3.5}, {"image": "images/0001.png", "caption": "\u2028"}]
    (tmp_path / "list.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [e.caption for e in listed([tmp_path / "list.jsonl"])] == ["3.5", None]
