"""`memdetect match`: find the training images that given images are copies of; no diffusion model."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from memdetect.cli.options import FORMAT, ModelBeside, Near
from memdetect.cli.terminal import colourful, hush, progress_bar, terminal_width, write
from memdetect.cli.unfold import unfolded
from memdetect.errors import Exit
from memdetect.inputs.options import MaxPixels

Images = Annotated[list[str], typer.Argument(metavar="IMAGE", help="Images, folders, globs, or lists of paths.")]
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
    from memdetect.copies.asking import look_up
    from memdetect.copies.index import read_manifest
    from memdetect.render import matches as render

    index = Path(near.index or "")
    with progress_bar("images") as progress:
        looked = look_up(images, index, lookup=near, model=model, max_pixels=max_pixels, progress=progress)
    about = read_manifest(index).model_dump(mode="json")
    if format == "table":
        write(render.matches_table(looked, about, colour=colourful(), width=terminal_width()))
    else:
        write({"json": render.matches_json, "csv": render.matches_csv}[format](looked, about))
    usable = any(row.outcome != "inconclusive" for row in looked)
    raise typer.Exit(int(Exit.OK if usable else Exit.INCONCLUSIVE))
