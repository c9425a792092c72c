"""What misses, to be seen: each query beside its original and the training image that was found."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from memdetect.lab.evidence.judged import FOUND, Asked, Row
from memdetect.lab.evidence.pictures import Picture
from memdetect.lab.evidence.queries import Query

SIDE, TEXT, GAP = 144, 44, 8
ACROSS = 4  # cells of a row
PER_DAMAGE, PER_SHEET = 6, 60
INK, GROUND = (30, 30, 30), (255, 255, 255)


@dataclass(frozen=True, slots=True)
class Seen:
    """A query with its row."""

    query: Query
    row: Row


def write_sheets(out: Path, asked: Asked, seen: Sequence[Seen], pictures: Mapping[str, Picture]) -> list[Path]:
    """missed-GROUP.png of the copies of a group that were missed, and named.png, unclear.png of other pictures."""
    return [_sheet(out / f"{name}.png", asked, cells, pictures) for name, cells in _chosen(seen) if cells]


def _chosen(seen: Sequence[Seen]) -> Iterator[tuple[str, list[Seen]]]:
    missed = [each for each in seen if each.row.right is False]
    for group in dict.fromkeys(each.row.group for each in missed):
        cells: list[Seen] = []
        for damage in dict.fromkeys(each.row.damage for each in missed if each.row.group == group):
            cells += [each for each in missed if each.row.damage == damage][:PER_DAMAGE]
        yield f"missed-{group.replace(' ', '-')}", cells[:PER_SHEET]
    strangers = [each for each in seen if not each.row.damage]
    yield "named", [each for each in strangers if each.row.outcome in FOUND][:PER_SHEET]
    unclear = [each for each in strangers if each.row.outcome not in (*FOUND, "clear")]
    yield "unclear", sorted(unclear, key=lambda each: -(each.row.similarity or 0))[:PER_SHEET]


def _sheet(path: Path, asked: Asked, cells: Sequence[Seen], pictures: Mapping[str, Picture]) -> Path:
    wide, high = 3 * SIDE + 2 * GAP + 2 * GAP, SIDE + TEXT + GAP
    columns = min(ACROSS, len(cells))
    sheet = Image.new("RGB", (columns * wide, -(-len(cells) // columns) * high + GAP), GROUND)
    for k, each in enumerate(cells):
        _draw(sheet, (k % columns * wide + GAP, k // columns * high + GAP), _images(each, asked, pictures), each.row)
    sheet.save(path)
    return path


def _images(each: Seen, asked: Asked, pictures: Mapping[str, Picture]) -> list[Image.Image | None]:
    """The query; its original, if it has one; what was found, if that is another."""
    found = pictures.get(each.row.found) if each.row.found != each.query.picture.key else None
    original = each.query.picture.open(asked.folder) if each.query.damage else None
    return [
        each.query.image(asked.folder, asked.side, asked.seed),
        original,
        found.open(asked.folder) if found else None,
    ]


def _draw(sheet: Image.Image, corner: tuple[int, int], images: Sequence[Image.Image | None], row: Row) -> None:
    x, y = corner
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=10)
    for k, image in enumerate(images):
        if image is not None:
            small = image.copy()
            small.thumbnail((SIDE, SIDE))
            sheet.paste(small, (x + k * (SIDE + GAP), y))
    tile, ssim = (row.measures.get(name) for name in ("tile", "ssim"))
    measured = "" if tile is None or ssim is None else f", tile {tile:.3f}, MS-SSIM {ssim:.3f}"
    similarity = "nothing near" if row.similarity is None else f"similarity {row.similarity:.3f}{measured}"
    lines = (f"{row.damage or row.changed or row.kind}: {row.outcome}", row.picture, f"{row.found}", similarity)
    for k, line in enumerate(lines):
        draw.text((x, y + SIDE + 2 + 11 * k), line[:84], fill=INK, font=font)
