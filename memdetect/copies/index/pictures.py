"""The pictures of an index's rows, as training saw them."""

from pathlib import Path

from PIL import Image

from memdetect.copies.index.rows import Row
from memdetect.errors import MemdetectError
from memdetect.inputs.images import MAX_PIXELS, Way, open_image


def row_image(row: Row, folder: Path) -> Image.Image | None:
    """What training saw of a row's picture: its crop, or the whole; None when the file cannot be opened any more."""
    if not row.pictured:
        return None
    image = try_open(row.file(folder), row.pixels, row.decoded)
    return image if image is None else row.seen(image)


def try_open(path: Path, pixels: int = 0, way: Way = "white") -> Image.Image | None:
    """The image in a file, None when it is gone or cannot be opened any more. `pixels`: how many it may have anyway."""
    try:
        return open_image(path, max_pixels=max(MAX_PIXELS, pixels), way=way).image
    except MemdetectError:
        return None
