"""An index while it is being written: vectors and rows are appended, FAISS's own file is made of them at the end."""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import Int64

from memdetect.copies.index import faiss_process, faiss_work
from memdetect.copies.index.embedder_protocol import Held
from memdetect.copies.index.manifest import BINARY, CODES, ENTRIES, FAISS, ROWS, VECTORS
from memdetect.copies.index.rows import Row
from memdetect.copies.index.search import Engine, usual_engine
from memdetect.errors import Exit, MemdetectError
from memdetect.files import named

FLAT_ROWS = 1_000_000
GRAPH_ROWS = 20_000_000  # from here on the lists are found by a graph over their centres
MOST_LISTS = 2**16  # that are chosen by size
MOST_VISITED = 256
FACTORY = re.compile(r"Flat|(?:HR\d{1,5},)?IVF([1-9]\d*)(?:_HNSW32)?,(?:SQ8|SQfp16|Flat|RaBitQ)")
KINDS = "Flat, IVFn,CODE or IVFn_HNSW32,CODE with SQ8, SQfp16, Flat or RaBitQ; HRd, may stand before"
OFF = 0.01  # how far the length of a vector may be from 1


class Draft:
    """Files of an index in a temporary folder. `folder` is where they are, `home` where the index will be.

    tiles: codes of `dim` bits that each image has; 0 = it has a vector of `dim` numbers. part: whether it is a part of
    an index, with the numbers of its images.
    """

    def __init__(self, folder: Path, home: Path, dim: int, tiles: int = 0, part: bool = False) -> None:
        self.folder, self.home, self.dim, self.tiles, self.count = folder, home, dim, tiles, 0
        folder.mkdir(parents=True)
        self._stored = CODES if tiles else VECTORS
        self._vectors: BinaryIO = (folder / self._stored).open("ab")
        self._rows: BinaryIO = (folder / ROWS).open("ab")
        self._entries: BinaryIO | None = (folder / ENTRIES).open("ab") if part else None

    def take(self, other: Path, count: int) -> None:
        """Start from the rows of another index of the same embedder, whose paths must be seen from the same place."""
        for name, file in ((self._stored, self._vectors), (ROWS, self._rows)):
            with (other / name).open("rb") as source:
                shutil.copyfileobj(source, file)
        self.count += count

    def add(self, vectors: Held, rows: Sequence[Row], entries: Int64[np.ndarray, " _row"] | None = None) -> None:
        """Append unit vectors, or codes, and what they are of. Raises MemdetectError (error) for others.

        entries: of a part, the number of each row's image in the whole list.
        """
        fault = _codes_fault(vectors, len(rows), self) if self.tiles else _vectors_fault(vectors, len(rows), self.dim)
        if fault:
            raise MemdetectError(f"the embedder gave {fault}; report it with the embedder's name", Exit.ERROR)
        with named(self.home):
            self._vectors.write(np.ascontiguousarray(vectors, np.uint8 if self.tiles else np.float16).data)
            self._rows.write("".join(row.line() for row in rows).encode())
            if self._entries and entries is not None:
                self._entries.write(entries.astype("<u8").data)
        self.count += len(rows)

    def close(self) -> None:
        """Write what is still in memory."""
        with named(self.home):
            for file in (self._vectors, self._rows, *([self._entries] if self._entries else [])):
                file.close()


def _vectors_fault(vectors: Held, count: int, dim: int) -> str:
    lengths = np.linalg.norm(vectors, axis=-1)
    if vectors.shape == (count, dim) and np.all(np.abs(lengths - 1) <= OFF):
        return ""
    return (
        f"vectors of shape {vectors.shape} and of lengths {lengths.min():.3g} to {lengths.max():.3g}, expected "
        f"{(count, dim)} and 1"
    )


def _codes_fault(codes: Held, count: int, draft: Draft) -> str:
    expected = (count, draft.tiles, draft.dim // 8)
    if codes.shape == expected and codes.dtype == np.uint8:
        return ""
    return f"codes of shape {codes.shape} and type {codes.dtype}, expected {expected} and uint8"


def choose_factory(count: int, wanted: str | None, binary: bool = False) -> tuple[str, int]:
    """FAISS's factory string for so many rows, and how many lists a search visits.

    Codes are searched one by one, by BinaryFlat, however many there are: `binary`.
    Flat up to 1,000,000 rows; above, 4 * sqrt(count) lists, rounded to a power of two and MOST_LISTS at most, of 8-bit
    codes; from GRAPH_ROWS on a graph finds the lists. A wanted string is taken if it is of KINDS, with n lists for at
    least n rows; else MemdetectError (usage).
    """
    if binary:
        if wanted not in (None, BINARY):
            raise MemdetectError(f"the embedder makes codes of bits, which {wanted} cannot hold; leave --factory out")
        return BINARY, 1
    if wanted == BINARY:
        raise MemdetectError(f"{BINARY} holds codes of bits, the embedder makes vectors; leave --factory out")
    if wanted is None:
        lists = min(2 ** round(np.log2(4 * np.sqrt(count))), MOST_LISTS)
        graph = "_HNSW32" if count > GRAPH_ROWS else ""
        wanted = "Flat" if count <= FLAT_ROWS else f"IVF{lists}{graph},SQ8"
    lists = check_factory(wanted)
    if lists > count:
        raise MemdetectError(f"{wanted} needs at least {lists} images, there are {count}; give --factory fewer lists")
    return wanted, min(lists, max(16, lists // 64), MOST_VISITED)


def check_factory(wanted: str) -> int:
    """How many lists a factory string asks for, 1 for Flat. MemdetectError (usage) for any other string."""
    if wanted == BINARY:
        return 1
    found = FACTORY.fullmatch(wanted)
    if found is None:
        raise MemdetectError(f"no index of kind {wanted!r}; --factory takes {KINDS}")
    return int(found[1] or 1)


def write_faiss(folder: Path, count: int, dim: int, factory: str, engine: Engine | None = None) -> None:
    """Train and fill FAISS's file from the vectors of a folder. Flat needs none: the vectors, or codes, are the index.

    Of more rows than `faiss_work.IN_MEMORY` the lists are put together on disk.
    engine: where FAISS runs, "faiss" or "process"; None = as it is searched. Both write the same bytes.
    """
    if factory in ("Flat", BINARY):
        return
    work = faiss_process if (engine or usual_engine(factory)) == "process" else faiss_work
    work.write(vectors=str(folder / VECTORS), count=count, dim=dim, factory=factory, target=str(folder / FAISS))
