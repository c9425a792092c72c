"""Who is at which shard, and who died at it: a file for each attempt, made before and removed after.

No clock is asked. An attempt is a file KEY.HOST.PID-START; KEY names a shard, or some items of one that is cut up.
"""

import os
import re
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from memdetect.files import host, lives, process

NAME = re.compile(r"(?P<key>[\d_-]+)\.(?P<host>[\w-]+)\.(?P<number>\d+)-(?P<started>\d+)")


@dataclass(frozen=True, slots=True)
class Attempt:
    """Somebody's attempt at `key`. state: `dead` or `alive` of this machine, `unknown` of another."""

    name: str
    key: str
    state: str


class Attempts:
    """The attempts of a run, in its folder `attempts`.

    A worker of this machine is dead when no process has its number, or one that began at another time. Of a worker of
    another machine nothing is known.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def begin(self, key: str) -> None:
        """Say that this process is at `key`. Raises OSError."""
        self.folder.mkdir(exist_ok=True)
        os.close(os.open(self.folder / f"{key}.{process()}", os.O_WRONLY | os.O_CREAT, 0o666))

    def end(self, key: str) -> None:
        """Say that it no longer is."""
        with suppress(OSError):
            (self.folder / f"{key}.{process()}").unlink()

    def held(self, *, own: bool = False) -> list[Attempt]:
        """All attempts, those of this process only with `own`."""
        mine = f".{process()}"
        try:
            names = [entry.name for entry in os.scandir(self.folder)]
        except FileNotFoundError:
            return []
        found = [(name, NAME.fullmatch(name)) for name in names if own or not name.endswith(mine)]
        return [Attempt(name, match["key"], _state(match)) for name, match in found if match]

    def forget(self, names: Collection[str]) -> None:
        """Remove attempts that count for nothing any more."""
        for name in names:
            with suppress(OSError):
                (self.folder / name).unlink()


def _state(found: re.Match[str]) -> str:
    if found["host"] != host():
        return "unknown"
    return "alive" if lives(int(found["number"]), int(found["started"])) else "dead"
