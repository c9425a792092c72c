"""The journal of a run: what each of its processes did, one JSON object a line, a file for each process."""

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from memdetect.files import named, open_regular, process, sync_folder

FOLDER = "journal"
SHARD = "shard"  # the event that holds the digest of a shard
POLICY_NOTED = "policy"  # the event that names the `file` of the policy that a run is planned with


class Journal:
    """The journals in a run folder: machines that append to one file of a network disk would mix their lines."""

    def __init__(self, run: Path) -> None:
        self.folder = run / FOLDER

    def note(self, event: str, **facts: Any) -> None:
        """Append an event with time and host to this process's own file, below a line that a crash may have cut.

        That of a shard is synced: the shard, which is synced as well, is not to be there without it.
        """
        line = {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "host": socket.gethostname()}
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        with named(self.own):
            self.folder.mkdir(exist_ok=True)
            with os.fdopen(os.open(self.own, flags, 0o666), "a+b") as file:
                held = file.seek(0, os.SEEK_END)
                file.seek(max(0, held - 1))
                cut = file.read(1) not in (b"", b"\n")
                file.write(b"\n" * cut + json.dumps({**line, "event": event, **facts}).encode() + b"\n")
                if event == SHARD:
                    file.flush()
                    os.fsync(file.fileno())
            if not held:
                sync_folder(self.folder)

    def events(self) -> Iterator[dict[str, Any]]:
        """The events of all processes, those of one in their order, without lines that a crash has cut."""
        for path in self.files():
            for line in _lines(path):
                with suppress(ValueError, RecursionError):
                    found = json.loads(line)
                    if isinstance(found, dict):
                        yield {str(key): value for key, value in found.items()}

    def torn(self) -> str:
        """A line where a journal holds some that a crash has cut, which count for nothing; else ""."""
        count = sum(len(_lines(path)) for path in self.files()) - sum(1 for _ in self.events())
        return f"{self.folder}: left out {count} line{'s' * (count > 1)} that a crash cut off" if count else ""

    @property
    def own(self) -> Path:
        """The file of this process."""
        return self.folder / f"{process()}.jsonl"

    def files(self) -> list[Path]:
        """The file of each process that took part, by name."""
        return sorted(self.folder.glob("*.jsonl"))


def _lines(path: Path) -> list[bytes]:
    with open_regular(path) as file:
        return file.read().splitlines()
