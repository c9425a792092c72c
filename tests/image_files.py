"""Image files as cameras, editors and scripts write them, made by code, with what viewers and trainers see."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
RAMP = (np.arange(64).reshape(8, 8) * 4).astype(np.uint8)
COLOURS = np.stack([RAMP, RAMP.T, 255 - RAMP], axis=-1)
CLEAR = np.where(RAMP < 128, 0, 255).astype(np.uint8)  # alpha: one half is not seen at all
FLOATS = RAMP.astype(np.float32) / 255


@dataclass(frozen=True)
class Picture:
    """A file: which row of the page tells of it, what writes it, and its pixels by way of decoding.

    ways: as in `memdetect.inputs.images.Way`, the usual one first; of a lossy format within `within` of a pixel's 255.
    refused: what refuses it, where it is an image that is not opened.
    """

    row: str
    name: str
    write: Callable[[Path], None]
    ways: Mapping[str, Pixels] = field(default_factory=dict)
    within: int = 0
    refused: str = ""


def _saved(image: Image.Image, **more: object) -> Callable[[Path], None]:
    return lambda path: image.save(path, **more)


def _bytes(data: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(data) and None


def over(ground: int) -> Pixels:
    return np.where(CLEAR[..., None] == 255, COLOURS, ground).astype(np.uint8)


def grey(values: Pixels) -> Pixels:
    return np.repeat(values[..., None], 3, axis=-1)


def _exif(turn: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = turn
    return exif


PLAIN = Image.fromarray(COLOURS)
ALPHA = Image.fromarray(np.dstack([COLOURS, CLEAR]))
DEEP = Image.fromarray(RAMP.astype(np.uint16) * 257)
TWELVE = Image.fromarray(np.round(RAMP / 252 * 4095).astype(np.uint16))
USUAL = {"white": COLOURS}
FORMATS, TURNED, BITS = "PNG, JPEG, WebP, BMP, TIFF, GIF", "turned by EXIF", "16 bits"
UNOPENED, FRAMES, UNTRUE = "AVIF, HEIC, JPEG XL", "animated", "cut off, empty"
SAID = "not an image of a known format"

PICTURES: dict[str, Picture] = {
    **{
        f"{end} of colours": Picture(FORMATS, f"a.{end}", _saved(PLAIN), USUAL) for end in ("png", "bmp", "tif", "apng")
    },
    "webp without loss": Picture(FORMATS, "a.webp", _saved(PLAIN, lossless=True), USUAL),
    "jpeg": Picture(FORMATS, "a.jpg", _saved(PLAIN, quality=100, subsampling=0), USUAL, within=6),
    "jpeg by another suffix": Picture(
        FORMATS, "a.jfif", _saved(PLAIN, format="JPEG", quality=100, subsampling=0), USUAL, 6
    ),
    "png without a suffix": Picture(FORMATS, "a", _saved(PLAIN, format="PNG"), USUAL),
    "png called jpg": Picture(FORMATS, "a.jpg", _saved(PLAIN, format="PNG"), USUAL),
    "grey": Picture(FORMATS, "a.png", _saved(Image.fromarray(RAMP)), {"white": grey(RAMP)}),
    "gif of greys": Picture(FORMATS, "a.gif", _saved(Image.fromarray(RAMP)), {"white": grey(RAMP)}),
    "transparent": Picture(
        "transparent", "a.png", _saved(ALPHA), {"white": over(255), "black": over(0), "plain": COLOURS}
    ),
    "opaque, with alpha": Picture("transparent", "a.png", _saved(PLAIN.convert("RGBA")), USUAL),
    "turned": Picture(
        TURNED, "a.png", _saved(PLAIN, exif=_exif(6)), {"white": np.rot90(COLOURS, -1), "white,unturned": COLOURS}
    ),
    "mirrored": Picture(
        TURNED, "a.png", _saved(PLAIN, exif=_exif(2)), {"white": COLOURS[:, ::-1], "white,unturned": COLOURS}
    ),
    "16 bits, PNG": Picture(
        BITS, "a.png", _saved(DEEP), {"white": grey(RAMP), "plain": grey(np.where(RAMP, 255, 0).astype(np.uint8))}
    ),
    "12 bits in 16, TIFF": Picture(
        BITS, "a.tif", _saved(TWELVE), {"white": grey(np.round(RAMP / 252 * 255).astype(np.uint8))}, 1
    ),
    "floats": Picture(
        BITS, "a.tif", _saved(Image.fromarray(FLOATS)), refused="pixels of 32 bits, of which nothing says"
    ),
    "several frames": Picture(
        FRAMES,
        "a.gif",
        _saved(Image.fromarray(RAMP), save_all=True, append_images=[Image.fromarray(255 - RAMP)]),
        {"white": grey(RAMP)},
    ),
    "avif": Picture(UNOPENED, "a.avif", _bytes(b"\0\0\0\x1cftypavif"), refused=SAID),
    "heic": Picture(UNOPENED, "a.heic", _bytes(b"\0\0\0\x1cftypheic"), refused=SAID),
    "jpeg xl": Picture(UNOPENED, "a.jxl", _bytes(b"\xff\x0a\0"), refused=SAID),
    "jpeg xl by its bytes": Picture(UNOPENED, "a", _bytes(b"\0\0\0\x0cJXL \r\n"), refused=SAID),
    "dicom": Picture(UNOPENED, "a.dcm", _bytes(b"\0" * 128 + b"DICM"), refused=SAID),
    "dicom by its bytes": Picture(UNOPENED, "IM0001", _bytes(b"\0" * 128 + b"DICM"), refused=SAID),
    "fits": Picture(UNOPENED, "a.fits", _bytes(b"SIMPLE  =                    T"), refused=SAID),
    "fits by its bytes": Picture(UNOPENED, "m31", _bytes(b"SIMPLE  =                    T"), refused=SAID),
    "of an editor": Picture(UNOPENED, "a.psd", _bytes(b"8BPS\0\x01"), refused=SAID),
    "vectors": Picture(UNOPENED, "a.svg", _bytes(b"<svg/>"), refused=SAID),
    "cut off": Picture(UNTRUE, "a.png", lambda path: _cut(path), refused="corrupt, truncated or not supported"),
    "empty": Picture(UNTRUE, "a.jpg", _bytes(b""), refused="the file is empty"),
    "a page": Picture(UNTRUE, "a.jpg", _bytes(b"<!DOCTYPE html>"), refused=SAID),
}


def _cut(path: Path) -> None:
    PLAIN.resize((64, 64)).save(path)
    path.write_bytes(path.read_bytes()[:-60])
