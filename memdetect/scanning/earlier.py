"""The runs that come before a scan's own, of a base and of a screen: where they are, and who measures them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from memdetect.inputs.prompts import Request, Requests
from memdetect.runs.folder import RunFolder
from memdetect.runs.header import Header
from memdetect.runs.mirror import run_at
from memdetect.scanning.loop import Watch, sample_all
from memdetect.scanning.planning import header_of
from memdetect.scanning.prepare import Bench

Measure = Callable[[Sequence[Request], Bench, RunFolder, Header, Watch], bool]  # `sample_all`, or another that does it


@dataclass(frozen=True, slots=True)
class Earlier:
    """The folder of a scan, in which such runs have folders of their own; who looks on, and what measures shards."""

    out: Path
    watch: Watch
    measure: Measure = sample_all

    def opened(self, name: str, requests: Requests, bench: Bench) -> tuple[RunFolder, Header]:
        """The run of this name, begun or continued, with its header in force. Raises as `RunFolder.open` does."""
        folder = run_at(self.out / name)
        folder.path.mkdir(parents=True, exist_ok=True)
        with folder.locked(self.watch.waits):
            return folder, folder.open(header_of(bench, requests))
