"""Pictures out of unpacked packages: each once, of a size that is fast to read, and large ones in tiles as well."""

import hashlib
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from PIL import Image
from pydantic import BaseModel, ConfigDict

from memdetect.errors import MemdetectError
from memdetect.files import write_atomic
from memdetect.inputs.images import FORMATS, open_image
from memdetect.lab.evidence.damages import sized
from memdetect.lab.evidence.sources import Kind, Part, Source, Split, unpack

LISTING = "pictures.jsonl"
LEAST, MOST = 256, 1024  # of the longer side: smaller ones are left out, larger ones scaled down
NARROW = 3.0  # sides that differ by more are no picture but a banner
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif")
OF_A_PART = 500  # pictures of one kind in one package at most, chosen by hash
THUMB, ALIKE = 16, 0.95  # two pictures are one where their grey thumbnails correlate by more
SHOWS = 6.0  # standard deviation of the grey levels within rows, and within columns, below which it shows nothing
LARGE, TILED, TILE, TILES = 2000, 4096, 512, 30  # longer side from which, and at which, tiles are cut; how many
TEXTURED, APART = 12.0, 0.03  # of a tile: standard deviation; root mean square difference from the others' thumbnails
# Words of a file's name that say in which size or light it shows a wallpaper, not which one.
SAME = re.compile(
    r"(\d+x\d+|(?<=images)_dark|[_-](dark|light|night|day|morning|d|l|\d?k|hd|wide|portrait|landscape)(?![a-z]))"
)


class Picture(BaseModel):
    """A picture of the bench. file: relative to the bench's folder. tile_of: the key of what it is a tile of, or ""."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: str
    package: str
    kind: Kind
    split: Split
    file: str
    width: int
    height: int
    tile_of: str = ""

    def open(self, folder: Path) -> Image.Image:
        """The pixels, RGB."""
        return open_image(folder / self.file).image


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file in an unpacked package; name: its path there."""

    source: Source
    part: Part
    path: Path
    name: str
    size: tuple[int, int]

    @property
    def order(self) -> str:
        """A random order that is always the same."""
        return hashlib.sha256(f"{self.source.package}/{self.name}".encode()).hexdigest()

    @property
    def key(self) -> str:
        """A name for a file: the package, the file's stem, and a piece of the hash of its path."""
        stem = re.sub(r"[^a-z0-9]+", "-", Path(self.name).stem.lower()).strip("-")[:40]
        return f"{self.source.package}/{stem}-{self.order[:6]}"


def prepare(debs: Path, folder: Path, sources: Sequence[Source]) -> list[Picture]:
    """Unpack the packages whose archives are in `debs` and store their pictures in `folder`, with a listing.

    Files of one name but for its size or light count once, the largest of them; so do pictures whose thumbnails are
    alike, of all packages together, mirrored or not. Raises MemdetectError where no package has a picture.
    """
    (folder / "unpacked").mkdir(parents=True, exist_ok=True)
    found: list[Candidate] = []
    for source in sources:
        if home := unpack(debs, folder / "unpacked", source):
            found += _chosen(list(_candidates(home, source)))
    kept = _Kept(folder)
    pictures = [p for each in sorted(found, key=lambda c: (-c.size[0] * c.size[1], c.order)) for p in kept.store(each)]
    if not pictures:
        raise MemdetectError(f"{debs} holds no package with pictures; fetch some with memdetect lab evidence fetch")
    write_atomic(folder / LISTING, "".join(f"{picture.model_dump_json()}\n" for picture in pictures))
    return pictures


def read_listing(folder: Path) -> list[Picture]:
    """The pictures of a folder that `prepare` filled; MemdetectError for any other."""
    try:
        lines = (folder / LISTING).read_text("utf-8").splitlines()
    except OSError:
        raise MemdetectError(f"{folder} holds no {LISTING}; run memdetect lab evidence fetch first") from None
    return [Picture.model_validate_json(line) for line in lines]


def family(name: str) -> str:
    """What the files of one wallpaper have in common: the path without sizes, light, and suffix."""
    return SAME.sub("", str(Path(name).with_suffix("")).lower())


def _candidates(home: Path, source: Source) -> Iterator[Candidate]:
    for path in sorted(home.rglob("*")):
        name = path.relative_to(home).as_posix()
        if path.suffix.lower() in SUFFIXES and path.is_file() and not path.is_symlink() and (part := source.part(name)):
            size = _size(path)
            if size and max(size) >= LEAST and max(size) <= NARROW * min(size):
                yield Candidate(source, part, path, name, size)


def _size(path: Path) -> tuple[int, int] | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large pictures, which are what is wanted
            with Image.open(path, formats=FORMATS) as file:
                return file.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def _chosen(found: Sequence[Candidate]) -> list[Candidate]:
    """The largest of each name, and of each kind at most so many."""
    largest: dict[str, Candidate] = {}
    for each in sorted(found, key=lambda c: (-c.size[0] * c.size[1], c.order)):
        largest.setdefault(family(each.name), each)
    kept: list[Candidate] = []
    for kind in dict.fromkeys(each.part.kind for each in found):
        kept += sorted((each for each in largest.values() if each.part.kind == kind), key=lambda c: c.order)[:OF_A_PART]
    return kept


@dataclass(slots=True)
class _Kept:
    """Stores pictures one after the other, larger ones first, and leaves out those that show what is there."""

    folder: Path
    thumbs: list[Float32[np.ndarray, " pixel"]] = field(default_factory=list[Float32[np.ndarray, " pixel"]])

    def store(self, each: Candidate) -> list[Picture]:
        """The picture, and its tiles if it is large; nothing for one that is broken, flat or there already."""
        try:
            image = open_image(each.path, max_pixels=200_000_000).image
        except MemdetectError:
            return []
        thumb = _thumb(image)
        if thumb is None or self._there(thumb):
            return []
        self.thumbs.append(thumb)
        form = "jpg" if each.path.suffix.lower() in (".jpg", ".jpeg") else "png"
        stored = [self._write(each, _fitted(image, MOST), form)]
        if max(each.size) >= LARGE and each.part.tiles:
            tiles = _tiles(_fitted(image, TILED), each.order)
            stored += [self._write(each, tile, "jpg", place) for place, tile in tiles]
        return stored

    def _there(self, thumb: Float32[np.ndarray, " pixel"]) -> bool:
        if not self.thumbs:
            return False
        mirrored = thumb.reshape(THUMB, THUMB)[:, ::-1].ravel()
        return bool((np.stack(self.thumbs) @ np.stack([thumb, mirrored]).T).max() > ALIKE)

    def _write(self, each: Candidate, image: Image.Image, form: str, place: str = "") -> Picture:
        key = f"{each.key}/{place}" if place else each.key
        file = Path("pictures") / f"{key.replace('/', '__')}.{form}"
        (self.folder / "pictures").mkdir(exist_ok=True)
        image.save(self.folder / file, quality=95, compress_level=3)
        return Picture(
            key=key,
            package=each.source.package,
            kind=each.part.kind,
            split=each.source.split,
            file=file.as_posix(),
            width=image.width,
            height=image.height,
            tile_of=each.key if place else "",
        )


def _fitted(image: Image.Image, side: int) -> Image.Image:
    """Scaled down to a longer side of `side` at most."""
    return sized(side)(image, np.random.default_rng()) if max(image.size) > side else image


def _thumb(image: Image.Image) -> Float32[np.ndarray, " pixel"] | None:
    """Grey levels of a small picture, centred, of length one; None for one that shows nothing, or only stripes."""
    small = np.asarray(image.convert("L").resize((THUMB, THUMB), Image.Resampling.BOX), np.float32)
    if min((small - small.mean(axis, keepdims=True)).std() for axis in (0, 1)) < SHOWS:
        return None
    centred = (small - small.mean()).ravel()
    return centred / np.linalg.norm(centred)


def _tiles(image: Image.Image, order: str) -> list[tuple[str, Image.Image]]:
    """Tiles that do not overlap, in a random order: each has some contrast, and no other tile shows the same."""
    columns, rows = image.width // TILE, image.height // TILE
    left, top = (image.width - columns * TILE) // 2, (image.height - rows * TILE) // 2
    places = [(column, row) for row in range(rows) for column in range(columns)]
    rng = np.random.default_rng(int(order[:12], 16))
    kept: list[tuple[str, Image.Image]] = []
    thumbs: list[Float32[np.ndarray, "row col 3"]] = []
    for k in rng.permutation(len(places)):
        x, y = left + TILE * places[k][0], top + TILE * places[k][1]
        tile = image.crop((x, y, x + TILE, y + TILE))
        small = np.asarray(tile.resize((32, 32), Image.Resampling.BOX), np.float32) / 255
        alone = all(np.sqrt(np.square(small - other).mean()) > APART for other in thumbs)
        if np.asarray(tile.convert("L"), np.float32).std() >= TEXTURED and alone and len(kept) < TILES:
            kept.append((f"tile-{places[k][0]}-{places[k][1]}", tile))
            thumbs.append(small)
    return kept
