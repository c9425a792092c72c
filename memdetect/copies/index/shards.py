"""Embeddings in files: arrays of numpy with a list beside them, parquet with a column of vectors, clip-retrieval's."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from memdetect.copies.index.sources import rows_of_list
from memdetect.errors import MemdetectError
from memdetect.files import did_you_mean, open_regular
from memdetect.inputs.parquet import columns_of

BESIDE = (".parquet", ".jsonl", ".csv", ".tsv", ".txt")
VECTOR_COLUMNS = ("embedding", "image_embedding", "img_emb", "vector")
AT_ONCE = 4096  # vectors in memory
Vectors = Float[np.ndarray, "row dim"]


@dataclass(frozen=True, slots=True)
class Shard:
    """A file of vectors and what says what they are of; lists: None = nothing, the file itself = its other columns.

    root: of the data set, which paths may be relative to.
    """

    file: Path
    lists: Path | None
    root: Path

    @property
    def count(self) -> int:
        """How many vectors it has. Raises MemdetectError (usage) for a file that is none of vectors."""
        return len(_array(self.file)) if self.file.suffix == ".npy" else _table(self.file)[0].metadata.num_rows

    def rows(self) -> Iterator[Mapping[str, Any]]:
        """What each vector is of, as its list has it. MemdetectError (usage) where they are not as many as vectors."""
        if self.lists is None:
            yield from ({} for _ in range(self.count))
            return
        count = 0
        for _, row in rows_of_list(self.lists):
            yield row
            count += 1
        if count != self.count:
            raise MemdetectError(f"{str(self.file)!r} has {self.count} vectors, {str(self.lists)!r} {count} rows")

    def vectors(self) -> Iterator[Vectors]:
        """The vectors as float32, AT_ONCE at most at a time. Raises MemdetectError (usage) for what is none."""
        if self.file.suffix == ".npy":
            held = _array(self.file)
            for start in range(0, len(held), AT_ONCE):
                yield np.asarray(held[start : start + AT_ONCE], np.float32)
            return
        table, column = _table(self.file)
        for batch in table.iter_batches(batch_size=AT_ONCE, columns=[column]):
            cells = batch.column(0)
            flat = np.asarray(cells.flatten(), np.float32)
            if cells.null_count or len(flat) % max(len(cells), 1):
                raise MemdetectError(f"{str(self.file)!r}: column {column!r} has cells of unequal length; correct it")
            yield flat.reshape(len(cells), -1)


def shards_of(sources: Sequence[str | Path]) -> list[Shard]:
    """The shards of files and folders, in the order of their names, numbers by their value.

    A folder of clip-retrieval has img_emb/img_emb_N.npy and metadata/metadata_N.parquet; of another folder all .npy are
    taken, each with the list of its name beside it. Raises MemdetectError (usage) for what holds no vectors.
    """
    found = [shard for source in map(Path, sources) for shard in _of(source)]
    if not found:
        raise MemdetectError("no embeddings given; name .npy or .parquet files, or a folder of clip-retrieval")
    return found


def _of(source: Path) -> list[Shard]:
    if source.is_file() and source.suffix in (".npy", ".parquet"):
        return [Shard(source, source if source.suffix == ".parquet" else _beside(source), source.parent)]
    if not source.is_dir():
        said = "is neither .npy, .parquet nor a folder of them" if source.exists() else "is not there"
        raise MemdetectError(f"{str(source)!r} {said}; {did_you_mean(source)}name embeddings")
    if (source / "img_emb").is_dir():
        files = sorted((source / "img_emb").glob("*.npy"), key=_numbered)
        lists = [source / "metadata" / f"metadata_{file.stem.rpartition('_')[2]}.parquet" for file in files]
        shards = [Shard(file, own if own.is_file() else None, source) for file, own in zip(files, lists, strict=True)]
    else:
        shards = [Shard(file, _beside(file), source) for file in sorted(source.glob("*.npy"), key=_numbered)]
    if not shards:
        raise MemdetectError(f"{str(source)!r} holds no .npy file; name a folder of embeddings")
    return shards


def _numbered(path: Path) -> list[tuple[int, str]]:
    return [(int(part or 0), text) for text, part in re.findall(r"(\D*)(\d*)", path.name)]


def _beside(file: Path) -> Path | None:
    return next((path for suffix in BESIDE if (path := file.with_suffix(suffix)).is_file()), None)


def _array(path: Path) -> Any:
    """A file of numpy, mapped. Nothing in it is run: arrays of objects are refused."""
    try:
        open_regular(path).close()
        held = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as problem:
        reason = " ".join(str(problem).split())
        raise MemdetectError(f"{str(path)!r} cannot be read as an array ({reason:.120}); write it with numpy") from None
    if not isinstance(held, np.ndarray) or held.ndim != 2 or held.dtype.kind != "f":
        what = f"{held.dtype} of shape {held.shape}" if isinstance(held, np.ndarray) else "several arrays"
        raise MemdetectError(f"{str(path)!r} holds {what}, expected floats [row, number]; give embeddings")
    return held


def _table(path: Path) -> tuple[Any, str]:
    """A parquet file, opened, and the column of its vectors."""
    try:
        columns = columns_of(path)
        column = next((name for name in VECTOR_COLUMNS if name in columns), None)
        if column is None:
            raise ValueError(f"no column of vectors among {columns!s:.200}; name one {' or '.join(VECTOR_COLUMNS)}")
        return import_module("pyarrow.parquet").ParquetFile(path), column
    except (OSError, ValueError) as problem:
        raise MemdetectError(f"{str(path)!r} cannot be read ({' '.join(str(problem).split()):.300})") from None
