"""Files that are read within a limit, files that are written whole or not at all."""

import errno
import hashlib
import os
import re
import socket
import stat
from collections.abc import Generator
from contextlib import contextmanager, suppress
from functools import cache
from io import BufferedReader
from pathlib import Path

from memdetect.errors import MemdetectError

LARGEST = 2**30  # bytes of a file that is read as a whole
SMALL = 2**24  # of one that people write, such as a policy
LEFT = re.compile(r"\..+\.([\w-]+)\.(\d+)-(\d+)\.tmp")  # a temporary file, with the process that writes it
NO_LINKS = (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK, errno.EXDEV, errno.EACCES, errno.EINVAL)
NUMBERS, MACHINES_OWN = (
    "/proc/self/ns/pid",
    0xEFFFFFFC,
)  # what numbers this process, and which does on the machine itself
GIVEN = re.compile(r"/(dev|proc/self)/fd/\d+|/dev/stdin")  # what a shell makes of <(command)


@cache
def host() -> str:
    """The name of this machine, of letters, digits, - and _ only; a long one is cut, and told apart by its hash.

    A container that numbers its processes itself is a machine of its own, whatever it is called.
    """
    name = socket.gethostname() + _numbers()
    plain = re.sub(r"[^A-Za-z0-9_-]", "-", name)[:32] or "-"
    return plain if plain == name else f"{plain[:23]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _numbers() -> str:
    """What numbers the processes of this one's container; "" where it is the machine, or the system does not tell."""
    try:
        found = os.stat(NUMBERS).st_ino  # noqa: PTH116 - no file, which a path would be
    except OSError:
        return ""
    return "" if found == MACHINES_OWN else f" {found}"


def process() -> str:
    """This process as names of files call it: HOST.PID-START. START counts from the start of the machine, not a clock.

    A later process of the same number on a machine of the same name has another START, where the system tells it.
    """
    return f"{host()}.{os.getpid()}-{_started(os.getpid())}"


def lives(number: int, started: int) -> bool:
    """Whether the process of this machine with this number and START still runs, as far as can be told."""
    return _runs(number) and (not started or _started(number) == started)


def _started(number: int) -> int:
    """When a process began, in ticks since the machine did; 0 where the system does not tell (no /proc)."""
    try:
        with open(f"/proc/{number}/stat", "rb") as file:  # noqa: PTH123
            return int(file.read().rpartition(b")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return 0


def read_regular(path: Path, most: int = LARGEST) -> bytes:
    """The bytes of a regular file, at most `most`. A pipe or a device is not waited for.

    Raises MemdetectError (usage) for anything but a file and for a larger one, OSError as opening does.
    """
    with open_regular(path, most) as file:
        return file.read(most + 1)


def read_text(path: Path, most: int = LARGEST) -> str:
    """A regular file as text: UTF-8, without its byte order mark, lines ending in LF. Raises as `read_regular`."""
    return read_regular(path, most).decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")


def open_regular(path: Path, most: int | None = None) -> BufferedReader:
    """A regular file, opened to be read; with `most`, of at most so many bytes. Raises as `read_regular`."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    state = os.fstat(descriptor)
    large = most is not None and state.st_size > most
    if not stat.S_ISREG(state.st_mode) or large:
        os.close(descriptor)
        if stat.S_ISDIR(state.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        found = f"{state.st_size:,} bytes, more than {most:,}" if large else "a pipe or a device"
        raise MemdetectError(f"{str(path)!r} is {found}; name a regular file")
    return os.fdopen(descriptor, "rb")


def read_given(path: Path, most: int) -> bytes:
    """The bytes of a regular file, or of a pipe that a shell made of `<(command)`; at most one more than `most`.

    Raises MemdetectError (usage) for any other pipe and for a device, OSError as opening does.
    """
    with open(path, "rb") if GIVEN.fullmatch(str(path)) else open_regular(path) as file:  # noqa: PTH123
        return file.read(most + 1)


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write a file through a synced temporary one beside it: readers see the old content or the new, never a part.

    A link is replaced, not followed. Raises OSError that names the file.
    """
    data = content.encode() if isinstance(content, str) else content
    with written(path) as temporary:
        _put(temporary, data)


def write_new(path: Path, content: str | bytes) -> bool:
    """Write a file that nobody has written yet, whole or not at all; False, and nothing changed, if it is there.

    Of several writers, on one machine or many, the first wins. Both the file and its name are synced. Where the disk
    has no links, one that is written in the same instant may be replaced. Raises OSError that names the file.
    """
    data = content.encode() if isinstance(content, str) else content
    if os.path.lexists(path):
        return False
    temporary = temporary_of(path)
    try:
        with named(path):
            temporary.unlink(missing_ok=True)
            _put(temporary, data)
            made = _linked(temporary, path)
            sync_folder(path.parent)
            return made
    finally:
        temporary.unlink(missing_ok=True)


def _linked(temporary: Path, path: Path) -> bool:
    """Give a file its name unless another has it; False if so."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        # A server whose answer was lost is asked again, and finds the link that it made.
        return temporary.stat().st_nlink > 1
    except OSError as problem:
        if problem.errno not in NO_LINKS:
            raise
        if os.path.lexists(path):
            return False
        temporary.replace(path)
    return True


def _put(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Have the names in a folder reach the disk, where the system can be asked to."""
    with suppress(OSError):  # Windows opens no folder, and some file systems do not sync one
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def temporary_of(path: Path) -> Path:
    """What this process calls a file that is to become `path`."""
    return path.with_name(f".{path.name}.{process()}.tmp")


@contextmanager
def written(path: Path) -> Generator[Path]:
    """A name beside `path` to write to; the file takes the place of `path` when the body ends, and is gone if it fails.

    Raises OSError that names `path`, whatever the body was writing.
    """
    temporary = temporary_of(path)
    try:
        with named(path):
            temporary.unlink(missing_ok=True)  # of a killed process of this number; if it is a link, never followed
            yield temporary
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def named(path: Path) -> Generator[None]:
    """Have an OSError of the body name the file that was written: of a full disk, it names none by itself."""
    try:
        yield
    except OSError as problem:
        if problem.errno is None:
            raise
        raise OSError(problem.errno, problem.strerror, str(path)) from None


def clear_leftovers(folder: Path) -> None:
    """Delete the temporary files that killed processes of this machine left in a folder; all others stay."""
    try:
        found = [(entry, LEFT.fullmatch(entry.name)) for entry in os.scandir(folder)]
    except OSError:
        return
    for entry, left in found:
        if left and left[1] == host() and not lives(int(left[2]), int(left[3])):
            with suppress(OSError):
                os.unlink(entry.path)  # noqa: PTH108 - a link itself, not what it leads to


def _runs(process: int) -> bool:
    """Whether a process of this number runs, as far as can be told."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # another user's
        return True
    return True


def real(path: Path | str) -> Path:
    """Where a path leads, links followed; of links in a circle the path as it is, where `Path.resolve` is an error."""
    return Path(os.path.realpath(path))


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
