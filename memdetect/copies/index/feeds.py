"""What goes into an index, whatever it comes from: the names of its rows, and then the rows with their vectors."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int64

from memdetect.copies.index.embed_files import Intake
from memdetect.copies.index.embedder_protocol import Held
from memdetect.copies.index.rows import Row, stored_path
from memdetect.copies.index.sources import Listed, listed
from memdetect.inputs.ranks import Rank

WHOLE = Rank(0, 1, "")


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of an index with their vectors or codes; entries: for each row the number of its image in the whole list."""

    rows: Sequence[Row]
    vectors: Held
    entries: Int64[np.ndarray, " _row"]


@runtime_checkable
class Feed(Protocol):
    """Where the rows of an index come from. plain: whether names are those of whole pictures, not of their crops."""

    @property
    def plain(self) -> bool:
        """Whether names are those of whole pictures, not of their crops and decodings."""
        ...

    def names(self, home: Path) -> Iterator[str]:
        """The key of each image of the whole list, in its order, before any is opened."""
        ...

    def place(self, position: int) -> str:
        """Where the image of that number is named, for a message."""
        ...

    def batches(self, intake: Intake, rank: Rank) -> Iterator[Batch]:
        """The rows of this rank's images. What is left out, and what is not as usual, is counted in `intake`."""
        ...


@dataclass(frozen=True, slots=True)
class Files:
    """Images by what `sources.listed` takes."""

    sources: Sequence[str | Path | Listed]
    plain: bool = field(default=True, init=False)

    def names(self, home: Path) -> Iterator[str]:
        """The keys, else the paths as rows have them."""
        for entry in listed(self.sources):
            yield entry.key or stored_path(entry.path, home)

    def place(self, position: int) -> str:
        """The source, or the line of a list, and the image."""
        entry: Listed = next(islice(listed(self.sources), position, None))
        return f"{entry.place} ({str(entry.path)!r})"

    def batches(self, intake: Intake, rank: Rank) -> Iterator[Batch]:
        """Every `world`-th image, embedded."""
        for batch in intake.batches(islice(listed(self.sources), rank.rank, None, rank.world)):
            entries = np.array([taken.entry for taken in batch], np.int64) * rank.world + rank.rank
            yield Batch([taken.row for taken in batch], np.stack([taken.vector for taken in batch]), entries)
