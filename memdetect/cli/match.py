"""`memdetect match`: find the training images that given images are copies of; no diffusion model."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from memdetect.cli.index import source_of
from memdetect.cli.options import FORMAT, ModelBeside, Near
from memdetect.cli.output import colourful, hush, progress_bar, terminal_width, write
from memdetect.cli.unfold import unfolded
from memdetect.errors import Exit
from memdetect.inputs.options import MaxPixels

Images = Annotated[list[str], typer.Argument(metavar="IMAGE...", help="Images, folders, globs, or lists of paths.")]
Form = Annotated[Literal["table", "json", "csv"], FORMAT]


@unfolded
def match_command(
    images: Images, near: Near, model: ModelBeside = None, max_pixels: MaxPixels = 64_000_000, format: Form = "table"
) -> None:
    """Find the training images that images are copies of, by embedding and by pixels; no diffusion model.

    --model names the model that the index's embedder ships with, if it does.

    Exit codes: 0 done, whatever was found; 2 usage or input; 3 no image could be judged; 4 error.
    """
    hush()
    from memdetect.copies.index.sources import listed
    from memdetect.copies.matching import look_up, open_evidence
    from memdetect.render import matches as render

    paths = [entry.path for entry in listed(images)]
    found = open_evidence(Path(near.index or ""), source_of(model, near))
    looked: list[Any] = []
    with progress_bar("images") as progress:
        for row in look_up(paths, found.index, found.embedder, near.top_k, max_pixels):
            looked.append(row)
            progress(len(looked), len(paths), "")
    about = found.index.manifest.model_dump(mode="json")
    if format == "table":
        write(render.matches_table(looked, about, colour=colourful(), width=terminal_width()))
    else:
        write({"json": render.matches_json, "csv": render.matches_csv}[format](looked, about))
    usable = any(row.outcome != "inconclusive" for row in looked)
    raise typer.Exit(int(Exit.OK if usable else Exit.INCONCLUSIVE))
