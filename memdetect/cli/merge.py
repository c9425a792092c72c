"""`memdetect merge`: close a run whose shards are there, or join the runs of machines without a common disk."""

from pathlib import Path
from typing import Annotated, Any

import typer

from memdetect.cli.options import MaybeOut
from memdetect.cli.reports import Reporting, check_run_folder, here, publish, reports
from memdetect.cli.terminal import say
from memdetect.cli.unfold import unfolded
from memdetect.errors import MemdetectError
from memdetect.runs.remote import is_remote


@unfolded
def merge_command(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Run folder; further ones of the same plan are joined to it.")
    ],
    reporting: Reporting,
    out: MaybeOut = None,
) -> None:
    """Close a run that several processes measured: judge it as planned, and write its results.jsonl.

    Several runs are those of machines without a common disk, of one plan: what the first lacks is copied into it, or
    all of them into --out.

    Exit codes: 0 closed, 2 usage or input, 3 shards are missing, 4 error.
    """
    if out is not None and is_remote(out):
        raise MemdetectError("runs are joined into a folder of this machine; name one with --out")
    if out is None and any(is_remote(run) for run in runs):
        raise MemdetectError("a run in object storage is joined into a new folder; name it with --out")
    runs = here(runs, images=True)
    wanted = reports(reporting, runs=runs)
    if out is not None:
        check_run_folder(out, runs)
    from memdetect.judging.merging import close, joined

    publish_closed(joined(runs, out), wanted, close)


def publish_closed(folder: Path, wanted: Any, close: Any) -> Any:
    """Close the run in a folder, print and write its reports; returns its verdict."""
    judged = close(folder)
    draw_pairs(folder, judged.results)
    publish(wanted, judged.found.header, judged.results, judged.verdict, [folder], judged.found.calibration)
    say(f"run folder: {folder}")
    return judged.verdict


def draw_pairs(folder: Path, results: Any) -> None:
    """Draw the sheet of pairs of a run in which images were looked up."""
    if any(row.matches for row in results):
        from memdetect.scanning.contact_sheet import write_pairs

        write_pairs(folder, results)
