"""`memdetect match`: find the training images that given images are copies of; no diffusion model."""

from pathlib import Path
from typing import Annotated

import typer

from memdetect.cli.index import Form, Images, MaxPixels, Model, Output, TopK, Trust, Weights, show_matches


def match_command(
    images: Images,
    index: Annotated[Path, typer.Option("--index", "-i", help="Index of the training images.")],
    top_k: TopK = 5,
    max_pixels: MaxPixels = 64_000_000,
    format: Output = Form.table,
    model: Model = None,
    weights: Weights = None,
    trust_torchscript: Trust = False,
) -> None:
    """Find the training images that images are copies of, by embedding and by pixels; no diffusion model.

    Exit codes: 0 done, whatever was found; 2 usage or input; 3 no image could be judged; 4 error.
    """
    show_matches(index, images, (top_k, max_pixels), format, (model, weights, trust_torchscript), pixels="all")
