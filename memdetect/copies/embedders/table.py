"""The table of embedders, and how a row is loaded."""

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path

from memdetect.copies.embedders.embedder import Embedder, Row, Source
from memdetect.copies.embedders.pdq import PDQ
from memdetect.copies.embedders.pdq_tiles import PDQ_TILES
from memdetect.copies.embedders.pixels import PIXELS
from memdetect.copies.embedders.rows import SCENES, SSCD_224, SSCD_288, SSCD_320, SSCD_INT8
from memdetect.errors import MemdetectError

EMBEDDERS: Mapping[str, Row] = {
    row.name: row for row in (PDQ_TILES, PDQ, PIXELS, SCENES, SSCD_288, SSCD_320, SSCD_224, SSCD_INT8)
}


def load_embedder(
    name: str, *, folder: Path | None = None, weights: Path | None = None, trust_torchscript: bool = False
) -> Embedder:
    """An embedder by name, ready to embed; it never fetches anything.

    `folder`: the model's folder, for the embedder that ships with a model. `weights`: a file that the user names.
    `trust_torchscript`: open a TorchScript file, which can run code. Raises MemdetectError for an unknown name, and
    for weights that are missing, malformed or would run code.
    """
    if name not in EMBEDDERS:
        close = get_close_matches(name, EMBEDDERS, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise MemdetectError(f"no embedder named {name!r}; {hint}(have: {', '.join(EMBEDDERS)})")
    row = EMBEDDERS[name]
    return row.load(row, Source(folder, weights, trust_torchscript))
