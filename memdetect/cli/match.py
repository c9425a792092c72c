"""`memdetect match`: find the training images that given images are copies of; no diffusion model."""

from pathlib import Path

from memdetect.cli.index import Form, Images, show_matches
from memdetect.cli.options import ModelBeside, Near
from memdetect.cli.unfold import unfolded
from memdetect.inputs.options import MaxPixels


@unfolded
def match_command(
    images: Images, near: Near, model: ModelBeside = None, max_pixels: MaxPixels = 64_000_000, format: Form = "table"
) -> None:
    """Find the training images that images are copies of, by embedding and by pixels; no diffusion model.

    --model names the model that the index's embedder ships with, if it does.

    Exit codes: 0 done, whatever was found; 2 usage or input; 3 no image could be judged; 4 error.
    """
    show_matches(Path(near.index or ""), images, near, (model, max_pixels), format, pixels="all")
