"""Images looked up in an index -> table, JSON, CSV. Names and captions are hostile input, as prompts are."""

import csv
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from io import StringIO
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from memdetect.copies.match import Looked, Match
from memdetect.copies.pixels import CopyRule
from memdetect.inputs.harmless import ascii_json, begun, plain
from memdetect.judging.statistics.beta import interval
from memdetect.render.table import COLOURS
from memdetect.render.text import guard
from memdetect.runs.index_facts import BLIND, coverage_phrase, finds_phrase, found_by

MEASURES = ("rank", "similarity", "p", "tile", "ssim", "agreed", "p_agreed")
ENOUGH, USUAL_SMALL = 100, 0.5  # small images that say what agrees by chance, and the limit where they are fewer
DECIDED = ("similar", "copy_found", "partial_found")
COLUMNS = ("image", "outcome", "reason", *MEASURES, "key", "path", "caption", "note", *DECIDED, "affine", "region")


def matches_table(looked: Sequence[Looked], index: Mapping[str, Any], *, colour: bool = False, width: int = 120) -> str:
    """The nearest training images of each image, and what the outcomes rest on. index: its manifest, as JSON has it."""
    out = StringIO()
    console = Console(file=out, width=width, force_terminal=colour, no_color=not colour, highlight=False, emoji=False)
    table = Table(box=None, pad_edge=False, header_style="bold" if colour else "")
    for name in ("outcome", "image", "it is", "nearest training image"):
        table.add_column(name, overflow="fold")
    for name in ("cosine", "p", "tile", "ssim", "agreed"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in looked:
        first = (Text(row.outcome, COLOURS[row.outcome]), Text(plain(row.image)))
        for match in row.matches:
            table.add_row(*first, _relation(match), Text(plain(match.key)), *_numbers(match))
            first = (Text(""), Text(""))
        if row.reason or not row.matches:
            table.add_row(*first, Text(""), Text(plain(row.reason)))
    console.print(table)
    for line in matches_summary(looked, index):
        console.print(Text(plain(line, len(line))))
    return "".join(map(begun, out.getvalue().splitlines(keepends=True)))


def _relation(match: Match) -> Text:
    """What the image is to a training image: an outcome is of all of them, and the nearest need not be the copy."""
    if match.copy_found:
        return Text("a copy of", COLOURS["copy"])
    if match.partial_found:
        return Text("in part", COLOURS["partial-copy"])
    return Text("similar to", COLOURS["similar"]) if match.similar else Text("near")


def _numbers(match: Match) -> list[str]:
    values = ((match.similarity, 3), (match.p, 4), (match.tile, 3), (match.ssim, 3))
    numbers = ["-" if value is None else f"{value:.{digits}f}" for value, digits in values]
    return [*numbers, "-" if match.agreed is None else f"{match.agreed:.0%}"]


def matches_summary(looked: Sequence[Looked], index: Mapping[str, Any]) -> list[str]:
    """Counts, and what the threshold says; a line each."""
    counts = Counter(row.outcome for row in looked)
    found = ", ".join(f"{counts[name]} {name}" for name in ("copy", "partial-copy", "similar", "clear", "inconclusive"))
    return ["", f"{len(looked)} images looked up among {index['pictures']}: {found}.", *threshold_lines(index)]


def threshold_lines(index: Mapping[str, Any]) -> list[str]:
    """What a similarity must exceed, how that was found, what it cannot show, what the index covers and finds."""
    limit = index["threshold"]
    how = (
        "held-out images" if limit["source"] == "held-out" else "of its own images, each without itself and its copies"
    )
    base = f"{limit['queries']} {how}, looked up among {limit['rows']}"
    if limit["similarity"] is None:
        lines = [f"No threshold: none could be found from {base}; give --held-out images that are no copies."]
    elif limit["shown"]:
        lines = [f"Similar = cosine above {limit['similarity']:.4f}: p <= {limit['level']:g} by {base}."]
    else:
        lines = [
            f"Similar = cosine above {limit['similarity']:.4f}, the largest of {base}.",
            f"They cannot show p <= {limit['level']:g}, only {limit['attainable']:.2g}: give more held-out images.",
        ]
    lines += [_part_line(index["agreement"]), *_pixel_lines(index)]
    found = found_by(index)
    lines.append(f"The index covers {coverage_phrase(found)}: clear says nothing of the rest.")
    lines.append(f"The index {finds_phrase(found)}.")
    return lines + ([search_line(index)] if isinstance(index.get("recall"), Mapping) else []) + unseen_lines(index)


def search_line(index: Mapping[str, Any]) -> str:
    """What an approximate search finds of what an exact one finds, as it was measured when the index was made."""
    recall, kind = index["recall"], f"{index['factory']}, {index['nprobe']} lists visited"
    planted = ", ".join(f"{share:.1%} at cosine {cosine}" for cosine, share in recall["planted"].items())
    return (
        f"Searched approximately ({kind}; similarities are exact): of {recall['queries']} rows "
        f"{recall['nearest']:.1%} "
        f"of the nearest and {recall['ten']:.1%} of the ten nearest others are found, and of planted vectors {planted}."
    )


def unseen_lines(index: Mapping[str, Any]) -> list[str]:
    """That some training images cannot be compared by pixels; none where all can."""
    if not (unseen := index.get("unseen")):
        return []
    return [
        f"Of {unseen} of its {index['count']} rows it has the embedding alone: no copy of these can be told, and "
        "images near them are inconclusive."
    ]


def _part_line(limit: Mapping[str, Any]) -> str:
    """What share of a training image has to agree for a part of it to be found, and what that rests on."""
    what = "held-out images" if limit["source"] == "held-out" else "of its own images"
    base = f"{limit['queries']} {what}, each aligned with the training images near it, {limit['pairs']} pairs"
    if (limit["agreed"] or 0) >= BLIND:
        cure = "" if limit["source"] == "held-out" else "; give --held-out images"
        return f"No part is found: by {base}, more than {limit['agreed']:.0%} would have to agree{cure}."
    if limit["agreed"] is not None and limit["shown"]:
        part = f"more than {limit['agreed']:.0%} of a training image agrees"
        return f"Part found = {part}, a fifth beyond the largest share by chance of {base}.{_small_part(limit)}"
    seen = f", and more than {limit['agreed']:.0%}, a fifth beyond the largest," if limit["agreed"] is not None else ""
    return f"Part found = more than the usual share agrees{seen} of {base}, which are too few to go by."


def _small_part(limit: Mapping[str, Any]) -> str:
    """What of small images has to agree, where another share than of large ones (`copies.index.part.limit_of`)."""
    large = limit.get("large", 0)
    if not large or limit["queries"] - large >= ENOUGH or limit["agreed"] >= USUAL_SMALL:
        return ""
    return f" For images up to 96 pixels more than {USUAL_SMALL:.0%}: too few of them were small."


def _pixel_lines(index: Mapping[str, Any]) -> list[str]:
    """What pixels have to be, aligned, for a copy, and how many pairs of the index are within that."""
    limit, own = index["agreement"], index.get("tightened")
    rule = CopyRule().strict(own["share"]) if own else CopyRule()
    count, pairs = limit["duplicates"], limit["pairs"]
    said = f"Pixels alike = worst tile at most {rule.tile:.3g} apart, MS-SSIM at least {rule.ssim:.3g}"
    if own:
        return [_tightened(said, own)]
    if not pairs:
        return [f"{said}; no pair was tried."]
    low, high = interval(count, pairs)
    return [
        f"{said}: {count} of these {pairs} pairs [{low:.2%}, {high:.2%}] agree in part and so; they count as copies."
    ]


def _tightened(said: str, own: Mapping[str, Any]) -> str:
    """What the copy rule of an index of its own rests on."""
    by = f"{own['queries']} held-out images that are surely no copies"
    low, high = interval(own["beyond"], max(own["queries"], 1))
    return (
        f"{said}, {own['share']:.0%} of what is usual: of {by} the usual rule calls {own['within']} copies, this one "
        f"{own['beyond']} [{low:.2%}, {high:.2%}]."
        + ("" if own["shown"] else f" They cannot show a rate of {own['level']:g}: give more.")
        + (" Those may be copies after all: look at them." if low > own["level"] else "")
    )


def matches_json(looked: Sequence[Looked], index: Mapping[str, Any]) -> str:
    """One object: the index's manifest, what it finds in words, and the images in their order."""
    rows = [row.model_dump(mode="json") for row in looked]
    return (
        ascii_json(json.dumps({"index": index, "finds": finds_phrase(found_by(index)), "images": rows}, indent=1))
        + "\n"
    )


def matches_csv(looked: Sequence[Looked], index: Mapping[str, Any]) -> str:
    """A row for each match, or for an image without one; cells that a spreadsheet would run are disarmed."""
    out = StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for row in looked:
        head = row.model_dump(exclude={"matches"})
        for match in row.matches or [None]:
            fields = {**(match.model_dump() if match else {}), **head}
            writer.writerow([_cell(fields.get(name)) for name in COLUMNS])
    return out.getvalue()


def _cell(value: Any) -> Any:
    """A value as a spreadsheet may have it; several numbers as a JSON list."""
    return json.dumps(value) if isinstance(value, tuple) else guard(value)
