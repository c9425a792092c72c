"""Image -> unit vector. A row is weights, preprocessing, dimension and licence; its fingerprint covers them all."""

from memdetect.copies.embedders.choosing import AUTO, choose_embedder
from memdetect.copies.embedders.embedder import Embedder, Row, Source
from memdetect.copies.embedders.table import EMBEDDERS, load_embedder

__all__ = ["AUTO", "EMBEDDERS", "Embedder", "Row", "Source", "choose_embedder", "load_embedder"]
