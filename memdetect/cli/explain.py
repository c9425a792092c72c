"""`memdetect explain`: everything that a run holds of one item."""

from difflib import get_close_matches
from pathlib import Path
from typing import Annotated

import typer

from memdetect.cli.terminal import write
from memdetect.errors import MemdetectError


def explain_command(
    run: Annotated[Path, typer.Argument(help="Run folder of a finished scan.")],
    item: Annotated[str, typer.Argument(metavar="ID", help="Item of the run, as its table and records name it.")],
) -> None:
    """Show an item's scores by layer and timestep, its training images, and the command that makes it again."""
    from memdetect.render.explain import render_explanation
    from memdetect.runs.folder import RunFolder

    folder = RunFolder(run)
    header, results = folder.header(), folder.results()
    row = next((row for row in results if row.id == item), None)
    if row is None:
        close = get_close_matches(item, [row.id for row in results], n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise MemdetectError(f"{run} has no item {item!r}{hint} (its results.jsonl lists {len(results)} items)")
    write(render_explanation(header, row))
