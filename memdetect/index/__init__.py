"""The training images as vectors on disk: build, verify, search. No torch, and FAISS only when it is needed."""

from memdetect.index.build import build_index
from memdetect.index.embeds import Embeds, sound
from memdetect.index.manifest import Found, Manifest, Planted, Threshold, read_manifest, verify
from memdetect.index.nearest import Index, open_index
from memdetect.index.pixels import Pair, comparable, measure, measure_all, try_open
from memdetect.index.rows import Row
from memdetect.index.search import Searcher
from memdetect.index.views import AsTrained, as_trained, centre_square
from memdetect.index.write import BuildOptions

__all__ = [
    "AsTrained",
    "BuildOptions",
    "Embeds",
    "Found",
    "Index",
    "Manifest",
    "Pair",
    "Planted",
    "Row",
    "Searcher",
    "Threshold",
    "as_trained",
    "build_index",
    "centre_square",
    "comparable",
    "measure",
    "measure_all",
    "open_index",
    "read_manifest",
    "sound",
    "try_open",
    "verify",
]
