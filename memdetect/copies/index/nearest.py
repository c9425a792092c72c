"""An opened index: vectors in, training images out, each with its similarity and p-value."""

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from memdetect.copies.align import Prepared, Sizes
from memdetect.copies.index.embed_files import DIFFER
from memdetect.copies.index.embedder_protocol import Embeds, Queries, codes_of
from memdetect.copies.index.manifest import ROWS, Manifest, ReferenceValues, Step, read_manifest, read_reference, verify
from memdetect.copies.index.nearby import Rows, first_depth
from memdetect.copies.index.part import limit_of
from memdetect.copies.index.rows import Row, RowFile
from memdetect.copies.index.search import Engine, Searcher
from memdetect.copies.match import Match
from memdetect.copies.pixels import CopyRule
from memdetect.errors import MemdetectError

REPLACED = 3  # times that an index may be replaced while it is opened
_MATCHES = TypeAdapter(list[Match])


class Index:
    """A verified index folder, opened for reading. Made by `open_index`."""

    def __init__(
        self, folder: Path, manifest: Manifest, reference: ReferenceValues, engine: Engine | None = None
    ) -> None:
        self.folder, self.manifest = folder, manifest
        self.reference, self._agreed = reference.similarity, reference.agreed
        self.small = dict[
            Sizes, OrderedDict[int, Prepared]
        ]()  # versions of training images, by row, as they are aligned
        self.rows, self._seen = RowFile(folder / ROWS), str(folder)
        size = manifest.count, manifest.embedder.dim
        self.searcher = Searcher(folder, *size, manifest.factory, manifest.nprobe, engine, manifest.embedder.tiles)

    def __len__(self) -> int:
        return self.manifest.count

    def row(self, index: int) -> Row:
        """Which image a vector is of."""
        return self.rows[index]

    def p_value(self, similarity: float) -> float | None:
        """Conformal p-value of a nearest similarity among those of images that are no copies; None without any."""
        above = len(self.reference) - bisect_left(self.reference, similarity)
        return (1 + above) / (1 + len(self.reference)) if self.reference else None

    def similar(self, similarity: float) -> bool:
        """Whether a similarity exceeds the threshold: p at most the level, where enough non-copies show the level."""
        limit = self.manifest.threshold.similarity
        return limit is not None and similarity > limit

    def p_agreed(self, agreed: float) -> float | None:
        """Conformal p-value of a share that agrees, among those of images that are no copies; None without any."""
        above = len(self._agreed) - bisect_left(self._agreed, agreed)
        return (1 + above) / (1 + len(self._agreed)) if self._agreed else None

    def repeats(self, agreed: float, small: bool) -> bool:
        """Whether so large a share of a training image agrees that a part of it counts as found."""
        return agreed > limit_of(self.manifest.agreement, small)

    @property
    def rule(self) -> CopyRule:
        """When pixels are those of a copy: the usual rule, or what held-out images made of it."""
        own = self.manifest.tightened
        return CopyRule().strict(own.share) if own else CopyRule()

    def nearest(self, vectors: Queries, k: int) -> list[list[Match]]:
        """The k nearest training images of each query, nearest first; pixel measures not taken.

        vectors: as `embedder_protocol.as_queries` makes them.

        Fewer than k where the index is smaller, or an IVF index found fewer. Raises MemdetectError (usage) for vectors
        of another dimension or that are not finite, and for k below 1.
        """
        if k < 1:
            raise MemdetectError(f"top-k is {k}, expected at least 1")
        near, rows = self.searcher.search(vectors, k)
        found = rows >= 0
        named = rows[found].tolist()
        parts = zip((found.nonzero()[1] + 1).tolist(), named, near[found].tolist(), self.rows.many(named), strict=True)
        matches = _MATCHES.validate_python([self._match(*part) for part in parts])  # together: half the time
        ends = np.cumsum(found.sum(axis=1)).tolist()
        return [matches[start:end] for start, end in pairwise([0, *ends])]

    def pictures_near(self, images: Sequence[Queries], pictures: int) -> list[list[Match]]:
        """The rows of the `pictures` training pictures nearest to each image, nearest first (`nearby`).

        images: what the index is asked for the views of each, as `embedder_protocol.as_queries` makes it. Where a
        picture has one row each, these are the `pictures` nearest rows. An image without views has none. Raises
        MemdetectError (usage) for vectors of another dimension or that are not finite.
        """
        first = first_depth(pictures, len(self), self.manifest.pictures)
        found = Rows(self.searcher, self.rows).pictures(images, pictures, first)
        named = [self._match(n, c.index, c.similarity, c.row) for own in found for n, c in enumerate(own, 1)]
        matches = _MATCHES.validate_python(named)  # together: half the time
        ends = np.cumsum([len(own) for own in found]).tolist()
        return [matches[start:end] for start, end in pairwise([0, *ends])]

    def _match(self, rank: int, index: int, similarity: float, row: Row) -> dict[str, Any]:
        return {
            "rank": rank,
            "row": index,
            "key": row.key,
            "path": row.seen_from(self._seen) if row.pictured else row.path,
            "caption": row.caption or "",
            "similarity": similarity,
            "p": self.p_value(similarity),
            "similar": self.similar(similarity),
        }

    def check_embedder(self, embedder: Embeds) -> None:
        """Raise MemdetectError (usage), naming both, unless this embedder made the vectors."""
        held, codes = self.manifest.embedder, codes_of(embedder)
        own = (embedder.name, embedder.fingerprint, embedder.dim, codes.tiles if codes else 1)
        if own != (held.name, held.fingerprint, held.dim, held.tiles):
            raise MemdetectError(
                f"{str(self.folder)!r} was made with embedder {held.name} (fingerprint {held.fingerprint}, {held.dim} "
                f"numbers), this is {embedder.name} ({embedder.fingerprint}, {embedder.dim}); use the former, or build "
                "the index anew"
            )


def open_index(
    folder: Path | str,
    embedder: Embeds | None = None,
    *,
    engine: Engine | None = None,
    progress: Step | None = None,
    parts: bool = False,
) -> Index:
    """Open an index folder after every byte of it was checked against its manifest.

    embedder: what images will be looked up with; another one than the index was made with is refused. engine: "faiss",
    in this process; "process", FAISS in one of its own; or "numpy", a matrix product for Flat only. None = FAISS, but
    on macOS numpy for Flat and a process for IVF. parts: open a part of an index too, which has no threshold. Raises
    MemdetectError (usage) that names the file at fault.
    """
    folder = Path(folder)
    for _ in range(REPLACED):
        manifest = verify(folder, progress)
        _refuse_one_way(folder, manifest)
        if manifest.part and not parts:
            mine = f"part {manifest.part.rank} of {manifest.part.world}"
            raise MemdetectError(f"{str(folder)!r} is {mine} of an index; put them together with memdetect index merge")
        try:
            index = Index(folder, manifest, read_reference(folder), engine)
            if embedder is not None:
                index.check_embedder(embedder)
            index.searcher.prepare()
        except (OSError, ValueError, MemdetectError):
            if read_manifest(folder).digest == manifest.digest:
                raise
            continue
        if read_manifest(folder).digest == manifest.digest:
            return index
    raise MemdetectError(f"{str(folder)!r} is being replaced again and again; wait until that ends")


def _refuse_one_way(folder: Path, manifest: Manifest) -> None:
    """Refuse an index of an older memdetect that holds pictures in one decoding of which trainers know several."""
    if found := next((note for note in DIFFER if note in manifest.noted), None):
        raise MemdetectError(
            f"{str(folder)!r} holds {manifest.noted[found]} pictures in one decoding alone ({found}), expected each "
            "that trainers use; build the index anew"
        )
