"""The training images as vectors on disk: build, verify, search. No torch, and FAISS only when it is needed."""

from memdetect.copies.index.build import build_index
from memdetect.copies.index.embedder_protocol import FAINT, Embeds, Queries, as_queries, codes_of, sound, views_for
from memdetect.copies.index.manifest import Found, Manifest, Planted, Threshold, read_manifest, verify
from memdetect.copies.index.nearby import DEPTH
from memdetect.copies.index.nearest import Index, open_index
from memdetect.copies.index.pictures import try_open
from memdetect.copies.index.rows import Row
from memdetect.copies.index.search import Searcher
from memdetect.copies.index.views import AsTrained, as_trained, by_owner, centre_square, views
from memdetect.copies.index.write import BuildOptions

__all__ = [
    "DEPTH",
    "FAINT",
    "AsTrained",
    "BuildOptions",
    "Embeds",
    "Found",
    "Index",
    "Manifest",
    "Planted",
    "Queries",
    "Row",
    "Searcher",
    "Threshold",
    "as_queries",
    "as_trained",
    "build_index",
    "by_owner",
    "centre_square",
    "codes_of",
    "open_index",
    "read_manifest",
    "sound",
    "try_open",
    "verify",
    "views",
    "views_for",
]
