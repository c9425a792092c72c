"""Folders with one writer at a time, where the disk has locks."""

import errno
import os
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from memdetect.errors import MemdetectError

NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL)  # of a disk that has none
HELD = (errno.EWOULDBLOCK, errno.EACCES)
GONE = (errno.ENOENT, errno.ESTALE)  # the second where another machine removed it
POLL = 0.2  # seconds between two tries to lock
RENEWED = 100  # times that a lock is made anew without a pause, as others remove it


@contextmanager
def only_writer(lock: Path, folder: Path, waiting: Callable[[], bool] | None = None) -> Generator[None]:
    """Keep other writers out of `folder` through the file `lock`, which is made, and removed when the body ends.

    waiting: asked several times a second while another process holds the lock; with it the lock is waited for until
    it answers False. A disk without locks keeps nobody out. Raises MemdetectError (usage) when another process holds
    the lock, or when the file cannot be made or locked.
    """
    while not _opened_and_locked(lock, folder, opened := list[int]()):
        if waiting is None or not waiting():
            raise MemdetectError(f"another process is writing to {folder}; wait for it or choose another --out")
        time.sleep(POLL)
    with os.fdopen(opened[0], "r+"):
        try:
            yield
        finally:
            with suppress(OSError):  # gone with its folder, or open on Windows
                lock.unlink()


def _opened_and_locked(lock: Path, folder: Path, opened: list[int]) -> bool:
    """Open a file and lock it, its number put into `opened`; False when another process holds it.

    One that another process removes meanwhile, as it ends, is opened anew.
    """
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        for _ in range(RENEWED):
            # Not through a link, which may lead to a file of somebody's.
            opened.append(os.open(lock, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666))
            held, there = _lock(opened[0], lock)
            if held and there:
                return True
            os.close(opened.pop())
            if not held:
                return False
    except OSError as problem:
        for descriptor in opened:
            os.close(descriptor)
        raise MemdetectError(f"cannot write to {folder}: {problem.strerror}; choose another --out") from None
    return False


def _lock(descriptor: int, path: Path) -> tuple[bool, bool]:
    """Lock an open file; whether no other process holds it, and whether it is there still under its name.

    Without locks both are taken for granted: two writers would still not corrupt a finished file. Raises OSError.
    """
    try:
        import fcntl
    except ImportError:  # Windows has no such lock
        return True, True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True, os.fstat(descriptor).st_ino == path.stat().st_ino
    except OSError as problem:
        if problem.errno in NO_LOCKS:
            return True, True
        if problem.errno in HELD:
            return False, True
        if problem.errno in GONE:
            return True, False
        raise
