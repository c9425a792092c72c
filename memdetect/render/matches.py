"""Given images and their training images -> table, JSON or CSV; no torch."""

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from io import StringIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from memdetect.records import Match
from memdetect.render.table import plain
from memdetect.render.text import guard

Rows = Sequence[tuple[str, Sequence[Match]]]
COLUMNS = ("image", "outcome", "rank", "key", "path", "similarity", "p", "tile", "ssim", "note")


def outcome(matches: Sequence[Match]) -> str:
    """`copy` when one of the matches is, else `clear`."""
    return "copy" if any(match.copy_found for match in matches) else "clear"


def _flat(rows: Rows) -> list[list[str]]:
    return [
        [
            image,
            "copy" if m.copy_found else "clear",
            str(m.rank),
            m.key,
            m.path,
            f"{m.similarity:.4f}",
            *("" if value is None else f"{value:.4f}" for value in (m.p, m.tile, m.ssim)),
            m.note,
        ]
        for image, matches in rows
        for m in matches
    ]


def match_table(rows: Rows) -> str:
    """For a person: one line a match, the strongest first."""
    out = StringIO()
    table = Table(box=None, pad_edge=False)
    for name in COLUMNS:
        if name not in ("path", "note"):
            table.add_column(name)
    for cells in sorted(_flat(rows), key=lambda cells: (cells[1] != "copy", -float(cells[5]))):
        kept = [cell for name, cell in zip(COLUMNS, cells, strict=True) if name not in ("path", "note")]
        table.add_row(*(Text(plain(cell)) for cell in kept))
    console = Console(file=out, width=140, highlight=False, emoji=False)
    console.print(table)
    copies = sum(outcome(matches) == "copy" for _, matches in rows)
    console.print(Text(f"\n{copies} of {len(rows)} images are copies of a training image in the index."))
    return out.getvalue()


def match_json(rows: Rows) -> str:
    """A list of objects: image, outcome, matches."""
    found = [
        {"image": image, "outcome": outcome(matches), "matches": [m.model_dump(mode="json") for m in matches]}
        for image, matches in rows
    ]
    return json.dumps(found, indent=1) + "\n"


def match_csv(rows: Rows) -> str:
    """One line a match; cells that a spreadsheet would run are disarmed."""
    out = StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    writer.writerows([guard(cell) for cell in cells] for cells in _flat(rows))
    return out.getvalue()


MATCH_FORMATS: Mapping[str, Callable[[Rows], str]] = {"table": match_table, "json": match_json, "csv": match_csv}
