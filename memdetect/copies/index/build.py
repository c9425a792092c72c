"""Build an index folder: in a folder beside it, whole or not at all, one writer at a time."""

import os
import re
import shutil
from collections.abc import Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path

from memdetect.copies.index.distinct import Keys, twice
from memdetect.copies.index.draft import check_factory, choose_factory
from memdetect.copies.index.embedder_protocol import Embeds, codes_of
from memdetect.copies.index.feeds import Feed, Files
from memdetect.copies.index.manifest import CODES, ENTRIES, FAISS, MANIFEST, REFERENCE, ROWS, VECTORS, Step, former
from memdetect.copies.index.nearest import Index, open_index
from memdetect.copies.index.write import BuildOptions, Work, write
from memdetect.copies.match import picture_of
from memdetect.errors import MemdetectError
from memdetect.files import real
from memdetect.locks import only_writer

FILES = frozenset({MANIFEST, VECTORS, CODES, ROWS, REFERENCE, FAISS, ENTRIES})


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
    return build_of(Files(sources), embedder, folder, options, progress)


def build_of(
    feed: Feed, embedder: Embeds, folder: Path | str, options: BuildOptions | None = None, progress: Step = _silent
) -> Index:
    """`build_index` of rows from anywhere. Raises as it does."""
    options, home = options or BuildOptions(), real(folder)
    check_options(options)
    if options.factory is not None:
        check_factory(options.factory)
    with only_writer(home.parent / f".{home.name}.lock", home):
        _recover(home)
        base = _existing(home, embedder, options)
        _fits(base, home, options)
        planned, listing = _check(feed, home, base)
        if options.factory is not None and options.rank.whole:
            # Refused here, not after embedding.
            choose_factory(planned + (len(base) if base else 0), options.factory, codes_of(embedder) is not None)
        if options.held_out:
            _check(Files(options.held_out), home, None)
        own = len(range(options.rank.rank, planned, options.rank.world))
        temporary = home.parent / f".{home.name}.{os.getpid()}.tmp"
        leftover = re.compile(re.escape(f".{home.name}.") + r"\d+\.tmp")
        for stale in [entry for entry in home.parent.iterdir() if leftover.fullmatch(entry.name)]:
            shutil.rmtree(stale, ignore_errors=True)
        try:
            write(temporary, home, feed, Work(embedder, options, progress, own, base, listing))
            _move(temporary, home)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return open_index(folder, embedder, engine=options.engine, parts=True)


def check_options(options: BuildOptions) -> None:
    """Refuse options that contradict each other, and what does not say how training made squares."""
    if options.append and options.replace:
        raise MemdetectError("--append and --replace exclude each other; give one of them")
    if not options.rank.whole and (options.append or options.held_out):
        given = "--append" if options.append else "--held-out"
        raise MemdetectError(f"a part of an index takes no {given}; give it to index merge, or without --world")
    if options.trust and not options.held_out:
        raise MemdetectError("--trust-held-out says how --held-out images are taken, and none are given; give them")
    _ = options.squares


def _fits(base: Index | None, home: Path, options: BuildOptions) -> None:
    """Refuse to append what needs held-out images that are not given, or another way of making squares."""
    if base is None:
        return
    held = base.manifest
    if held.threshold.source == "held-out" and not options.held_out:
        raise MemdetectError(
            f"the threshold of {str(home)!r} rests on {held.threshold.queries} held-out images, which it does not "
            "keep; give them again with --held-out, or build the whole index anew"
        )
    if held.tightened and not options.trust:
        raise MemdetectError(
            f"the copy rule of {str(home)!r} rests on held-out images that were trusted; give --trust-held-out again, "
            "or build the whole index anew"
        )
    squares = options.squares
    if squares not in (None, held.as_trained):
        made = f"as trained at {held.as_trained.text}" if held.as_trained else "of whole pictures"
        raise MemdetectError(
            f"{str(home)!r} was made {made}, and cannot be continued as trained at {squares.text}; leave "
            "--as-trained out, or build the whole index anew"
        )


def _existing(home: Path, embedder: Embeds, options: BuildOptions) -> Index | None:
    """The index to append to, if any; whatever else is there is an error, or is about to be replaced."""
    if options.append:
        return open_index(home, embedder, engine=options.engine)
    if not home.exists():
        return None
    if not options.replace:
        raise MemdetectError(f"{str(home)!r} is there already; choose another --out, or say --append or --replace")
    names = {entry.name for entry in home.iterdir()} if home.is_dir() else set[str]()
    if not {MANIFEST, ROWS} <= names or not {VECTORS, CODES} & names:
        raise MemdetectError(f"{str(home)!r} is no index, so that it is not replaced; choose another --out")
    if foreign := sorted(names - FILES):
        raise MemdetectError(
            f"{str(home / foreign[0])!r} is no file of an index, so that the folder is not replaced; move it away"
        )
    return None


def _check(feed: Feed, home: Path, base: Index | None) -> tuple[int, str]:
    """Count the images of a feed before any is opened, and digest their keys. MemdetectError for a key twice."""
    keys, own = Keys(), Keys()
    for row in base.rows if base else ():
        keys.add(row.key)
    old = len(keys)
    for position, key in enumerate(feed.names(home)):
        if feed.plain and picture_of(key) != key:
            place = feed.place(position)
            raise MemdetectError(f"the key {key!r:.200} ends as those of crops and decodings; rename it: {place}")
        keys.add(key)
        own.note(key)
    names = chain((row.key for row in base.rows) if base else (), feed.names(home))
    if (found := twice(keys, names)) is not None:
        places, key = found
        where = [feed.place(at - old) if at >= old else "the index" for at in places]
        raise MemdetectError(f"the key {key!r:.200} is there twice: {where[0]}, and {where[1]}; leave one out")
    return len(keys) - old, own.listing


def recover(folder: Path) -> None:
    """Put an index back that a build, ended between its two renames, left under another name; else do nothing.

    Raises MemdetectError while another process builds there.
    """
    home = real(folder)
    if former(home).exists() and not home.exists():
        with only_writer(home.parent / f".{home.name}.lock", home):
            _recover(home)


def _recover(home: Path) -> None:
    if former(home).exists():  # a build ended between its two renames, or just after them
        _remove(former(home)) if home.exists() else former(home).rename(home)


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
