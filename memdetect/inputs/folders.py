"""What lies in a folder of pictures: one listing for scanned images, indexes and training pictures alike."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from memdetect.errors import MemdetectError

IMAGE_SUFFIXES = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".tif", ".tiff", ".gif"),
    *(".avif", ".heic", ".heif", ".jxl", ".jp2", ".tga", ".psd", ".ppm", ".exr"),  # not opened, but never passed over
)
# Files that stand beside pictures and are none, so that a million captions are not opened to see what they are.
BESIDE = (
    ".txt",
    ".caption",
    ".json",
    ".jsonl",
    ".csv",
    ".tsv",
    ".md",
    ".toml",
    ".yaml",
    ".npz",
    ".npy",
    ".safetensors",
)
ARCHIVES = (".zip", ".tar", ".tgz", ".7z", ".rar", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst")
# What image files begin with: PNG, JPEG, GIF, BMP, TIFF and BigTIFF, WebP, AVIF and HEIC, JPEG XL, JPEG 2000,
# Photoshop, EXR, QOI.
MARK = re.compile(
    rb"\x89PNG\r\n|\xff\xd8\xff|GIF8[79]a|BM.{4}\0{4}|II[*+]\0|MM\0[*+]|RIFF.{4}WEBP|.{4}ftyp(avi[fs]|hei[cfmsx]|mif1)"
    rb"|\xff\x0a|\0\0\0\x0c(JXL |jP  )\r\n|8BPS|v/1\x01|qoif",
    re.DOTALL,
)


def is_image(path: Path) -> bool:
    """Whether a file is an image: by its name, else by its first bytes.

    Raises MemdetectError (usage) for a file of an unknown suffix that cannot be read.
    """
    suffix = path.suffix.lower()
    if suffix in IMAGE_SUFFIXES or suffix in BESIDE:
        return suffix in IMAGE_SUFFIXES
    if not path.is_file():  # a pipe, which would never end, or a link to nowhere
        return False
    try:
        with path.open("rb") as file:
            return bool(MARK.match(file.read(16)))
    except OSError as problem:
        raise MemdetectError(f"{str(path)!r}: cannot be read ({problem.strerror}); give access to it") from None


def names_image(text: str, folder: Path) -> bool:
    """Whether a text, meant as a prompt, is the address of an image, or its path seen from `folder` or from here."""
    if not text.lower().endswith(IMAGE_SUFFIXES) or "\n" in text:
        return False
    try:
        there = any((home / text).is_file() for home in (folder, Path()))
    except OSError:  # longer than a path can be
        return False
    return there or bool(re.fullmatch(r"\S*[/\\]\S*", text))


def images_in(folder: Path) -> Iterator[Path]:
    """The images of a folder at any depth, also those that cannot be opened, in an order that is always the same.

    Linked folders are entered, each folder once. Hidden files and folders are left out, as trainers leave them out.
    Memory holds the names of one folder at a time. Raises MemdetectError (usage) for a folder that cannot be read, and
    for an archive, in which there may be images that nobody would look at.
    """
    entered: set[tuple[int, int]] = set()
    for base, folders, files in os.walk(folder, onerror=_unread, followlinks=True):
        place = Path(base).stat()
        if (place.st_dev, place.st_ino) in entered:
            folders.clear()
            continue
        entered.add((place.st_dev, place.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        shown = (Path(base, name) for name in sorted(files) if not name.startswith("."))
        yield from (path for path in map(_no_archive, shown) if is_image(path))


def files_of(source: str) -> list[Path]:
    """The files that a name stands for, in order: a file itself, the images of a folder, what a glob hits.

    Raises ValueError, or OSError for a name that no file can have, where that is nothing; MemdetectError as
    `images_in` does.
    """
    path = Path(source)
    if source and path.exists():
        files, none = [path], "holds no image at any depth; name prompt files singly"
        if path.is_dir():
            files = list(images_in(path))
    elif re.search(r"[*?[]", source):
        files = matching(source)
        none = f"no file matches this pattern in {str(Path.cwd())!r}; check it, or name the files"
    else:
        files, none = [], "no such file or folder; check the path, or pass - for stdin"
    if not files:
        raise ValueError(none)
    return files


def matching(pattern: str) -> list[Path]:
    """The files that a glob hits, sorted; for a folder that it hits, the images in it.

    Hidden ones are left out unless the glob names them. Raises ValueError for what is no glob, MemdetectError as
    `images_in` does.
    """
    path = Path(pattern)
    named = {*path.parts}
    hits = sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
    shown = [hit for hit in hits if not any(part[0] == "." for part in {*hit.parts} - named)]
    return list(dict.fromkeys(file for hit in shown for file in (images_in(hit) if hit.is_dir() else [hit])))


def _no_archive(path: Path) -> Path:
    if path.name.lower().endswith(ARCHIVES):
        raise MemdetectError(f"{str(path)!r} is an archive, in which nothing is looked at; unpack it, or move it away")
    return path


def _unread(problem: OSError) -> None:
    said = f"the folder cannot be read ({problem.strerror}); give access to it"
    raise MemdetectError(f"{str(problem.filename)!r}: {said}")
