"""`memdetect doctor`: whether this machine can scan, a line a check, without a network."""

import json
from enum import StrEnum
from typing import Annotated

import typer

from memdetect.cli.output import hush, write
from memdetect.errors import Exit


class Format(StrEnum):
    """Formats of stdout."""

    table = "table"
    json = "json"


def doctor_command(
    format: Annotated[Format, typer.Option("--format", "-f", help="A line a check, or JSON for a bug report.")] = (
        Format.table
    ),
) -> None:
    """Check whether this machine can scan: a line a check; nothing is fetched.

    Exit codes: 0 it can, 3 it cannot.
    """
    hush()
    from memdetect.cli.machine import examine, healthy

    checks = list(examine())
    if format is Format.json:
        rows = [{"check": check.name, "outcome": check.outcome, "found": check.found} for check in checks]
        report = {"schema": "memdetect.doctor/1", "can_scan": healthy(checks), "checks": rows}
        write(json.dumps(report, indent=1) + "\n")
    else:
        write("".join(f"{check.outcome:<4}  {check.name}: {check.found}\n" for check in checks))
    raise typer.Exit(int(Exit.OK if healthy(checks) else Exit.INCONCLUSIVE))
