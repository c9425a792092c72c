"""Build an index folder: in a folder beside it, whole or not at all, one writer at a time."""

import hashlib
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np

from memdetect import __version__
from memdetect.copies import CopyRule
from memdetect.errors import MemdetectError
from memdetect.images import MAX_PIXELS
from memdetect.index.calibrate import Copies, Null, held_out, leave_one_out, threshold
from memdetect.index.draft import Draft, check_factory, choose_factory, write_faiss
from memdetect.index.intake import Intake
from memdetect.index.manifest import (
    FAISS,
    MANIFEST,
    NULLS,
    ROWS,
    VECTORS,
    EmbedderName,
    FileName,
    Manifest,
    Step,
    file_sum,
    former,
)
from memdetect.index.nearest import Embeds, Index, open_index
from memdetect.index.planted import planted
from memdetect.index.rows import RowFile, stored_path
from memdetect.index.search import Engine, Searcher
from memdetect.index.sources import Listed, listed
from memdetect.locks import only_writer
from memdetect.records import write_atomic

LEVEL = 1e-3
HELD_OUT = "held-out left out: "
FILES = frozenset({MANIFEST, VECTORS, ROWS, NULLS, FAISS})


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """How an index is built. Defaults are those of the command.

    factory: None = by size. level: of the threshold; None = that of the index that is appended to, else LEVEL.
    held_out: sources of images known not to be copies; none = leave one out. null_queries: at most so many rows for
    that. planted: at most so many rows are damaged and looked up.
    training_set: how many images the whole training set has, if known; None = as the index that is appended to says.
    existing: what to do with an index that is there. rule: when pixels agree; None = the default. seed: of the lot.
    engine: where FAISS runs, as for `open_index`; None = by system.
    """

    factory: str | None = None
    level: float | None = None
    held_out: Sequence[str | Path] = ()
    null_queries: int = 4999
    planted: int = 200
    batch_size: int = 64
    max_pixels: int = MAX_PIXELS
    existing: Literal["refuse", "append", "replace"] = "refuse"
    rule: CopyRule | None = None
    seed: int = 0
    training_set: int | None = None
    engine: Engine | None = None


def _silent(done: int, planned: int, note: str) -> None:
    """Show no progress."""


def build_index(
    sources: Sequence[str | Path],
    embedder: Embeds,
    folder: Path | str,
    options: BuildOptions | None = None,
    progress: Step = _silent,
) -> Index:
    """Embed images and write an index of them into `folder`; returns it opened.

    sources: what `sources.listed` takes. The folder appears when it is complete; until then its files lie in a hidden
    one beside it. Appending keeps the rows that are there, and calibrates anew. Raises MemdetectError (usage): no
    image, two rows of one key, a folder that is there already, an index of another embedder, another process building.
    """
    options, home = options or BuildOptions(), Path(folder).resolve()
    if options.factory is not None:
        check_factory(options.factory)
    with only_writer(home.parent / f".{home.name}.lock", home):
        _recover(home)
        base = _existing(home, embedder, options)
        planned = _check(sources, home, base)
        if options.factory is not None:
            choose_factory(planned + (len(base) if base else 0), options.factory)  # refused here, not after embedding
        if base and base.manifest.threshold.source == "held-out" and not options.held_out:
            raise MemdetectError(
                f"the threshold of {str(home)!r} rests on {base.manifest.threshold.queries} held-out images, which it "
                "does not keep; give them again with --held-out, or build the whole index anew"
            )
        if options.held_out:
            _check(options.held_out, home, None)
        temporary = home.parent / f".{home.name}.{os.getpid()}.tmp"
        leftover = re.compile(re.escape(f".{home.name}.") + r"\d+\.tmp")
        for stale in [entry for entry in home.parent.iterdir() if leftover.fullmatch(entry.name)]:
            shutil.rmtree(stale, ignore_errors=True)
        try:
            _write(temporary, home, listed(sources), Work(embedder, options, progress, planned, base))
            _move(temporary, home)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return open_index(folder, embedder, engine=options.engine)


@dataclass(frozen=True, slots=True)
class Work:
    """What the steps of a build share. base: the index that is appended to."""

    embedder: Embeds
    options: BuildOptions
    progress: Step
    planned: int
    base: Index | None


def _existing(home: Path, embedder: Embeds, options: BuildOptions) -> Index | None:
    """The index to append to, if any; whatever else is there is an error, or is about to be replaced."""
    if options.existing == "append":
        return open_index(home, embedder, engine=options.engine)
    if not home.exists():
        return None
    if options.existing == "refuse":
        raise MemdetectError(f"{str(home)!r} is there already; choose another --out, or say --append or --replace")
    names = {entry.name for entry in home.iterdir()} if home.is_dir() else set[str]()
    if not {MANIFEST, VECTORS, ROWS} <= names:
        raise MemdetectError(f"{str(home)!r} is no index, so that it is not replaced; choose another --out")
    if foreign := sorted(names - FILES):
        raise MemdetectError(
            f"{str(home / foreign[0])!r} is no file of an index, so that the folder is not replaced; move it away"
        )
    return None


def _check(sources: Sequence[str | Path], home: Path, base: Index | None) -> int:
    """Count the images of the sources before any is opened. MemdetectError for a key that is there twice."""
    keys: dict[bytes, int] = {}  # 16 bytes of a hash instead of the key: what a million rows need stays below 200 MB
    old = range(len(base)) if base else range(0)
    names = (base.row(i).key for i in old) if base else iter(())
    for position, key in enumerate(_chain(names, sources, home)):
        digest = hashlib.sha256(key.encode(errors="surrogatepass")).digest()[:16]
        first = keys.setdefault(digest, position)
        if first != position:
            where = [_place(sources, at - len(old)) if at >= len(old) else "the index" for at in (first, position)]
            raise MemdetectError(f"the key {key!r:.200} is there twice: {where[0]}, and {where[1]}; leave one out")
    return len(keys) - len(old)


def _chain(names: Iterator[str], sources: Sequence[str | Path], home: Path) -> Iterator[str]:
    yield from names
    for entry in listed(sources):
        yield entry.key or stored_path(entry.path, home)


def _place(sources: Sequence[str | Path], position: int) -> str:
    entry: Listed = next(islice(listed(sources), position, None))
    return f"{entry.place} ({str(entry.path)!r})"


def recover(folder: Path) -> None:
    """Put an index back that a build, ended between its two renames, left under another name; else do nothing.

    Raises MemdetectError while another process builds there.
    """
    home = folder.resolve()
    if former(home).exists() and not home.exists():
        with only_writer(home.parent / f".{home.name}.lock", home):
            _recover(home)


def _recover(home: Path) -> None:
    if former(home).exists():  # a build ended between its two renames, or just after them
        _remove(former(home)) if home.exists() else former(home).rename(home)


def _write(folder: Path, home: Path, entries: Iterator[Listed], work: Work) -> None:
    """Write all files of an index into `folder`, the manifest last."""
    draft, base = Draft(folder, home, work.embedder.dim), work.base
    intake = Intake(work.embedder, home, work.options.batch_size, work.options.max_pixels)
    if base:
        draft.take(base.folder, len(base))
        intake.skipped.update(base.manifest.skipped)
        intake.noted.update({k: n for k, n in base.manifest.noted.items() if not k.startswith(HELD_OUT)})
    told = work.options.training_set or (base.manifest.training_set if base else None)
    for batch in intake.batches(entries):
        draft.add(np.stack([taken.vector for taken in batch]), [taken.row for taken in batch])
        if told is not None and told < draft.count:
            said = f"the training set is said to have {told} images, the index has {draft.count} or more"
            raise MemdetectError(f"{said}; correct --training-set")
        work.progress(intake.seen, work.planned, "")
    draft.close()
    if not draft.count:
        raise MemdetectError(f"none of {intake.seen} images could be used; the first: {intake.first}")
    factory, nprobe = choose_factory(draft.count, work.options.factory or (base.manifest.factory if base else None))
    work.progress(intake.seen, work.planned, f"{draft.count} images; writing the index ({factory}) and its threshold")
    searcher = Searcher(folder, draft.count, draft.dim, factory, nprobe, work.options.engine)
    write_faiss(folder, draft.count, draft.dim, factory, searcher.engine)
    copies = Copies(RowFile(folder / ROWS), folder, work.options.rule or CopyRule())
    _finish(searcher, copies, intake, work, told)


def _finish(searcher: Searcher, copies: Copies, intake: Intake, work: Work, training_set: int | None) -> None:
    """Calibrate, look up planted copies, and write the null and the manifest."""
    folder, options, embedder = searcher.folder, work.options, work.embedder
    null = _null(searcher, copies, work, intake.noted)
    level = options.level or (work.base.manifest.threshold.level if work.base else LEVEL)
    limit = threshold(null, level, searcher.count, bool(options.held_out))
    recall = planted(searcher, copies, embedder, limit.similarity, options.planted, options.seed)
    write_atomic(folder / NULLS, json.dumps(null[0]) + "\n")
    own: tuple[FileName, ...] = () if searcher.factory == "Flat" else (FAISS,)
    manifest = Manifest(
        memdetect=__version__,
        embedder=EmbedderName(name=embedder.name, fingerprint=embedder.fingerprint, dim=embedder.dim),
        count=searcher.count,
        training_set=training_set,
        factory=searcher.factory,
        nprobe=searcher.nprobe,
        skipped=dict(sorted(intake.skipped.items())),
        noted=dict(sorted(intake.noted.items())),
        threshold=limit,
        planted=recall,
        files={name: file_sum(folder / name) for name in (VECTORS, ROWS, NULLS, *own)},
    )
    write_atomic(folder / MANIFEST, manifest.sealed().text())


def _null(searcher: Searcher, copies: Copies, work: Work, noted: Counter[str]) -> Null:
    """The null of the options; held-out images that could not be used are counted in `noted`."""
    options = work.options
    if not options.held_out:
        return leave_one_out(searcher, copies, options.null_queries, options.seed)
    intake = Intake(work.embedder, copies.folder, options.batch_size, options.max_pixels)
    null = held_out(searcher, copies, intake.batches(listed(options.held_out)))
    if sum(intake.skipped.values()) == intake.seen:
        raise MemdetectError(f"none of {intake.seen} held-out images could be used; the first: {intake.first}")
    noted.update({f"{HELD_OUT}{reason}": number for reason, number in intake.skipped.items()})
    return null


def _move(temporary: Path, home: Path) -> None:
    """Put the finished folder in its place. Where one is replaced, there is none for the time of a rename."""
    if home.exists():
        home.rename(former(home))
    temporary.rename(home)
    if former(home).exists():
        _remove(former(home))


def _remove(folder: Path) -> None:
    """Delete the files of an index and their folder; whatever else lies in it stays, with the folder."""
    for name in FILES:
        (folder / name).unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()
