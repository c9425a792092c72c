"""`memdetect doctor`: whether this machine can scan, a line a check, without a network."""

import json
from typing import Annotated, Literal

import typer

from memdetect.cli.options import FORMAT
from memdetect.cli.terminal import hush, write
from memdetect.cli.unfold import unfolded
from memdetect.errors import Exit


@unfolded
def doctor_command(format: Annotated[Literal["table", "json"], FORMAT] = "table") -> None:
    """Check whether this machine can scan: a line a check, or JSON for a bug report; nothing is fetched.

    Exit codes: 0 it can, 3 it cannot.
    """
    hush()
    from memdetect.cli.machine import examine, healthy

    checks = list(examine())
    if format == "json":
        rows = [{"check": check.name, "outcome": check.outcome, "found": check.found} for check in checks]
        report = {"schema": "memdetect.doctor/1", "can_scan": healthy(checks), "checks": rows}
        write(json.dumps(report, indent=1) + "\n")
    else:
        write("".join(f"{check.outcome:<4}  {check.name}: {check.found}\n" for check in checks))
    raise typer.Exit(int(Exit.OK if healthy(checks) else Exit.INCONCLUSIVE))
