"""`memdetect explain`: everything that a run holds of one item."""

import os
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import typer

from memdetect.cli.reports import here
from memdetect.cli.terminal import say, write
from memdetect.errors import Exit, MemdetectError

COMPARED = 20_000  # ids that a wrong one is compared with


def explain_command(
    run: Annotated[Path, typer.Argument(help="Run folder of a finished scan.")],
    item: Annotated[str, typer.Argument(metavar="ID", help="Item of the run, as its table and records name it.")],
    pairs: Annotated[
        Path | None,
        typer.Option(
            "--pairs",
            metavar="PNG",
            help="Draw the item's images beside their training images, aligned, into this file.",
        ),
    ] = None,
) -> None:
    """Show an item's scores by layer and timestep, its training images, and the command that makes it again."""
    from memdetect.render.explain import render_explanation
    from memdetect.runs.folder import RunFolder
    from memdetect.runs.results import result_of

    if pairs is not None:
        _check(pairs)
    (run,) = here([run], images=pairs is not None)
    header, row = RunFolder(run).header(), result_of(run, item)
    if row is None:
        raise _unknown(run, item)
    write(render_explanation(header, row))
    if pairs is not None:
        _draw(run, row, pairs)


def _unknown(run: Path, item: str) -> MemdetectError:
    """That a run has no such item, and one that is called nearly like it, among the first of many."""
    from memdetect.runs.results import ids_of

    names, count = list[str](), 0
    for count, own in enumerate(ids_of(run), 1):
        if count <= COMPARED:
            names.append(own)
    close = get_close_matches(item, names, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return MemdetectError(f"{run} has no item {item!r}{hint} (its results.jsonl lists {count} items)")


def _check(pairs: Path) -> None:
    """Refuse what cannot be written or is already there: it may be an image of the run."""
    if pairs.suffix.lower() != ".png":
        raise MemdetectError(f"--pairs {pairs} is drawn as a PNG; name a file that ends in .png")
    if os.path.lexists(pairs) or not pairs.absolute().parent.is_dir():
        raise MemdetectError(f"--pairs {pairs} is there already, or its folder is not; name a new file in a folder")


def _draw(run: Path, row: Any, pairs: Path) -> None:
    from memdetect.scanning.contact_sheet import draw_pairs, pairs_of

    try:
        drawn = draw_pairs(run, pairs_of(row), pairs)
    except OSError as problem:
        raise MemdetectError(f"cannot write {pairs} ({problem.strerror}); choose another file", Exit.ERROR) from None
    say(f"pairs: {drawn}" if drawn else "pairs: none are drawn, no image of this item was kept or looked up")
