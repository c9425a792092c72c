"""`memdetect gate`: judge finished runs against a policy; the exit code is the verdict's."""

from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from memdetect.cli.output import say
from memdetect.cli.reports import EvidenceOption, Format, FormatOption, Outputs, Redact, publish, reports


class FailOn(StrEnum):
    """The outcomes that fail a gate; `suspicious` means that or worse."""

    copy = "copy"
    suspicious = "suspicious"
    none = "none"


PolicyFile = Annotated[
    Path | None, typer.Option("--policy", help="File with the policy, instead of memdetect.toml or pyproject.toml.")
]
MaxRate = Annotated[
    float | None, typer.Option(help="Limit for the upper bound of the share of prompt families that are flagged.")
]
Fdr = Annotated[float | None, typer.Option(help="Tolerated share of false ones among the findings; 0.05.")]


def gate_command(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders; several are judged as one.")],
    fail_on: Annotated[
        FailOn | None, typer.Option(help="Outcomes that fail: copy, suspicious (or worse), none.")
    ] = None,
    policy: PolicyFile = None,
    max_rate: MaxRate = None,
    fdr: Fdr = None,
    level: Annotated[float | None, typer.Option(help="Level at which --max-rate counts; 0.01.")] = None,
    confidence: Annotated[float | None, typer.Option(help="Confidence of bounds; 0.95.")] = None,
    min_coverage: Annotated[
        float | None, typer.Option(help="Least share of the training set that the index has to cover.")
    ] = None,
    max_undetectable: Annotated[
        float | None, typer.Option(help="Largest share of the items that may stay without a p-value; none.")
    ] = None,
    delta: Annotated[
        float | None, typer.Option(help="Error rates hold for this calibration set but for this chance; averaged.")
    ] = None,
    min_sensitivity: Annotated[
        float | None, typer.Option(help="Least share of known memorized prompts that the detectors have to find; 0.5.")
    ] = None,
    min_recall: Annotated[
        float | None, typer.Option(help="Least share of planted copies that the index has to find; 0.9.")
    ] = None,
    max_one_colour: Annotated[
        float | None, typer.Option(help="Largest share of the images that may have a single colour; 0.05.")
    ] = None,
    calibration: Annotated[Path | None, typer.Option(help="Clean scores, instead of those in the run.")] = None,
    format: FormatOption = Format.table,
    output: Outputs = None,
    redact: Redact = False,
    evidence: EvidenceOption = None,
) -> None:
    """Judge runs against a policy, without the model and without torch.

    Exit codes: 0 pass, 1 fail, 2 usage or input, 3 inconclusive: incomplete, not calibrated, or too small; 4 error.
    """
    wanted = reports(format, output, redact, evidence, runs=runs)
    from memdetect.judging import judge, read_runs

    found = read_runs(runs, calibration)
    given = {
        "fail_on": fail_on.value if fail_on else None,
        "max_rate": max_rate,
        "fdr": fdr,
        "level": level,
        "confidence": confidence,
        "min_coverage": min_coverage,
        "max_undetectable": max_undetectable,
        "delta": delta,
        "min_sensitivity": min_sensitivity,
        "min_recall": min_recall,
        "max_one_colour": max_one_colour,
    }
    chosen = policy_for(given, policy, found.policies)
    results, verdict = judge(found.header, found.rows, found.calibration, chosen.policy, altered=found.altered)
    verdict = replace(verdict, notes=(f"judged by {chosen.source}", *verdict.notes))
    publish(wanted, found.header, results, verdict, runs)
    for line in found.damaged:
        say(line)
    conclude(verdict)


def policy_for(given: dict[str, Any], file: Path | None, held: Sequence[Any] = ()) -> Any:
    """The policy chosen among options, files around the working folder, and those that runs were planned with."""
    from memdetect.runs.policy import read_policy

    return read_policy(given, Path.cwd(), file, held)


def conclude(verdict: Any) -> None:
    """Say the verdict in one line on stderr, and end with its exit code."""
    reasons = "; ".join(verdict.reasons)
    say(f"verdict: {verdict.verdict}, {verdict.basis}{': ' if reasons else ''}{reasons}")
    raise typer.Exit(int(verdict.exit))
