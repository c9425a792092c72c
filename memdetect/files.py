"""Files that are written whole or not at all, and folders that one process writes to at a time."""

import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from memdetect.errors import MemdetectError


@contextmanager
def only_writer(lock: Path, folder: Path) -> Generator[None]:
    """Keep other writers out of `folder` through the file `lock`, which is made, and removed when the body ends.

    Raises MemdetectError (usage) when another process holds the lock, or when the file cannot be made.
    """
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        opened = lock.open("w")
    except OSError as problem:
        raise MemdetectError(f"cannot write to {folder}: {problem.strerror}; choose another --out") from None
    with opened as file:
        if not _lock(file.fileno(), lock):
            raise MemdetectError(f"another process is writing to {folder}; wait for it or choose another --out")
        try:
            yield
        finally:
            with suppress(OSError):  # gone with its folder, or open on Windows
                lock.unlink()


def _lock(descriptor: int, path: Path) -> bool:
    """Lock an open file; False when another process did, or removed this very file as it ended."""
    try:
        import fcntl
    except ImportError:  # no such lock on Windows; two writers would still not corrupt a finished file
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.fstat(descriptor).st_ino == path.stat().st_ino
    except OSError:
        return False


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write a file through a synced temporary one beside it: readers see the old content or the new, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def did_you_mean(path: Path) -> str:
    """`did you mean 'NAME'? ` where a file or folder beside a path that is not there is called nearly like it; else "".

    Only the folder that the path names is listed. Raises nothing.
    """
    from difflib import get_close_matches

    try:
        names = sorted(entry.name for entry in os.scandir(path.parent))
    except (OSError, ValueError):
        return ""
    close = get_close_matches(path.name, names, n=1, cutoff=0.7)
    return f"did you mean {str(path.parent / close[0])!r}? " if close and close[0] != path.name else ""
