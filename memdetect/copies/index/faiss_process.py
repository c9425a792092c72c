"""FAISS in a process of its own, which imports neither torch nor memdetect, whatever this one has imported.

The script faiss_work.py beside this file is started, not a copy of this process and not its main module. Requests and
answers go through its stdin and stdout: at most a block of queries in memory; vectors and indexes are shared as files.
"""

import os
import signal
import subprocess
import sys
import threading
import weakref
from contextlib import suppress
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from memdetect.copies.index import faiss_work
from memdetect.errors import Exit, MemdetectError

PATIENCE = 5  # seconds until a process that was told to end is killed


class FaissProcess:
    """A running `faiss_work.serve`. It ends with this object, with this process, or on an exchange that was broken off.

    Raises MemdetectError (error) where it cannot be started.
    """

    def __init__(self) -> None:
        command = [sys.executable, "-P", faiss_work.__file__]  # -P: beside the script lie modules of common names
        try:
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        except OSError as problem:
            text = f"FAISS's process cannot be started ({problem}); check that {sys.executable!r} runs"
            raise MemdetectError(text, Exit.ERROR) from None
        self._owner, self._lock = os.getpid(), threading.Lock()
        self._end = weakref.finalize(self, _end, self._process)

    @property
    def usable(self) -> bool:
        """Whether it may be asked: it was not ended, and this process is the one that started it, not a fork."""
        return self._end.alive and self._owner == os.getpid()

    def ask(self, request: dict[str, Any], queries: NDArray[Any] | None = None) -> NDArray[np.int64]:
        """Send a request and wait for the answer; one thread at a time.

        Raises MemdetectError: usage for a file that FAISS refuses, error for anything else that fails there, and where
        the process dies. It does not wait for a dead one.
        """
        with self._lock:
            try:
                faiss_work.send(cast(BinaryIO, self._process.stdin), request, queries)
                header, rows = faiss_work.receive(cast(BinaryIO, self._process.stdout))
            except (OSError, EOFError, ValueError):
                raise MemdetectError(self._fate(), Exit.ERROR) from None
            except BaseException:  # an interrupt: the answer to come would be taken for the next request's
                self._end()
                raise
        if "refusal" in header:
            raise MemdetectError(header["refusal"])
        if "error" in header:
            raise MemdetectError(f"FAISS failed in its process ({header['error']}); report it if it stays", Exit.ERROR)
        return rows

    def close(self) -> None:
        """End the process."""
        self._end()

    def _fate(self) -> str:
        """How it came to its end; it is ended if it only broke the pipe."""
        try:
            code = self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            code = None
        self._end()
        how = "it closed its pipe" if code is None else f"exit code {code}"
        if code is not None and code < 0:
            known = {item.value: item.name for item in signal.Signals}
            how = f"signal {-code}, {known.get(-code, 'unknown')}"
        return f"FAISS's process ended before it answered ({how}); free memory if it ran out, and run the command again"


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Close the pipe, which ends the process; kill it if another one holds the pipe open."""
    for pipe in (process.stdin, process.stdout):
        with suppress(OSError):  # what was still to be sent goes nowhere
            cast(BinaryIO, pipe).close()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Elsewhere:
    """The candidates of `faiss_work.OPENS[opens](**given)`, found in a process of its own.

    The process starts with the first search, and anew with the first after it ended. Raises as `FaissProcess.ask`.
    """

    def __init__(self, opens: str, **given: Any) -> None:
        self.opening = {"do": opens, "given": given}
        self.process: FaissProcess | None = None

    def __call__(self, queries: NDArray[Any], k: int) -> NDArray[np.int64]:
        """Rows of candidates for each query."""
        process = self.process
        if process is None or not process.usable:
            process = FaissProcess()
            process.ask(self.opening)
            self.process = process
        return process.ask({"do": "search", "k": k}, queries)


def write(**given: Any) -> None:
    """`faiss_work.write(**given)` in a process of its own, which ends with it. Raises as `FaissProcess.ask`."""
    process = FaissProcess()
    try:
        process.ask({"do": "write", "given": given})
    finally:
        process.close()
