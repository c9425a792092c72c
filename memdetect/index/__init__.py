"""The training images as vectors on disk: build, verify, search. No torch, and FAISS only when it is needed."""

from memdetect.index.build import BuildOptions, build_index
from memdetect.index.manifest import Manifest, Planted, Threshold, read_manifest, verify
from memdetect.index.nearest import Embeds, Index, open_index
from memdetect.index.pixels import Pair, comparable, measure, measure_all, try_open
from memdetect.index.rows import Row
from memdetect.index.search import Searcher

__all__ = [
    "BuildOptions",
    "Embeds",
    "Index",
    "Manifest",
    "Pair",
    "Planted",
    "Row",
    "Searcher",
    "Threshold",
    "build_index",
    "comparable",
    "measure",
    "measure_all",
    "open_index",
    "read_manifest",
    "try_open",
    "verify",
]
