"""One listing of folders: what is an image is found whatever its name and depth, and nothing is left out in silence."""

import os
from pathlib import Path

import pytest
from PIL import Image

from memdetect.copies.index.sources import listed
from memdetect.errors import Exit, MemdetectError
from memdetect.inputs.folders import images_in, is_image, matching, names_image
from memdetect.inputs.prompts import read

WRITTEN = {"PNG": {}, "JPEG": {}, "GIF": {}, "BMP": {}, "TIFF": {}, "WEBP": {}, "JPEG2000": {}, "AVIF": {}}
OTHER = {
    "notes.odt": b"PK\x03\x04",
    "cache.npz": b"PK\x03\x04",
    "cache.pt": b"PK\x03\x04",
    "mail.eml": b"BMW sold\n",
    "empty": b"",
    "page.html": b"<svg/>",
}


def image(path: Path, format: str = "PNG", colour: str = "red") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), colour).save(path, format=format)
    return path


def names(paths, folder: Path) -> list[str]:
    return [str(Path(path).relative_to(folder)) for path in paths]


@pytest.mark.parametrize("format", WRITTEN)
def test_an_image_is_known_by_its_first_bytes(tmp_path, format):
    for name in ("a", "a.dat", "a.PNG_orig"):
        assert is_image(image(tmp_path / name, format))


def test_what_is_no_image_is_none(tmp_path):
    for name, content in OTHER.items():
        (tmp_path / name).write_bytes(content)
        assert not is_image(tmp_path / name), name
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "nowhere.txt").symlink_to(tmp_path / "gone")
    assert not list(images_in(tmp_path))


def test_links_to_nowhere_and_unknown_kinds_are_images_that_cannot_be_opened(tmp_path):
    """A git-annex file without its content, a linked folder that is gone, a pointer of LFS, greymaps, icons."""
    for name in ("b.png", "blob", "sub"):
        (tmp_path / name).symlink_to("/nowhere/annex")
    (tmp_path / "pointer").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    for name in ("x.pgm", "x.pbm", "x.pnm", "x.ico", "x.svg"):
        (tmp_path / name).touch()
    (tmp_path / "grey").write_bytes(b"P5\n8 8\n255\n" + bytes(64))
    found = sorted(names(images_in(tmp_path), tmp_path))
    assert found == ["b.png", "blob", "grey", "pointer", "sub", "x.ico", "x.pbm", "x.pgm", "x.pnm", "x.svg"]


HELD = {
    **{f"m.{end}": b"" for end in ("parquet", "arrow", "tfrecord", "h5", "hdf5", "mdb", "lmdb", "pkl", "pdf")},
    **{f"m.{end}": b"" for end in ("cbz", "tbz2", "txz", "gz", "bz2", "xz", "zst", "tar.lz4", "zip.001", "7z.001")},
    **{f"m.{end}": b"" for end in ("z01", "r00", "mp4", "mov", "webm", "avi", "mkv")},
    "zip": b"PK\x03\x04",
    "tar.wds": bytes(257) + b"ustar\0",
    "gzip": b"\x1f\x8b\x08",
    "7z": b"7z\xbc\xaf'\x1c",
    "rar": b"Rar!\x1a\x07",
    "parquet": b"PAR1",
    "video": b"\0\0\0\x18ftypmp42",
    "data_batch_1": b"\x80\x02}q\x01",
    "matroska": b"\x1aE\xdf\xa3",
}


@pytest.mark.parametrize("name", HELD)
def test_containers_and_videos_are_not_passed_over(tmp_path, name):
    image(tmp_path / "a.png")
    (tmp_path / name).write_bytes(HELD[name])
    for source in (tmp_path, f"{tmp_path}/*"):
        with pytest.raises(MemdetectError, match=f"{name}' is a.*, in which nothing is looked at; .*, or move it away"):
            list(listed([source]))
    with pytest.raises(MemdetectError, match="in which nothing is looked at"):
        read([tmp_path])


def test_what_a_glob_hits_is_an_image_or_goes_with_one(tmp_path):
    image(tmp_path / "a.png")
    image(tmp_path / "b.jpg", "JPEG")
    for name in ("a.txt", "b.jpg.txt", "metadata.jsonl", "README.md", "a.npz"):
        (tmp_path / name).touch()
    assert names([entry.path for entry in listed([f"{tmp_path}/*"])], tmp_path) == ["a.png", "b.jpg"]
    for name, said in {
        "more.csv": "which may be a list; name lists alone",
        "x.doc": "which is no image and goes",
    }.items():
        (tmp_path / name).write_text("path\nc.png\n")
        with pytest.raises(MemdetectError, match=f"{name}', {said}"):
            list(listed([f"{tmp_path}/*"]))
        (tmp_path / name).unlink()


@pytest.mark.parametrize("name", ["prompts.txt", "deep/p.jsonl", "list.json", "t.csv", "t.tsv"])
def test_a_scanned_folder_with_prompt_files_is_refused(tmp_path, name):
    image(tmp_path / "a.png")
    for beside in ("a.txt", "a.json", "a.caption", "a.png.txt", "metadata.csv", "notes.md"):
        (tmp_path / beside).write_text("x")
    assert len(read([tmp_path]).items) == 1
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("a bear and a banana\n")
    for source in (tmp_path, f"{tmp_path.parent}/{tmp_path.name}*"):
        with pytest.raises(
            MemdetectError, match=f"holds '{name}', which a scan of the folder's images would pass over"
        ):
            read([source])


def test_scan_and_index_see_the_same_images_of_a_folder(tmp_path):
    """Subfolders, links to folders, odd suffixes, none, a broken picture; hidden ones are left out by both."""
    data = tmp_path / "data"
    shown = ["a.jfif", "b.jpe", "c", "deep/down/d.png", "f.heic", "g.png", "h.JPEG", "linked/e.png"]
    for number, name in enumerate(name for name in shown if not name.startswith("linked")):
        image(data / name, "JPEG" if name[0] in "abh" else "PNG", f"#{30 * number:02x}0000")
    (data / "g.png").write_bytes((data / "g.png").read_bytes()[:40])
    image(tmp_path / "elsewhere" / "e.png", colour="blue")
    (data / "linked").symlink_to(tmp_path / "elsewhere")
    (data / "round").symlink_to(data)
    image(data / ".cache" / "x.png")
    image(data / ".y.png")
    (data / "a.txt").write_text("a caption")
    assert sorted(names(images_in(data), data)) == shown
    for entry in (data, f"{tmp_path}/d*"):
        assert sorted(names([item.image for item in read([entry]).items], data)) == shown
        assert sorted(names([entry.path for entry in listed([entry])], data)) == shown
    assert names([entry.path for entry in listed([data / "c", data / "f.heic"])], data) == ["c", "f.heic"]
    assert names([item.image for item in read([data / "c"]).items], data) == ["c"]


@pytest.mark.parametrize("name", ["more.zip", "0001.tar", "set.tar.gz", "SET.7Z", "deep/x.tgz"])
def test_an_archive_is_not_passed_over(tmp_path, name):
    image(tmp_path / "a.png")
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    for attempt in (lambda: read([tmp_path]), lambda: list(listed([tmp_path]))):
        with pytest.raises(
            MemdetectError, match="archive, in which nothing is looked at; unpack it, or move it"
        ) as caught:
            attempt()
        assert caught.value.exit == Exit.USAGE


def test_a_glob_takes_the_images_of_the_folders_that_it_hits(tmp_path):
    image(tmp_path / "in" / "one" / "a.png")
    image(tmp_path / "in" / "b.png", colour="blue")
    (tmp_path / "in" / "none").mkdir()
    assert names(matching(f"{tmp_path}/in/*"), tmp_path) == ["in/b.png", "in/one/a.png"]
    assert len(read([f"{tmp_path}/in/**"]).items) == 2


PATHS = {
    "txt": "{}\n",
    "jsonl": '"{}"\n',
    "csv": "prompt\n{}\n",
    "json": '["{}"]',
}


@pytest.mark.parametrize("format", PATHS)
@pytest.mark.parametrize(
    "path",
    [
        *(
            "red one.png",
            "/data/0001.jpg",
            "https://example.org/x/a.WEBP",
            "train/0.jfif",
            "/data/a.pgm",
            "/data/a.mp4",
        ),
        *("https://x.org/a.jpg?v=1", "https://i.imgur.com/abc", "/data/my train set/1.png", "file:///my set/1.png"),
    ],
)
def test_paths_of_images_are_no_prompts(tmp_path, format, path):
    image(tmp_path / "red one.png")
    (tmp_path / f"list.{format}").write_text(PATHS[format].format(path))
    with pytest.raises(MemdetectError, match="is an image, no prompt; list images as csv or jsonl"):
        read([tmp_path / f"list.{format}"])


@pytest.mark.parametrize(
    "path",
    ["C:\\My Pictures\\img 1.png", '"/data/a.png"', "/data/a.png\ta cat", "/data/a.png|a cat", "/data/a.png,a cat"],
)
def test_paths_in_lists_of_other_programs_are_no_prompts(tmp_path, path):
    (tmp_path / "list.txt").write_text(path)
    with pytest.raises(MemdetectError, match=r"line 1: .* is an image, no prompt"):
        read([tmp_path / "list.txt"])


@pytest.mark.parametrize(
    "prompt",
    [
        *("IMG_1025.HEIC", "a poster for cats/dogs.png", "a cat.", "x" * 10_000 + ".png", "/imagine a cat, oil"),
        *("file: a cat", "a sign that says https://x.org/a.png", "ratio 16/9 | cinematic"),
    ],
)
def test_prompts_that_end_like_images_stay_prompts(tmp_path, prompt):
    assert not names_image(prompt, tmp_path)
    (tmp_path / "p.txt").write_text(prompt)
    assert read([tmp_path / "p.txt"]).items[0].prompt == prompt


def test_images_named_beside_prompts_are_counted(tmp_path):
    (tmp_path / "m.jsonl").write_text('{"file_name": "a.png", "text": "a cat"}\n{"text": "a dog"}\n')
    assert read([tmp_path / "m.jsonl"]).beside == 1


@pytest.mark.parametrize("name", ["p.txt", "list.csv"])
def test_a_glob_does_not_pass_over_folders_of_prompts(tmp_path, name):
    image(tmp_path / "a" / "x.png")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / name).write_text("prompt,id\na cat,1\n")
    with pytest.raises(MemdetectError, match=f"holds '{name}', which a scan of the folder's images would pass over"):
        read([f"{tmp_path}/*"])


@pytest.mark.parametrize("name", ["p.bak", "p.docx", "p.py", "p.log", "p"])
def test_a_text_goes_with_images_alone(tmp_path, name):
    image(tmp_path / "ok.png")
    (tmp_path / "p.txt").write_text("a cat")
    (tmp_path / name).write_bytes(b"something else")
    with pytest.raises(MemdetectError, match=r"holds 'p\.txt'"):
        read([tmp_path])


@pytest.mark.parametrize("name", ["t.tfrecord-00000-of-00010", "x.sqlite", "data"])
def test_containers_by_other_names(tmp_path, name):
    image(tmp_path / "ok.png")
    (tmp_path / name).write_bytes(b"SQLite format 3\0")
    with pytest.raises(MemdetectError, match="in which nothing is looked at"):
        read([tmp_path])
