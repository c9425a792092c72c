"""pairs.png: each output beside its nearest training image, strongest first, with what was measured of the pair."""

import os
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from memdetect.copies.index import try_open
from memdetect.copies.match import Match
from memdetect.runs.records import Result

PAIRS = 24
COLUMNS = 3
SIDE = 128
TEXT = 62  # pixels below a pair
GAP = 12
INK, COPY, OTHER = (30, 30, 30), (190, 30, 30), (110, 110, 110)

Pair = tuple[Result, Match]


def strongest_pairs(results: Sequence[Result], count: int = PAIRS) -> list[Pair]:
    """The nearest training image of each item: copies first, then by similarity; one pair an item."""
    pairs: list[Pair] = []
    for row in results:
        if row.matches:
            pairs.append((row, max(row.matches, key=_strength)))
    return sorted(pairs, key=lambda pair: _strength(pair[1]), reverse=True)[:count]


def _strength(match: Match) -> tuple[bool, float]:
    return match.copy_found, match.similarity


def write_pairs(folder: Path, results: Sequence[Result]) -> Path | None:
    """Draw the strongest pairs into `folder`/pairs.png; None when there is nothing to show.

    Left: the output (a saved image of the run, or the given one). Right: the training image.
    """
    pairs = [(row, match) for row, match in strongest_pairs(results) if _output(folder, row, match)]
    if not pairs:
        return None
    width, height = 2 * SIDE + 3 * GAP, SIDE + TEXT + GAP
    columns = min(COLUMNS, len(pairs))
    rows = -(-len(pairs) // columns)
    sheet = Image.new("RGB", (columns * width, rows * height + GAP), "white")
    for k, (row, match) in enumerate(pairs):
        _draw(sheet, (k % columns * width + GAP, k // columns * height + GAP), folder, row, match)
    path, temporary = folder / "pairs.png", folder / f".pairs.{os.getpid()}.png"
    sheet.save(temporary)
    temporary.replace(path)
    return path


def _output(folder: Path, row: Result, match: Match) -> Path | None:
    if row.image is not None:
        return Path(row.image)
    return folder / row.files[match.seed] if match.seed < len(row.files) else None


def _draw(sheet: Image.Image, corner: tuple[int, int], folder: Path, row: Result, match: Match) -> None:
    x, y = corner
    output = _output(folder, row, match)
    for left, path in ((x, output), (x + SIDE + GAP, Path(match.path))):
        image = try_open(path) if path else None
        if image is None:
            ImageDraw.Draw(sheet).text((left + 8, y + 8), "not there", fill=OTHER)
            continue
        image.thumbnail((SIDE, SIDE))
        scale = SIDE / max(image.size)
        size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        sheet.paste(image.convert("RGB").resize(size, Image.Resampling.NEAREST), (left, y))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=11)
    colour = COPY if match.copy_found else INK
    for k, line in enumerate(lines_of(row, match)):
        draw.text((x, y + SIDE + 4 + 14 * k), _fit(line, font), fill=colour if k == 0 else INK, font=font)


def lines_of(row: Result, match: Match) -> list[str]:
    """What stands below a pair."""
    score = row.score
    p = row.p.get("combined")
    seed = f"seed {row.seeds[match.seed]}" if match.seed < len(row.seeds) and row.image is None else "given image"
    measured = f"similarity {match.similarity:.3f}"
    if match.tile is not None and match.ssim is not None:
        measured += f", tile {match.tile:.3f}, MS-SSIM {match.ssim:.3f}"
    scored = "" if score is None else f"score {score:.4f}" + ("" if p is None else f", p {p:.4f}")
    return [
        f"{'copy' if match.copy_found else 'nearest'} of {match.key}",
        row.prompt or row.id,
        measured,
        ", ".join(part for part in (seed, scored) if part),
    ]


def _fit(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """As much of a text as a pair is wide, printable characters only."""
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[: 2 * SIDE])
    while shown and font.getlength(shown) > 2 * SIDE + GAP:
        shown = f"{shown[:-2]}\N{HORIZONTAL ELLIPSIS}"
    return shown
