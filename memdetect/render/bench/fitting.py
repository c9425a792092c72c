"""Tables of columns under names that they share, such that they fit a line of a terminal."""

from collections.abc import Iterator, Sequence

from memdetect.inputs.harmless import plain
from memdetect.render.layout import GAP, styled

Column = tuple[str, list[str]]  # title and cells
Blocks = list[tuple[str, list[Column]]]  # columns under a name that they share
SHORTEST = 12  # cells that a name keeps


def fitted(ways: Sequence[Blocks], colour: bool, width: int) -> Iterator[str]:
    """The first way to show a table that fits a line, with gaps of two cells or of one, else with names cut short."""
    for blocks in (*ways, *(_named(way, width) for way in ways)):
        if gap := fit(blocks, width):
            yield from _drawn(blocks, gap, colour)
            return
    yield from _drawn(_named(ways[-1], width), " ", colour)


def _named(blocks: Blocks, width: int) -> Blocks:
    """The same with what was chosen, and then the names, cut to what is left of a line by all other columns."""
    for title in ("chosen", "detector"):
        over = max(0, sum(_wide(blocks)) + len(_wide(blocks)) - 1 - width)
        blocks = [
            (name, [_cut(column, over) if column[0] == title else column for column in own]) for name, own in blocks
        ]
    return blocks


def _cut(column: Column, over: int) -> Column:
    """A column that is narrower by so many cells, as long as it has some."""
    room = max(SHORTEST, max(map(len, column[1])) - over)
    return column[0], [plain(cell, room) for cell in column[1]]


def _wide(blocks: Blocks) -> list[int]:
    """How wide each column is."""
    return [max(len(title), *map(len, cells)) for _, own in blocks for title, cells in own]


def fit(blocks: Blocks, width: int) -> str | None:
    """The gap with which all columns fit a line; None where they do not."""
    wide = _wide(blocks)
    return next((gap for gap in (GAP, " ") if sum(wide) + len(gap) * (len(wide) - 1) <= width), None)


def _drawn(blocks: Blocks, gap: str, colour: bool) -> Iterator[str]:
    wide = _wide(blocks)
    if any(name for name, _ in blocks):
        yield gap.join(_spans(blocks, wide, gap))
    every = [column for _, own in blocks for column in own]
    rows = [[title for title, _ in every], *zip(*(cells for _, cells in every), strict=True)]
    for number, row in enumerate(rows):
        padded = [
            cell.ljust(room) if title in ("detector", "chosen") else cell.rjust(room)
            for cell, room, (title, _) in zip(row, wide, every, strict=True)
        ]
        yield styled(gap.join(padded), "bold" if colour and not number else "")


def _spans(blocks: Blocks, widths: Sequence[int], gap: str) -> Iterator[str]:
    """The names of the blocks, each over its columns."""
    at = 0
    for name, own in blocks:
        wide = sum(widths[at : at + len(own)]) + len(gap) * (len(own) - 1)
        yield f" {name} ".center(wide, "-")[:wide] if name else " " * wide
        at += len(own)
