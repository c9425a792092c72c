"""Files are read within a limit and never waited for, written whole or not at all; nothing is left of a killed one."""

import errno
import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from memdetect import locks
from memdetect.errors import MemdetectError
from memdetect.files import (
    clear_leftovers,
    host,
    read_given,
    read_regular,
    read_text,
    temporary_of,
    write_atomic,
)
from memdetect.locks import only_writer


def began(number: int) -> int:
    """When a process began, in ticks; 1 for one that is gone."""
    path = Path(f"/proc/{number}/stat")
    return int(path.read_bytes().rpartition(b")")[2].split()[19]) if path.exists() else 1


def held(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@contextmanager
def locking(patch: pytest.MonkeyPatch, number: int) -> Iterator[list[int]]:
    """Have each try to lock fail with an error; the descriptors that were tried."""
    tries: list[int] = []

    def flock(descriptor: int, _how: int) -> None:
        tries.append(descriptor)
        raise OSError(number, os.strerror(number))

    patch.setattr(fcntl, "flock", flock)
    patch.setattr(locks, "POLL", 0.0)
    yield tries


def test_a_file_is_read_up_to_its_limit_and_refused_above(tmp_path: Path) -> None:
    (path := tmp_path / "f").write_bytes(b"0123456789")
    assert read_regular(path, 10) == b"0123456789"
    with pytest.raises(MemdetectError, match="is 10 bytes, more than 9; name a regular file"):
        read_regular(path, 9)


def test_a_file_that_is_larger_than_memory_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (path := tmp_path / "sparse").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(MemdetectError, match="is 1,099,511,627,776 bytes, more than"):
        read_regular(path)


@pytest.mark.parametrize("kind", ["pipe", "device", "link to a device"])
def test_a_pipe_and_a_device_are_refused_and_not_waited_for(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "p"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path = Path("/dev/zero")
    else:
        path.symlink_to("/dev/zero")
    for read in (read_regular, read_text, lambda path: read_given(path, 10)):
        with pytest.raises(MemdetectError, match="is a pipe or a device; name a regular file"):
            read(path)


def test_a_pipe_of_the_shell_is_read_up_to_the_limit() -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as file:
        file.write(b"0123456789")
    with os.fdopen(reading, "rb"):
        assert read_given(Path(f"/dev/fd/{reading}"), 4) == b"01234"


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        read_regular(tmp_path)


def test_a_written_file_takes_the_place_of_a_link_and_leaves_what_it_led_to(tmp_path: Path) -> None:
    (theirs := tmp_path / "theirs").write_text("keep", encoding="utf-8")
    (path := tmp_path / "out").symlink_to(theirs)
    temporary_of(path).symlink_to(theirs)
    write_atomic(path, "new")
    assert (path.read_text(encoding="utf-8"), path.is_symlink()) == ("new", False)
    assert theirs.read_text(encoding="utf-8") == "keep"
    assert held(tmp_path) == ["out", "theirs"]


def test_a_lock_is_not_made_through_a_link(tmp_path: Path) -> None:
    (theirs := tmp_path / "theirs").write_text("keep", encoding="utf-8")
    (tmp_path / ".lock").symlink_to(theirs)
    with pytest.raises(MemdetectError, match="cannot write to"), only_writer(tmp_path / ".lock", tmp_path):
        pass
    assert theirs.read_text(encoding="utf-8") == "keep"


@pytest.mark.parametrize("name", ["ENOSYS", "ENOLCK", "EOPNOTSUPP", "EINVAL"])
def test_a_disk_without_locks_is_written_without_one(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of Lustre without flock, NFS without lockd, and some FUSE."""
    with locking(monkeypatch, getattr(errno, name)), only_writer(tmp_path / ".lock", tmp_path, lambda: False):
        (tmp_path / ".lock").unlink()  # of another writer that has none either
    assert held(tmp_path) == []


@pytest.mark.parametrize("name", ["EWOULDBLOCK", "EACCES"])
def test_a_lock_that_another_holds_is_waited_for_or_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([True, True, False])
    with locking(monkeypatch, getattr(errno, name)) as tries:
        for waiting in (None, lambda: next(answers)):
            with (
                pytest.raises(MemdetectError, match="another process is writing to"),
                only_writer(tmp_path / ".lock", tmp_path, waiting),
            ):
                pass
    assert len(tries) == 1 + 3


def test_a_lock_that_fails_otherwise_is_said_and_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        locking(monkeypatch, errno.EIO),
        pytest.raises(MemdetectError, match=r"cannot write to .*: Input/output error; choose another --out"),
        only_writer(tmp_path / ".lock", tmp_path, lambda: True),
    ):
        pass


@pytest.mark.parametrize("waiting", [None, lambda: True])
def test_a_lock_that_its_holder_removed_is_made_anew(
    waiting: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ended between the opening and the locking: nobody is writing any more."""
    usual, tries = fcntl.flock, list[int]()

    def late(descriptor: int, how: int) -> None:
        tries.append(descriptor)
        if len(tries) < 3:
            (tmp_path / ".lock").unlink()
        if len(tries) == 2:
            (tmp_path / ".lock").touch()  # and the next one has begun
        usual(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with only_writer(tmp_path / ".lock", tmp_path, waiting):
        assert len(tries) == 3


def test_a_full_disk_is_named_with_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_number: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device") as told:
        write_atomic(tmp_path / "out", "text")
    assert told.value.filename == str(tmp_path / "out")
    assert held(tmp_path) == []


def test_what_killed_processes_left_is_deleted_and_nothing_of_a_living_one(tmp_path: Path) -> None:
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", "input()"], **pipes) as living:
        with subprocess.Popen([sys.executable, "-c", ""]) as ended:
            ended.wait()
        names = {n: tmp_path / f".r.jsonl.{host()}.{n}-{began(n)}.tmp" for n in (living.pid, ended.pid)}
        names[0] = tmp_path / f".r.jsonl.{host()}.{living.pid}-{began(living.pid) - 1}.tmp"  # of a former one
        for path in (*names.values(), tmp_path / "my.1.tmp", tmp_path / ".hidden"):
            path.write_text("x", encoding="utf-8")
        clear_leftovers(tmp_path)
        assert held(tmp_path) == sorted([".hidden", names[living.pid].name, "my.1.tmp"])
        living.communicate(b"\n")
    clear_leftovers(tmp_path / "not there")
