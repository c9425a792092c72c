"""Embeddings that somebody made already -> an index, with the pictures where they are there, and without them."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from memdetect.copies.index.build import build_of
from memdetect.copies.index.embed_files import Intake
from memdetect.copies.index.embedder_protocol import Embeds, as_held, codes_of, sound
from memdetect.copies.index.feeds import Batch
from memdetect.copies.index.manifest import Step
from memdetect.copies.index.nearest import Index
from memdetect.copies.index.rows import Row, stored_path
from memdetect.copies.index.shards import Shard, shards_of
from memdetect.copies.index.sources import KEY_COLUMNS, PATH_COLUMNS, text_of
from memdetect.copies.index.write import BuildOptions
from memdetect.errors import MemdetectError
from memdetect.files import open_regular
from memdetect.inputs.images import Opened, open_ways
from memdetect.inputs.ranks import Rank
from memdetect.inputs.tables import PROMPT_COLUMNS

CHECKED = 4  # pictures of each shard that are embedded again
ALIKE = 0.98  # cosine of their vectors and the given ones; decoders of JPEG differ in the last bits
Vector = Float[np.ndarray, " dim"]
OTHERWISE = "embeddings of no known decoding of their pictures"
UNCHECKED = "embeddings taken as they are said to be, without a picture"


@dataclass(frozen=True, slots=True)
class Embeddings:
    """The rows of shards of vectors."""

    shards: Sequence[Shard]
    plain: bool = field(default=True, init=False)

    def names(self, home: Path) -> Iterator[str]:
        """The key of each row; without one the path, as a row has it, or file and number."""
        for shard in self.shards:
            for number, row in enumerate(shard.rows()):
                yield _named(shard, number, row, home)[0]

    def place(self, position: int) -> str:
        """The shard and the row."""
        for shard in self.shards:
            if position < shard.count:
                return f"{str(shard.file)!r}, row {position + 1}"
            position -= shard.count
        raise IndexError(position)

    def batches(self, intake: Intake, rank: Rank) -> Iterator[Batch]:
        """The rows of every `world`-th shard, their vectors brought to length one."""
        start = 0
        for number, shard in enumerate(self.shards):
            if number % rank.world == rank.rank:
                yield from _of_shard(shard, start, intake)
            start += shard.count


def add_embeddings(
    sources: Sequence[str | Path],
    embedder: Embeds,
    folder: Path | str,
    options: BuildOptions | None = None,
    progress: Step = lambda _done, _planned, _note: None,
) -> Index:
    """Write an index of vectors that `embedder` made elsewhere, or append them to one; returns it opened.

    sources: what `shards.shards_of` takes; their lists name an image (`image_path`, `path`, `url`), a key, a caption.
    Where the file is there, the row is that of an image, in the decoding that its vector is nearest to, and a few of
    each shard are embedded again. Where it is not, the row is of an embedding alone: an image near it is inconclusive,
    for its pixels cannot be compared. Raises
    MemdetectError (usage) as `build_index` does, for vectors that are not the embedder's, and for an embedder of bits.
    """
    if codes_of(embedder) is not None:
        raise MemdetectError(f"{embedder.name} makes codes of bits, not vectors; name the embedder that made these")
    if (options or BuildOptions()).as_trained:
        raise MemdetectError("--as-trained makes squares of pictures; embeddings are of what they are of: leave it out")
    return build_of(Embeddings(shards_of(sources)), embedder, folder, options, progress)


def _of_shard(shard: Shard, start: int, intake: Intake) -> Iterator[Batch]:
    """The rows of one shard; start: the number of its first row in the whole list."""
    rows, number, left = shard.rows(), 0, CHECKED
    for vectors in shard.vectors():
        if vectors.shape[1] != intake.embedder.dim:
            raise MemdetectError(
                f"{str(shard.file)!r} has vectors of {vectors.shape[1]} numbers, {intake.embedder.name} makes "
                f"{intake.embedder.dim}; name the embedder that made them"
            )
        fit = np.array(sound(vectors), bool)
        held = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-30)
        said = list(islice(rows, len(held)))
        made = [_row(shard, number + k, each, held[k], intake) if fit[k] else None for k, each in enumerate(said)]
        kept = [(k, row) for k, row in enumerate(made) if row is not None]
        left -= _check([(row, held[k]) for k, row in kept if row.pictured][:left], shard, intake)
        _count(intake, len(held), [row for _, row in kept])
        if kept:
            places = np.array([k for k, _ in kept])
            yield Batch([row for _, row in kept], held[places], places + start + number)
        number += len(held)
    next(rows, None)  # its end, where the numbers of rows and vectors are compared


def _count(intake: Intake, given: int, kept: Sequence[Row]) -> None:
    intake.seen += given
    bare = sum(not row.pictured for row in kept)
    intake.unseen += bare
    for name, counted, number in (("no embedding", intake.skipped, given - len(kept)), (UNCHECKED, intake.noted, bare)):
        if number:
            counted[name] += number
            intake.first = intake.first or name


def _named(shard: Shard, number: int, row: Mapping[str, Any], home: Path) -> tuple[str, str, Path | None]:
    """Key and path of a row, and its file where that is there."""
    try:
        name = next((text_of(row[key], key) for key in PATH_COLUMNS if row.get(key) not in (None, "")), "")
        key = next((text_of(row[key], key) for key in KEY_COLUMNS if row.get(key) not in (None, "")), "")
    except ValueError as problem:
        raise MemdetectError(f"{str(shard.lists)!r}, row {number + 1}: {problem}") from None
    beside = [folder / name for folder in (shard.root, (shard.lists or shard.file).parent)] if name else []
    file = next((path for path in beside if _there(path)), None)
    path = stored_path(file, home) if file else name or f"{shard.file.name}:{number}"
    return key or path, path, file


def _there(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _row(shard: Shard, number: int, said: Mapping[str, Any], vector: Vector, intake: Intake) -> Row:
    """The row of a vector: of its picture where that is there and can be opened, else of the embedding alone."""
    key, path, file = _named(shard, number, said, intake.home)
    caption = next((str(said[name]) for name in PROMPT_COLUMNS if str(said.get(name) or "").strip()), None)
    digest = hashlib.sha256(b"vector" + vector.astype(np.float16).tobytes()).hexdigest()
    if file is None or not (ways := _ways(file)):
        return Row(key=key, path=path, caption=caption, sha256=digest, width=0, height=0)
    seen = ways[0]
    if len(ways) > 1:
        seen, cosine = _nearest(ways, vector, intake.embedder)
        intake.noted.update([OTHERWISE] if not cosine >= ALIKE else [])
    with open_regular(file) as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    width, height = seen.image.size
    return Row(key=key, path=path, caption=caption, sha256=digest, width=width, height=height, decoded=seen.way)


def _ways(file: Path) -> list[Opened]:
    """The picture in each way of decoding, the usual one first; none where it cannot be opened."""
    try:
        return open_ways(file)
    except (MemdetectError, OSError):
        return []


def _nearest(ways: Sequence[Opened], vector: Vector, embedder: Embeds) -> tuple[Opened, float]:
    """The decoding whose embedding is nearest to a vector of length one, and their cosine; of equals the first."""
    own = as_held([opened.image for opened in ways], embedder)
    cosines = own @ vector / np.maximum(np.linalg.norm(own, axis=1), 1e-30)
    best = int(np.nan_to_num(cosines, nan=-1.0).argmax())
    return ways[best], float(cosines[best])


def _check(named: Sequence[tuple[Row, Vector]], shard: Shard, intake: Intake) -> int:
    """Embed pictures again, and refuse vectors that are not those; returns how many were embedded."""
    seen = 0
    for row, vector in named:
        if not (ways := _ways(row.file(intake.home))):
            continue
        seen += 1
        _, cosine = _nearest(ways, vector, intake.embedder)
        if not cosine >= ALIKE:
            raise MemdetectError(
                f"{str(shard.file)!r}: the vector of {row.path!r:.200} is at a cosine of {cosine:.3f} from that of "
                f"{intake.embedder.name}, expected {ALIKE} or more in one way of decoding the file; name the embedder "
                "that made it"
            )
    return seen
