"""pairs.png: each output beside its nearest training image, strongest first, with what was measured of the pair."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import nlargest
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from memdetect.copies.alignment_words import aligned_words, alignment
from memdetect.copies.index import try_open
from memdetect.copies.match import Box, Match
from memdetect.copies.overlay import aligned
from memdetect.files import written
from memdetect.runs.records import Result
from memdetect.runs.review import strength

PAIRS = 24
COLUMNS = 3
SIDE = 128
TEXT = 76  # pixels below a pair
GAP = 12
INK, COPY, PART, OTHER = (30, 30, 30), (190, 30, 30), (200, 110, 0), (110, 110, 110)

Pair = tuple[Result, Match]


@dataclass(frozen=True, slots=True)
class _Tile:
    """A picture of a pair: None = it is not there. region: what is outlined in it, in shares of its sides."""

    image: Image.Image | None
    region: Box | None = None


def strongest_pairs(results: Sequence[Result], count: int = PAIRS) -> list[Pair]:
    """The nearest training image of each item: copies first, then copies of a part, then by similarity; one an item."""
    pairs = ((row, max(row.matches, key=strength)) for row in results if row.matches)
    return nlargest(count, pairs, key=lambda pair: strength(pair[1]))


def pairs_of(row: Result) -> list[Pair]:
    """Each image of an item with its nearest training image, a copy or a part before what is merely similar."""
    seeds = sorted({match.seed for match in row.matches})
    return [(row, max((m for m in row.matches if m.seed == seed), key=strength)) for seed in seeds]


def write_pairs(folder: Path, results: Sequence[Result]) -> Path | None:
    """Draw the strongest pairs into `folder`/pairs.png; None when there is nothing to show."""
    return draw_pairs(folder, strongest_pairs(results), folder / "pairs.png")


def draw_pairs(folder: Path, pairs: Sequence[Pair], path: Path) -> Path | None:
    """Draw pairs of the run in `folder` into a PNG file; None when there is nothing to show.

    Left: the output (a saved image of the run, or the given one). Right: the training image. Between them, where the
    two were aligned other than as they are: the output as it lies on the training image. What agrees of a training
    image that comes back in part is outlined in both.
    """
    pairs = [(row, match) for row, match in pairs if _output(folder, row, match)]
    if not pairs:
        return None
    tiles = [_tiles(folder, row, match) for row, match in pairs]
    width, height = _width(max(map(len, tiles))) + GAP, SIDE + TEXT + GAP
    columns = min(COLUMNS, len(pairs))
    rows = -(-len(pairs) // columns)
    sheet = Image.new("RGB", (columns * width + GAP, rows * height + GAP), "white")
    for k, pair in enumerate(pairs):
        _draw(sheet, (k % columns * width + GAP, k // columns * height + GAP), tiles[k], pair, width - GAP)
    with written(path) as temporary:
        sheet.save(temporary, "PNG")
    return path


def _width(tiles: int) -> int:
    """Pixels that so many pictures beside each other take."""
    return tiles * SIDE + (tiles - 1) * GAP


def _output(folder: Path, row: Result, match: Match) -> Path | None:
    if row.image is not None:
        return Path(row.image)
    return folder / row.files[match.seed] if match.seed < len(row.files) else None


def _tiles(folder: Path, row: Result, match: Match) -> Sequence[_Tile]:
    """What is shown of a pair, from left to right."""
    path = _output(folder, row, match)
    output = try_open(path) if path else None
    trained = try_open(Path(match.path))
    region = match.region if match.partial_found else None
    apart = region is not None or bool(aligned_words(match.affine))
    if match.affine is None or output is None or trained is None or not apart or alignment(match.affine) is None:
        return _Tile(output), _Tile(trained, region)
    return _Tile(output), _Tile(aligned(output, trained.size, match.affine), region), _Tile(trained, region)


def _draw(sheet: Image.Image, corner: tuple[int, int], tiles: Sequence[_Tile], pair: Pair, width: int) -> None:
    x, y = corner
    for k, tile in enumerate(tiles):
        _show(sheet, (x + k * (SIDE + GAP), y), tile)
    row, match = pair
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=11)
    colour = COPY if match.copy_found else PART if match.partial_found else INK
    for k, line in enumerate(lines_of(row, match)):
        draw.text((x, y + SIDE + 4 + 14 * k), _fit(line, font, width), fill=colour if k == 0 else INK, font=font)


def _show(sheet: Image.Image, corner: tuple[int, int], tile: _Tile) -> None:
    """A picture, as large as its place allows, with its region outlined."""
    (left, top), image = corner, tile.image
    if image is None:
        ImageDraw.Draw(sheet).text((left + 8, top + 8), "not there", fill=OTHER)
        return
    image = image.copy()
    image.thumbnail((SIDE, SIDE))
    scale = SIDE / max(image.size)
    width, height = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    sheet.paste(image.convert("RGB").resize((width, height), Image.Resampling.NEAREST), (left, top))
    if tile.region is not None:
        x, y, right, bottom = tile.region
        across, down = width - 1, height - 1
        corners = (left + x * across, top + y * down, left + right * across, top + bottom * down)
        draw = ImageDraw.Draw(sheet)
        draw.rectangle(corners, outline="white", width=3)  # seen on any picture: a line on a paler one
        draw.rectangle(corners, outline=PART, width=2)


def lines_of(row: Result, match: Match) -> list[str]:
    """What stands below a pair."""
    score = row.score
    p = row.p.get("combined")
    seed = f"seed {row.seeds[match.seed]}" if match.seed < len(row.seeds) and row.image is None else "given image"
    scored = "" if score is None else f"score {score:.4f}" + ("" if p is None else f", p {p:.4f}")
    return [
        f"{'copy' if match.copy_found else 'part' if match.partial_found else 'nearest'} of {match.key}",
        row.prompt or row.id,
        f"similarity {match.similarity:.3f}" + "".join(_pixels(match)),
        *([f"aligned: {said}"] if (said := aligned_words(match.affine)) else []),
        ", ".join(part for part in (seed, scored) if part),
    ]


def _pixels(match: Match) -> Iterator[str]:
    if match.tile is not None and match.ssim is not None:
        yield f", tile {match.tile:.3f}, MS-SSIM {match.ssim:.3f}"
    if match.partial_found and match.agreed is not None:
        yield f", {match.agreed:.0%} agrees"


def _fit(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int = 2 * SIDE + GAP) -> str:
    """As much of a text as fits into so many pixels, printable characters only."""
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[:width])
    while shown and font.getlength(shown) > width:
        shown = f"{shown[:-2]}\N{HORIZONTAL ELLIPSIS}"
    return shown
