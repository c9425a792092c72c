"""The one error class and the exit codes; every message says what was found, what was expected and what to do."""

from enum import IntEnum


class Exit(IntEnum):
    """What the process says to its caller; when several hold: 2, 4, 130/143, 1, 3, 0."""

    OK = 0
    FAILED = 1
    USAGE = 2
    INCONCLUSIVE = 3
    ERROR = 4
    INTERRUPTED = 130
    TERMINATED = 143


class MemdetectError(Exception):
    """A problem that its reader can act on: one line, no traceback.

    `exit` is the process's exit code when nobody catches it: usage (2) for what the caller gave, error (4) for
    what went wrong on the way.
    """

    def __init__(self, message: str, exit: Exit = Exit.USAGE) -> None:
        super().__init__(message)
        self.exit = exit
