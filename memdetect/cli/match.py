"""`memdetect match`: find the training images that given images are copies of; no diffusion model."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from memdetect.cli.index import MaxPixels, Model, Trust, Weights, source_of
from memdetect.cli.output import colourful, hush, progress_bar, terminal_width, write
from memdetect.errors import Exit


class Form(StrEnum):
    """Formats of what was found."""

    table = "table"
    json = "json"
    csv = "csv"


def match_command(
    images: Annotated[list[str], typer.Argument(metavar="IMAGE...", help="Images, folders, globs, or lists of paths.")],
    index: Annotated[Path, typer.Option("--index", "-i", help="Index of the training images.")],
    top_k: Annotated[int, typer.Option(min=1, help="Nearest training images listed for each image.")] = 5,
    max_pixels: MaxPixels = 64_000_000,
    format: Annotated[Form, typer.Option(help="What to print on stdout.")] = Form.table,
    model: Model = None,
    weights: Weights = None,
    trust_torchscript: Trust = False,
) -> None:
    """Find the training images that images are copies of, by embedding and by pixels; no diffusion model.

    Exit codes: 0 done, whatever was found; 2 usage or input; 3 no image could be judged; 4 error.
    """
    hush()
    from memdetect.copies.index.sources import listed
    from memdetect.copies.matching import look_up, open_evidence
    from memdetect.render import matches as render

    paths = [entry.path for entry in listed(images)]
    found = open_evidence(index, source_of(model, weights, trust_torchscript))
    looked: list[Any] = []
    with progress_bar("images") as progress:
        for row in look_up(paths, found.index, found.embedder, top_k, max_pixels):
            looked.append(row)
            progress(len(looked), len(paths), "")
    about = found.index.manifest.model_dump(mode="json")
    if format is Form.table:
        write(render.matches_table(looked, about, colour=colourful(), width=terminal_width()))
    else:
        write({"json": render.matches_json, "csv": render.matches_csv}[format.value](looked, about))
    usable = any(row.outcome != "inconclusive" for row in looked)
    raise typer.Exit(int(Exit.OK if usable else Exit.INCONCLUSIVE))
