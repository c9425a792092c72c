"""A calibration is made once of its runs, by whoever sees first that nothing is left to measure."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from memdetect import __version__
from memdetect.files import read_regular, write_atomic
from memdetect.judging.calibration import Calibration, read_calibration
from memdetect.judging.integrity import shard_digests
from memdetect.runs.folder import RunFolder

MADE = "calibration"  # the event that names what the file was made of, and its sha256


def rests_on(runs: Sequence[RunFolder], search: Mapping[str, Any]) -> str:
    """The sha256, in hex, of what a calibration rests on: rows of its runs, and how they are searched for copies."""
    rows = [(run.header().plan.digest, shard_digests(run)) for run in runs]
    text = json.dumps([__version__, rows, search], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def made_before(run: RunFolder, out: Path, rests: str) -> Calibration | None:
    """The calibration in the file `out`, if a process made it of the very same, as the journal of its run says."""
    if not out.exists():
        return None
    held = {"rests": rests, "sha256": hashlib.sha256(read_regular(out)).hexdigest()}
    if any(held.items() <= event.items() for event in run.events() if event.get("event") == MADE):
        return read_calibration(out)
    return None


def keep(made: Calibration, run: RunFolder, out: Path, rests: str) -> None:
    """Write a calibration to its file, and what it rests on into the journal of its run."""
    data = made.model_dump_json().encode() + b"\n"
    run.note(MADE, rests=rests, sha256=hashlib.sha256(data).hexdigest())
    write_atomic(out, data)
