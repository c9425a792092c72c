"""`memdetect doctor`: whether this machine can scan, or what is understood of training pictures; without a network."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from memdetect.cli.options import FORMAT
from memdetect.cli.terminal import hush, write, write_lines
from memdetect.cli.unfold import Take, unfolded
from memdetect.errors import Exit, MemdetectError
from memdetect.inputs.harmless import ascii_json
from memdetect.inputs.options import Loading, Lookup


@unfolded
def doctor_command(
    pictures: Annotated[Lookup, Take(only=("train_images", "instance_prompt"))],
    loading: Annotated[Loading, Take(only=("loras",))],
    format: Annotated[Literal["table", "json"], FORMAT] = "table",
) -> None:
    """Check whether this machine can scan: one line for each check, or JSON for a bug report; nothing is fetched.

    With --train-images or --lora it says instead what is understood of them: pictures, captions and where each stands,
    what is left out and why. Every check has its line, also one of a file or folder that is not there. Exit codes: 0 it
    can, 3 it cannot, or only without a picture that cannot be opened.
    """
    hush()
    from memdetect.cli.machine import examine, healthy
    from memdetect.inputs.given import check_instance_prompt

    check_instance_prompt(pictures)
    held: list[dict[str, Any]] | None = None
    if pictures.train_images or loading.loras:
        checks, held = _given(pictures, loading.loras)
    else:
        checks = list(examine())
    if format == "json":
        rows = [{"check": check.name, "outcome": check.outcome, "found": check.found} for check in checks]
        report = {"schema": "memdetect.doctor/1", "can_scan": healthy(checks), "checks": rows}
        report |= {} if held is None else {"pictures": held}
        write(ascii_json(json.dumps(report, indent=1)) + "\n")
    else:
        write_lines(f"{check.outcome:<4}  {check.name}: {check.found}" for check in checks)
    raise typer.Exit(int(Exit.OK if healthy(checks) else Exit.INCONCLUSIVE))


def _given(asked: Lookup, loras: Sequence[str]) -> tuple[list[Any], list[dict[str, Any]]]:
    """Checks of what was given, and a row for each training picture."""
    from memdetect.cli.machine import Check
    from memdetect.cli.training import examine_lora, examine_training, pictures_of

    checks, rows = list[Any](), list[dict[str, Any]]()
    if asked.train_images:
        folder = Path(asked.train_images)
        try:
            found = pictures_of(folder, asked.instance_prompt)
        except MemdetectError as problem:
            checks.append(Check("training pictures", "fail", str(problem)))
        else:
            checks += examine_training(folder, found)
            rows = [picture.row() for picture in found]
    return [*checks, *map(examine_lora, loras)], rows
