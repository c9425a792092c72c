"""Runs from files, and settings by the names of their options alone, whatever record they belong to."""

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from memdetect.inputs.options import Judging, Loading, Lookup, Probing, Sampling, Screening, Sharing
from memdetect.inputs.prompts import Requests, read
from memdetect.scanning import Options, Run, Watch, run_calibration, run_scan

RECORDS = {
    **{"loading": Loading, "sampling": Sampling, "probing": Probing, "lookup": Lookup, "judging": Judging},
    "sharing": Sharing,
    "screening": Screening,
}


def changed(settings: Options, **flat: Any) -> Options:
    """The settings with some options changed."""
    for name, record in RECORDS.items():
        own = {each.name for each in fields(record)} - {"policy"}
        given = {key: flat.pop(key) for key in list(flat) if key in own}
        settings = replace(settings, **{name: replace(getattr(settings, name), **given)})
    return replace(settings, **flat)


def settings(**flat: Any) -> Options:
    return changed(Options(), **flat)


def requests_of(inputs: Requests | Sequence[str | Path]) -> Requests:
    return inputs if isinstance(inputs, Requests) else read(inputs)


def scan(inputs: Any, model: Any, out: Path | str, options: Options | None = None, **watch: Any) -> Run:
    return run_scan(requests_of(inputs), model, Path(out), options, Watch(**watch))


def calibrate(inputs: Any, model: Any, out: Path | str, options: Options | None = None, **more: Any) -> Any:
    return run_calibration(requests_of(inputs), model, Path(out), options, **more)
