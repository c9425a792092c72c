"""Image files -> RGB pixels, with a note for every change made on the way; what cannot be opened safely is an error."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import floor
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from memdetect.errors import MemdetectError
from memdetect.files import open_regular

# Named one by one, so that a file dressed up as PostScript or PSD never reaches its decoder.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
MAX_PIXELS = 64_000_000
NARROW = (2**8 - 1, 2**10 - 1, 2**12 - 1)  # white of grey images of 8, 10 and 12 bits that are kept in 16
ANIMATED = "animated: first frame of"
# How a file becomes pixels: what lies under its transparency ("plain": whatever colour is stored there, 16 bits
# clipped, as Pillow's own convert does), and whether it is turned as EXIF says.
Way = Literal["white", "black", "plain", "white,unturned", "black,unturned", "plain,unturned"]
UNTURNED = ",unturned"
IN_PART = "only the first of several frames was looked up; give each frame as an image"


@dataclass(frozen=True, slots=True)
class Opened:
    """An RGB image of 8 bits a channel, and in words what was done to the file's own pixels.

    Of the file the image has the pixels alone: its `info` is empty.
    """

    image: Image.Image
    notes: tuple[str, ...]
    way: Way = "white"

    @property
    def in_part(self) -> bool:
        """Whether the file holds more frames than the one that was taken: what they show is not known."""
        return any(note.startswith(ANIMATED) for note in self.notes)


def open_image(path: Path, *, max_pixels: int = MAX_PIXELS, way: Way = "white") -> Opened:
    """Open a PNG, JPEG, WEBP, BMP, TIFF or GIF file as an RGB image and say what was changed.

    EXIF orientation is applied, transparency is composited on white, 16 bits become 8 by scaling, from 12, 10 or 8 bits
    where no pixel needs more, unless `way` says otherwise; of several frames the first is used. Colour profiles are
    ignored: the numbers in the file are taken for sRGB. Raises MemdetectError, one line, for a file that is missing,
    not readable, empty, none of these formats, corrupt, truncated, or of more than `max_pixels` pixels (read from the
    header, before anything is decoded; where Pillow takes an image for a decompression bomb, from 178,956,970 on, it is
    refused whatever `max_pixels`).
    """
    return _opened(path, max_pixels, (way,))[0]


def open_ways(path: Path, *, max_pixels: int = MAX_PIXELS) -> list[Opened]:
    """The image as `open_image` has it, then each way in which trainers decode it that gives other pixels.

    Trainers call Pillow's `convert("RGB")`, which drops transparency and clips 16 bits; some turn by EXIF, some do not,
    some composite on black. A further way that gives a single colour shows nothing, and is left out. Raises as
    `open_image` does.
    """
    every: tuple[Way, ...] = get_args(Way)
    return _distinct(_opened(path, max_pixels, every))


def ways_of(image: Image.Image) -> list[Opened]:
    """`open_ways` of a picture that is no file, which nothing turns any more. Raises as `to_rgb` does."""
    usual = Opened(to_rgb(image), ())
    if not image.has_transparency_data:
        return [usual]
    return _distinct([usual, Opened(_on(image, "black")[0], (), "black"), Opened(_stored(image), (), "plain")])


def _distinct(ways: Sequence[Opened]) -> list[Opened]:
    """The usual way, and what differs in its pixels from all before it and has more than one colour."""
    kept = [ways[0]]
    for other in ways[1:]:
        pixels = np.asarray(other.image)
        single = bool((pixels == pixels[:1, :1]).all())
        if not single and not any(np.array_equal(pixels, np.asarray(known.image)) for known in kept):
            kept.append(other)
    return kept


def said_ways(ways: Sequence[Way]) -> str:
    """In which ways an image was looked up, in words; "" for the usual one alone."""
    if len(ways) < 2:
        return ""
    clear = any(way.startswith("black") for way in ways)
    words = {"white": "on white" if clear else "as shown", "black": "on black", "plain": "as stored"}
    if not clear:
        words[f"white{UNTURNED}"] = "not turned"
    said = [words.get(way, f"{words[way.removesuffix(UNTURNED)]} not turned") for way in ways]
    return f"looked up {', '.join(said[:-1])} and {said[-1]}"


def _opened(path: Path, max_pixels: int, ways: Sequence[Way]) -> list[Opened]:
    try:
        if not path.is_file():
            raise _problem(path, "there is no such file; check the path")
        if path.stat().st_size == 0:
            raise _problem(path, "the file is empty (0 bytes); export or download it again")
        open_regular(path).close()
    except OSError as error:
        raise _problem(path, f"cannot be read ({error.strerror}); correct the path, or give access to it") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of half that size Pillow only warns: `max_pixels` decides
            return list(_decoded(path, max_pixels, ways))
    except Image.DecompressionBombError as error:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        text = f"more than the {limit:,} pixels that Pillow opens (it may be a decompression bomb); scale it down"
        raise _problem(path, text) from error
    except UnidentifiedImageError as error:
        raise _problem(path, f"not an image of a known format ({', '.join(FORMATS)}); convert it to PNG") from error
    except MemdetectError:
        raise
    except Exception as error:  # on hostile bytes the decoders raise anything, from struct.error to SyntaxError
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise _problem(path, f"corrupt, truncated or not supported ({reason}); export it again as PNG") from error


def to_array(image: Image.Image, size: tuple[int, int]) -> NDArray[np.float32]:
    """Centre-crop to the aspect ratio of `size` = (height, width) in pixels, then resize with LANCZOS: never squashed.

    Returns [3, height, width], -1 black to 1 white. A crop may start between two pixels, so it is exactly centred.
    Raises MemdetectError for an image that is not RGB and for a size below 1.
    """
    height, width = size
    if image.mode != "RGB":
        raise MemdetectError(f"an RGB image is expected, not {image.mode}; open it with open_image")
    if height < 1 or width < 1:
        raise MemdetectError(f"cannot resize an image to {height} x {width} pixels; height and width start at 1")
    left, top, *_ = centred_box(image.size, (width, height))
    x, y = floor(left), floor(top)
    # Cut to whole pixels first: the filter reaches past the edges of its box, into what was to be cropped away.
    cropped = image.crop((x, y, image.width - x, image.height - y))
    box = (left - x, top - y, cropped.width - left + x, cropped.height - top + y)
    resized = cropped.resize((width, height), Image.Resampling.LANCZOS, box=box)
    pixels = np.asarray(resized, dtype=np.float32) / np.float32(127.5) - np.float32(1)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def centred_box(size: tuple[int, int], shape: tuple[int, int]) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of the largest box about the centre with the proportions of `shape`.

    Both are (width, height) in pixels. Edges may lie between two pixels, never outside the image.
    """
    scale = min(size[0] / shape[0], size[1] / shape[1])
    left, top = (max(0.0, round((own - side * scale) / 2, 6)) for own, side in zip(size, shape, strict=True))
    return left, top, size[0] - left, size[1] - top


def to_rgb(image: Image.Image) -> Image.Image:
    """An image of any mode as RGB of 8 bits a channel: alpha composited on white, 16 bits scaled to 8.

    Raises MemdetectError for pixels of 32 bits, of which nothing says what is white.
    """
    return _on(_eight_bits(Path(getattr(image, "filename", "") or "image"), image), "white")[0]


def _decoded(path: Path, max_pixels: int, ways: Sequence[Way]) -> Iterator[Opened]:
    """Open, check the header, decode, convert. Raises whatever Pillow raises, and MemdetectError for a bad size.

    Of several ways those that cannot differ from the usual one are left out; a single one is always given.
    """
    with Image.open(path, formats=FORMATS) as file:
        _check_size(path, file.size, max_pixels)
        notes = _header_notes(file)
        if file.format != "TIFF":  # which Pillow turns, and forgets that it did, as it decodes
            file.load()
        turn = _orientation(file)
        upright = ImageOps.exif_transpose(file) if turn else file.copy()
        stored = file.copy() if turn not in (None, 1) else upright
    notes |= {
        "exif orientation applied": turn not in (None, 1),
        "exif unreadable, orientation not applied": turn is None,
        "cmyk converted": upright.mode == "CMYK",
        "alpha composited on white": _on(_eight_bits(path, upright), "white")[1],
    }
    told = tuple(note for note, holds in notes.items() if holds)
    for way in ways:
        ground, own = way.removesuffix(UNTURNED), stored if way.endswith(UNTURNED) else upright
        alike = ground != "white" and not own.has_transparency_data and own.mode[0] not in "IF"
        if len(ways) == 1 or way == "white" or not (alike or (own is upright and way.endswith(UNTURNED))):
            rgb = _stored(own) if ground == "plain" else _on(_eight_bits(path, own), ground)[0]
            yield Opened(rgb, told, way)


def _check_size(path: Path, size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise _problem(path, f"the image has no pixels ({width} x {height}); export it again")
    if width * height > max_pixels:
        found = f"{width} x {height} = {width * height:,} pixels"
        raise _problem(path, f"{found} are more than the {max_pixels:,} allowed; scale it down or raise max_pixels")


def _orientation(file: Image.Image) -> int | None:
    """Read the EXIF orientation, 1 (upright) to 8; None if the block is broken, which leaves the pixels sound."""
    try:
        value = file.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # as in open_image
        return None
    return value if value in range(1, 9) else 1


def _header_notes(file: Image.Image) -> dict[str, bool]:
    """Say what the header alone tells, before decoding uses it up: each note, and whether it holds."""
    frames: int = getattr(file, "n_frames", 1)
    deep = file.mode.startswith("I") or any(_raw_mode(tile.args) for tile in getattr(file, "tile", []))
    return {f"{ANIMATED} {frames} used": frames > 1, "16-bit reduced to 8": deep}


def _raw_mode(arguments: object) -> bool:
    """Whether a decoder's arguments name a raw mode of 16 bits, such as RGB;16B; strides stand among them as well."""
    names = arguments if isinstance(arguments, tuple) else (arguments,)
    return any(isinstance(name, str) and "16" in name for name in names)


def _eight_bits(path: Path, image: Image.Image) -> Image.Image:
    """Scale a 16-bit grey image so that its white becomes 255; one of 8 bits is returned as it is.

    White is 65535, or the end of the 8, 10 or 12 bits that cameras and scanners use of 16, where no pixel is above it:
    the image would be black. Pillow itself would clip at 255. Raises MemdetectError for wider pixels: nothing says
    which value is white.
    """
    if not image.mode.startswith(("I", "F")):
        return image
    deep = np.asarray(image)
    if image.mode == "F" or deep.min() < 0 or deep.max() > 65535:
        raise _problem(path, "pixels of 32 bits, of which nothing says what is white; convert it to 8 bits a channel")
    white = next((top for top in NARROW if deep.max() <= top), 65535)
    grey = Image.fromarray(((deep.astype(np.uint32) * 255 + white // 2) // white).astype(np.uint8))
    if "transparency" in image.info:
        grey.putalpha(Image.fromarray(np.where(deep == image.info["transparency"], 0, 255).astype(np.uint8)))
    return grey


def _on(image: Image.Image, colour: str) -> tuple[Image.Image, bool]:
    """RGB over a colour, and whether any pixel was less than opaque."""
    if not image.has_transparency_data:
        return _stored(image), False
    rgba = image.convert("RGBA")
    opaque = rgba.getchannel("A").getextrema() == (255, 255)
    ground = Image.new("RGBA", rgba.size, colour)
    return _stored(Image.alpha_composite(ground, rgba)), not opaque


def _stored(image: Image.Image) -> Image.Image:
    """The colours of the pixels as they are stored, and nothing else of the file.

    Pillow keeps a colour that is named as transparent beside RGB pixels: an embedder would put them on white again.
    """
    rgb = image.convert("RGB")
    rgb.info.clear()
    return rgb


def _problem(path: Path, text: str) -> MemdetectError:
    """Make the error about a file; its name is quoted, for a name may hold line breaks."""
    return MemdetectError(f"{str(path)!r}: {text}")
