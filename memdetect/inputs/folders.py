"""What lies in a folder of pictures: one listing for scanned images, indexes and training pictures alike."""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from memdetect.errors import MemdetectError
from memdetect.files import did_you_mean, open_regular, real

IMAGE_SUFFIXES = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".tif", ".tiff", ".gif"),
    # Not opened, but never passed over.
    *(".avif", ".heic", ".heif", ".jxl", ".jp2", ".j2k", ".tga", ".psd", ".ppm", ".pgm", ".pbm", ".pnm", ".exr"),
    *(".ico", ".icns", ".svg", ".hdr", ".dds", ".pcx", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2"),
    *(".dcm", ".dicom", ".fits", ".fit", ".nii", ".jxr", ".qoi", ".xcf", ".eps", ".hif"),
)
# Files that stand beside pictures and are none, so that a million captions are not opened to see what they are.
BESIDE = (
    *(".txt", ".caption", ".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".md", ".toml", ".yaml", ".yml"),
    *(".npz", ".npy", ".safetensors", ".pt"),
)
TEXTS = (".txt", ".jsonl", ".ndjson", ".json", ".csv", ".tsv")  # of these, what may be prompts or a list
ARCHIVES = (
    *(".zip", ".tar", ".tgz", ".7z", ".rar", ".tbz", ".tbz2", ".txz", ".tzst", ".gz", ".bz2", ".xz", ".zst", ".lz4"),
    *(".lzma", ".z", ".cbz", ".cbr", ".epub", ".iso", ".dmg", ".cab", ".beton", ".mat"),
)
TABLES = (
    *(".arrow", ".feather", ".tfrecord", ".tfrecords", ".sqlite", ".db", ".ldb", ".msgpack", ".h5", ".hdf5", ".mdb"),
    *(".lmdb", ".pkl", ".pdf", ".rec"),
)
VIDEOS = (
    *(".mp4", ".m4v", ".mov", ".webm", ".avi", ".mkv", ".mpg", ".mpeg", ".wmv", ".asf", ".flv", ".f4v", ".3gp"),
    *(".ogv", ".m2ts", ".mts", ".vob", ".gifv"),
)
ARRAYS = (".zarr", ".n5")  # folders, each of which is one container
ARRAY_NOTES = (".zarray", ".zgroup", "zarr.json")  # what lies in one that is named otherwise
PARTS = re.compile(r".*\.((zip|7z|rar|tar)\.\d+|[zr]\d\d|tfrecords?-.*)", re.IGNORECASE)  # set.zip.001, set.z01
# What files begin with in which there may be pictures: zip, 7z, RAR, gzip, bzip2, xz, zstd, lz4, parquet, arrow, HDF5,
# PDF, pickle, RecordIO, Matroska and WebM, AVI, MP4 and QuickTime, WMV, FLV, Ogg, MPEG. A tar says so further on.
HELD = re.compile(
    rb"PK[\x03\x07][\x04\x08]|SQLite format 3"
    rb"|7z\xbc\xaf'\x1c|Rar!|\x1f\x8b|BZh[1-9]|\xfd7zXZ|\(\xb5/\xfd|\x04\x22M\x18|PAR1|ARROW1|\x89HDF|%PDF-"
    rb"|\x80[\x02-\x05][}\](\x95cN]|\n#\xd7\xce|\x1aE\xdf\xa3|RIFF.{4}AVI "
    rb"|.{4}ftyp(?!avi[fs]|hei[cfmsx]|mif1|msf1|crx )|0&\xb2u\x8ef\xcf\x11|FLV\x01|OggS|\0\0\x01\xba",
    re.DOTALL,
)
DOCUMENTS = (".odt", ".odp", ".docx", ".pptx")  # zip files all of them, and seldom of training pictures
TAR = slice(257, 262), b"ustar"
# What image files begin with: PNG, JPEG, GIF, BMP, TIFF and BigTIFF, WebP, AVIF and HEIC, JPEG XL, JPEG 2000,
# Photoshop, EXR, QOI, DICOM, FITS, GIMP.
MARK = re.compile(
    rb"\x89PNG\r\n|\xff\xd8\xff|GIF8[79]a|BM.{4}\0{4}|II[*+]\0|MM\0[*+]|RIFF.{4}WEBP|.{4}ftyp(avi[fs]|hei[cfmsx]|mif1)"
    rb"|\xff\x0a|\0\0\0\x0c(JXL |jP  )\r\n|8BPS|v/1\x01|qoif|P[1-6]\s\d+\s|\0\0\x01\0[\x01-\xff]\0|version https://git-lfs"
    rb"|.{128}DICM|SIMPLE  =|gimp xcf",
    re.DOTALL,
)

ADDRESS = re.compile(r"(https?|ftp|s3|gs|hf|data|file):(//)?\S+", re.IGNORECASE)
ABSOLUTE = re.compile(r"[a-z]:[\\/]|[\\/~]|[a-z][a-z0-9+.-]*://", re.IGNORECASE)


def is_image(path: Path) -> bool:
    """Whether a file is an image: by its name, else by its first bytes.

    A link to nowhere counts as one, unless its name is that of a companion: what it led to is not known (git-annex,
    caches of a hub). Raises MemdetectError (usage) for a file of an unknown suffix that cannot be read.
    """
    suffix = path.suffix.lower()
    if suffix in IMAGE_SUFFIXES or suffix in BESIDE:
        return suffix in IMAGE_SUFFIXES
    if not path.is_file():  # a pipe, which would never end, or a link
        return path.is_symlink() and not path.exists()
    return bool(MARK.match(_first_bytes(path)))


def _first_bytes(path: Path) -> bytes:
    try:
        with open_regular(path) as file:
            return file.read(TAR[0].stop)
    except OSError as problem:
        raise MemdetectError(f"{str(path)!r}: cannot be read ({problem.strerror}); give access to it") from None


def names_image(text: str, folder: Path) -> bool:
    """Whether a text, meant as a prompt, is the address or path of an image or video, alone or before a caption.

    Paths are absolute, without blanks, or of a file that is there, seen from `folder` or from here. Any address counts.
    """
    if "\n" in text:
        return False
    head = _unquoted(re.split(r"[\t|]", text)[0])
    if ADDRESS.fullmatch(head) or (ABSOLUTE.match(head) and _ends(head.split(",")[0])):
        return True
    if not _ends(head):
        return False
    try:
        there = any((home / head).is_file() for home in (folder, Path()))
    except OSError:  # longer than a path can be
        return False
    return there or bool(ABSOLUTE.match(head) or re.fullmatch(r"\S*[/\\]\S*", head))


def _unquoted(text: str) -> str:
    return text.strip().strip("\"'").strip()


def _ends(path: str) -> bool:
    """Whether a path or address ends as an image or a video does, before a query or a fragment."""
    return _unquoted(re.split(r"[?#]", path)[0]).lower().endswith((*IMAGE_SUFFIXES, *VIDEOS))


def images_in(folder: Path) -> Iterator[Path]:
    """The images of a folder at any depth, also those that cannot be opened, in an order that is always the same.

    Linked folders are entered, each folder once. Hidden files and folders are left out, as trainers leave them out.
    Memory holds the names of one folder at a time. Raises MemdetectError (usage) for a folder that cannot be read, and
    as `no_container` does.
    """
    return (path for path in files_in(folder) if is_image(path))


def files_in(folder: Path) -> Iterator[Path]:
    """All files that `images_in` goes through. Raises MemdetectError as that does."""
    entered: set[tuple[int, int]] = set()
    for base, folders, files in os.walk(folder, onerror=_unread, followlinks=True):
        place = Path(base).stat()
        if (place.st_dev, place.st_ino) in entered:
            folders.clear()
            continue
        entered.add((place.st_dev, place.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if Path(base).suffix.lower() in ARRAYS or not {*ARRAY_NOTES}.isdisjoint((*files, *folders)):
            raise _held(Path(base), "a container of arrays", "write them out as image files")
        yield from (no_container(Path(base, name)) for name in sorted(files) if not name.startswith("."))


def folder_names(folder: Path) -> dict[tuple[int, int], list[str]]:
    """By device and inode, the names under which each folder below another one can be reached, links among them."""
    found: dict[tuple[int, int], list[str]] = {}
    for base, folders, _ in os.walk(folder, onerror=_unread, followlinks=True):
        shown, folders[:] = sorted(name for name in folders if not name.startswith(".")), []
        for name in shown:
            place = Path(base, name).stat()
            if not found.setdefault((place.st_dev, place.st_ino), []):
                folders.append(name)
            found[place.st_dev, place.st_ino].append(name)
    return found


def strays(files: Sequence[Path], suffixes: Sequence[str] = TEXTS) -> list[Path]:
    """Those of some files that may be prompts or lists: texts and tables that go with no image among the files.

    A text goes with an image that it is named after (a.txt, a.json, a.png.txt, a.wd14.txt), and metadata.* with all of
    them.
    """
    images = [path for path in files if is_image(path)]
    named = {name for path in images for name in (path, path.with_suffix(""))}
    texts = [
        path for path in files if path.suffix.lower() in suffixes and not path.name.lower().startswith("metadata.")
    ]
    return [path for path in texts if named.isdisjoint((path.with_suffix(""), path.with_suffix("").with_suffix("")))]


def _images_alone(folder: Path) -> list[Path]:
    """The images of a folder that is scanned. MemdetectError (usage) where prompt files lie there as well."""
    files = list(files_in(folder))
    images = [path for path in files if is_image(path)]
    if others := strays(files):
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        said = "which a scan of the folder's images would pass over; name prompt files singly, or move them away"
        raise MemdetectError(f"{str(folder)!r} holds {str(others[0].relative_to(folder))!r}{more}, {said}")
    return images


def files_of(source: str) -> list[Path]:
    """The files that a name stands for, in order: a file itself, the images of a folder, what a glob hits.

    Raises ValueError, or OSError for a name that no file can have, where that is nothing; MemdetectError as
    `images_in` does, and for a folder that holds files besides which may be prompts.
    """
    path = Path(source)
    if source and path.exists():
        files, none = [path], "holds no image at any depth; name prompt files singly"
        if path.is_dir():
            files = _images_alone(path)
    elif re.search(r"[*?[]", source):
        files = matching(source, _images_alone)
        none = f"no file matches this pattern in {str(Path.cwd())!r}; check it, or name the files"
    else:
        files, none = [], f"no such file or folder; {did_you_mean(path)}check the path, or pass - for stdin"
    if not files:
        raise ValueError(none)
    return files


def matching(pattern: str, images: Callable[[Path], Iterable[Path]] = images_in) -> list[Path]:
    """The files that a glob hits, sorted; for a folder that it hits, the images in it, as `images` lists them.

    Hidden ones are left out unless the glob names them. Raises ValueError for what is no glob, MemdetectError as
    `images_in` does, also for a folder that the glob goes through and that cannot be read.
    """
    path = Path(pattern)
    named = {*path.parts}
    _refuse_unread(path)
    hits = sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
    shown = [hit for hit in hits if not any(part[0] == "." for part in {*hit.parts} - named)]
    return list(dict.fromkeys(file for hit in shown for file in (images(hit) if hit.is_dir() else [hit])))


def _refuse_unread(pattern: Path) -> None:
    """Refuse a folder that a glob goes through and that cannot be read: globs leave it out in silence."""
    home, parts = Path(pattern.anchor), pattern.relative_to(pattern.anchor).parts
    for depth, part in enumerate(parts):
        if not re.search(r"[*?[]", part):
            continue
        for folder in home.glob(str(Path(*parts[:depth]))) if depth else [home]:
            for _, folders, _ in os.walk(folder, onerror=_unread) if folder.is_dir() else ():
                folders[:] = [name for name in folders if not name.startswith(".")] if part == "**" else []
        if part == "**":
            return


def outside(out: Path, sources: Iterable[str | Path | None]) -> None:
    """MemdetectError (usage) where what is written to `out` would lie among the files of a source, and be read next.

    Sources: folders, and globs with `**`; anything else holds none but its own files, and None nothing.
    """
    home = real(out)
    for source in [str(source) for source in sources if source is not None]:
        path = Path(source.partition("**")[0]) if "**" in source else Path(source)
        if source and path.is_dir() and home.is_relative_to(real(path)):
            said = "so that its pictures would be taken for inputs; choose an --out outside of it"
            raise MemdetectError(f"--out {str(out)!r} lies in {str(path)!r}, which is searched for images, {said}")


def no_container(path: Path) -> Path:
    """The path itself. MemdetectError (usage) for a file in which there may be pictures that nobody would look at.

    Archives, videos, tables and databases: by name, else by first bytes. Arrays and tensors (.npz, .npy, .pt,
    .safetensors) are taken for caches of what lies beside them.
    """
    name, suffix = path.name.lower(), path.suffix.lower()
    if suffix in ARCHIVES or PARTS.fullmatch(name):
        raise _held(path, "an archive", "unpack it")
    if suffix in VIDEOS:
        raise _held(path, "a video", "save its frames as images")
    if suffix == ".parquet":
        raise _held(path, "a table that may hold pictures", "name it alone if it lists their paths")
    if suffix in TABLES:
        raise _held(path, "a container that may hold pictures", "write them out as image files")
    if suffix not in (*IMAGE_SUFFIXES, *BESIDE, *DOCUMENTS) and path.is_file():
        begins = _first_bytes(path)
        if HELD.match(begins) or begins[TAR[0]] == TAR[1]:
            raise _held(path, "a container by its first bytes", "unpack it")
    return path


def _held(path: Path, what: str, cure: str) -> MemdetectError:
    return MemdetectError(f"{str(path)!r} is {what}, in which nothing is looked at; {cure}, or move it away")


def _unread(problem: OSError) -> None:
    said = f"the folder cannot be read ({problem.strerror}); give access to it"
    raise MemdetectError(f"{str(problem.filename)!r}: {said}")
