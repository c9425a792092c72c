"""Whether the files of a model hold all of its weights: what they lack, some libraries draw at random and go on."""

import logging
import re
from collections.abc import Generator
from contextlib import contextmanager

from memdetect.errors import MemdetectError

_LIBRARY = "transformers"
_REPORT = re.compile(r"^\s*(\S+)\s*\|\s*(?:\x1b\[\d+m)*MISSING", re.MULTILINE)  # of version 5: a line a weight
_WARNING = re.compile(r"newly initialized: \[(.*?)\]", re.DOTALL)  # of older ones: a list


class _Heard(logging.Handler):
    """Keeps the names of weights that a library says it drew at random."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lacking: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Read one message."""
        said = re.sub(r"\x1b\[[\d;]*m", "", record.getMessage())
        self.lacking += _REPORT.findall(said)
        for named in _WARNING.findall(said):
            self.lacking += [name.strip(" '\"") for name in named.split(",")]


@contextmanager
def drawing_no_weights() -> Generator[None]:
    """While the body opens networks: MemdetectError (usage) where transformers drew weights that their files lack.

    It says so in its log alone, which nobody else hears meanwhile.
    """
    log, heard = logging.getLogger(_LIBRARY), _Heard()
    handlers, level, propagate = log.handlers, log.level, log.propagate
    log.handlers, log.propagate = [heard], False
    log.setLevel(logging.WARNING)
    try:
        yield
    finally:
        log.handlers, log.propagate = handlers, propagate
        log.setLevel(level)
    if heard.lacking:
        said = f"{len(heard.lacking)} tensors of a network of transformers, such as {heard.lacking[0]!r:.120}"
        raise MemdetectError(f"{said}, are in none of its files; fetch them again")
