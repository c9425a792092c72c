"""Which embedder a run takes: what the index was made with, what the model's card says, or the best there is."""

from memdetect.copies.embedders.embedder import Embedder, Source
from memdetect.copies.embedders.sscd_int8 import NAME as INT8
from memdetect.copies.embedders.sscd_int8 import installed
from memdetect.copies.embedders.table import load_embedder
from memdetect.copies.embedders.weights import find_weights
from memdetect.errors import MemdetectError

AUTO = "auto"
FALLBACK = "pdq-tiles"
MISSES = "rotated, redrawn and largely replaced copies will be missed"
WEAK = f"embedder: {FALLBACK}, since no SSCD weights were found; {MISSES}"


def choose_embedder(
    wanted: str = AUTO, *, index: str | None = None, card: str | None = None, source: Source | None = None
) -> tuple[Embedder, str]:
    """The embedder to use, and a line to print about the choice ("" when there is nothing to say).

    `wanted`: the user's word. `index`: the name in an index's manifest; another one than the user's cannot search it.
    `card`: the name in the model's card. With `auto`: that of the index, else that of the card, else SSCD where its
    weights are found or the extra `sscd` is installed, else FALLBACK, which is said. Raises MemdetectError as
    `load_embedder` does, and for a contradiction.
    """
    source = source or Source()
    if index and wanted not in (AUTO, index):
        raise MemdetectError(f"the index was made with the embedder {index!r}, not {wanted!r}; use {index!r} or `auto`")
    named = index or (wanted if wanted != AUTO else "") or card
    weights = find_weights(source.weights) if source.weights or not named else None
    if source.weights and named and (named == INT8 or not named.startswith("sscd")):
        raise MemdetectError(f"the embedder {named!r} takes no --weights; leave it out, or give an SSCD embedder")
    found = named or ("sscd-288" if weights else INT8 if installed() else FALLBACK)
    embedder = load_embedder(
        found, folder=source.folder, weights=source.weights, trust_torchscript=source.trust_torchscript
    )
    return embedder, "" if named or found != FALLBACK else WEAK
