"""Where measurements were read: the shards of a run as they were when they were judged."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from memdetect.errors import Exit, MemdetectError
from memdetect.files import read_regular
from memdetect.runs.records import Measurement


@dataclass(slots=True)
class Shards:
    """The shards of a run as they were when they were judged; the lines of the last one that was asked for are kept.

    turned: what is made of each measurement that is read.
    """

    turned: Callable[[Measurement], Measurement] | None = None
    digests: dict[Path, str] = field(default_factory=dict[Path, str])
    _last: Path | None = None
    _lines: list[bytes] = field(default_factory=list[bytes])

    def read(self, shard: Path) -> list[bytes]:
        """The lines of a shard. Raises MemdetectError (error) where it is no longer the one that was judged."""
        if shard != self._last:
            data = read_regular(shard)
            digest = hashlib.sha256(data).hexdigest()
            if self.digests.setdefault(shard, digest) != digest:
                raise MemdetectError(f"{shard} was changed while it was judged; run the same command again", Exit.ERROR)
            self._last, self._lines = shard, data.splitlines()
        return self._lines


@dataclass(frozen=True, slots=True)
class Place:
    """Where a measurement was read: the number of its line in a shard, from 0."""

    shards: Shards
    shard: Path
    number: int

    def read(self) -> Measurement:
        """The measurement, parsed once more."""
        found = Measurement.model_validate_json(self.shards.read(self.shard)[self.number])
        return self.shards.turned(found) if self.shards.turned else found
