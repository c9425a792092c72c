"""`memdetect scan`: measure prompts or images with a model and keep everything in a run folder."""

import shlex
import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from memdetect.cli.gate import conclude
from memdetect.cli.options import ModelName, Out, ScanJudging, ScanLookup, asked_for, checked_model, say_loading
from memdetect.cli.places import shared
from memdetect.cli.reports import Reporting, Reports, check_run_folder, publish, reports
from memdetect.cli.terminal import Interrupt, hush, progress_bar, say, write_lines
from memdetect.cli.unfold import unfolded
from memdetect.cli.workers import is_worker
from memdetect.errors import Exit, MemdetectError
from memdetect.inputs.options import Inputs, Loading, Lookup, Probing, Sampling, Screening, Sharing
from memdetect.runs.remote import Store, is_remote, url_of

Files = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="INPUT",
        help="Prompt files (txt, jsonl, json, csv, tsv, .gz), images, folders, globs, or - for stdin.",
    ),
]
SaveImages = Annotated[
    bool,
    typer.Option(
        "--save-images/--no-save-images",
        rich_help_panel="Sampling",
        help="Keep the generated images in the run folder.",
    ),
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Print the plan, its cost and what it can show; load no weights and make no image."),
]


BESIDE = ("base", "screen")  # folders of a run that hold runs of their own


@unfolded
def scan_command(
    model: ModelName,
    inputs: Inputs,
    loading: Loading,
    sampling: Sampling,
    probing: Probing,
    lookup: ScanLookup,
    screening: Screening,
    judging: ScanJudging,
    reporting: Reporting,
    sharing: Sharing,
    files: Files = None,
    out: Out = Path("runs/scan"),
    save_images: SaveImages = True,
    dry_run: DryRun = False,
) -> None:
    """Measure prompts or images, and keep all of it in the run folder --out; the same command again resumes.

    Without files, the captions of --train-images are scanned. With --fail-on it judges as well, as gate does.

    Exit codes: 0 done, 1 failed (with --fail-on), 2 usage or input, 3 nothing could be used, 4 error, 130/143 stopped.
    """
    check_run_folder(out, [*(files or ()), lookup.train_images])
    wanted = reports(reporting, runs=[out], inputs=files or [])
    policy = _policy(judging)
    requests = _requests(model, files or [], inputs, lookup)
    sharing = shared(sharing)
    if sharing.workers is not None and sharing.ray is None and not dry_run:
        _drive(sharing.workers, files or [], out, wanted, policy, judged=judging.fail_on is not None)
    with Interrupt().listening() as interrupt:
        from memdetect.scanning import Options, Watch, run_scan

        drawn = sampling.without_prompts() if inputs.unconditional else sampling
        beside = (None, sharing, screening, policy.file)
        settings = Options(loading, drawn, probing, lookup, judging, policy.policy, save_images, *beside)
        _begin(requests, model, settings, dry_run=dry_run)
        with progress_bar("scan") as progress:
            run = run_scan(requests, model, out, settings, Watch(progress, interrupt.asked), closing=not is_worker())
    finish(run, wanted, interrupt, judged=judging.fail_on is not None, out=out, sharing=sharing)


def _policy(judging: Any) -> Any:
    """The policy that the run is planned with."""
    from memdetect.judging.run import policy_of

    return policy_of(judging)


def _drive(count: int, files: list[str], out: Path, wanted: Reports, policy: Any, *, judged: bool) -> None:
    """Have other processes measure, close the run when all of it is there, and end as a scan does."""
    from memdetect.cli.merge import publish_closed
    from memdetect.cli.workers import through_workers
    from memdetect.judging.merging import close

    if is_remote(out):
        raise MemdetectError(
            "--workers shares a folder, and --out is an address; start processes with --rank and --world"
        )
    through_workers(count, [out, *(out / part for part in BESIDE)], files).check(out)
    verdict = publish_closed(out, wanted, partial(close, policy=policy))
    if judged:
        conclude(verdict)
    raise typer.Exit(int(verdict.scan_exit))


def _begin(requests: Any, model: str, settings: Any, *, dry_run: bool) -> None:
    """Say what is loaded; of a dry run print the plan, and stop."""
    if dry_run:
        print_plan(requests, model, settings)
    say_loading(model, settings.loading)


def _requests(model: str, files: list[str], inputs: Inputs, lookup: Lookup) -> Any:
    """What is to be scanned: what is given, else the captions of the training pictures."""
    hush()
    from memdetect.inputs.given import check_reading, training_requests

    given = bool(files or inputs.labels or inputs.unconditional)
    captions = training_requests(lookup, given=given)
    if captions:
        check_reading(inputs, "the captions of --train-images are")
    found = captions or asked_for(files, inputs)
    checked_model(model)
    return found


def print_plan(requests: Any, model: str, settings: Any) -> None:
    """Print what a scan would do and show, and what its model would fetch; then stop."""
    from memdetect.adapters.downloads import download_of
    from memdetect.scanning.dry_run import dry_run_lines

    write_lines(dry_run_lines(requests, model, settings))
    if download := download_of(model, settings.loading):
        write_lines([f"download: {download}"])
    raise typer.Exit


def finish(
    run: Any,
    wanted: Reports,
    interrupt: Interrupt,
    *,
    judged: bool,
    out: Path | None = None,
    sharing: Sharing | None = None,
) -> None:
    """Print and write what was found, and end with the exit code of the scan, its verdict or its interruption."""
    if run.interrupted:
        if interrupt.exit is None:
            _leave(run, out or run.folder, sharing or Sharing(), judged=judged)
        if not is_worker():  # whose own command nobody gave
            again = shlex.join(["memdetect", *sys.argv[1:]])
            say(f"stopped at {len(run.results)} of {run.header.planned}; resume with: {again}")
        raise typer.Exit(int(interrupt.exit or 0))
    if is_worker():
        raise typer.Exit
    publish(wanted, run.header, run.results, run.verdict, [run.folder])
    say(f"run folder: {run.folder}")
    if out is not None and is_remote(out):
        say(f"kept at: {Store.at(out).url}")
    if judged:
        conclude(run.verdict)
    raise typer.Exit(int(run.verdict.scan_exit))


def _leave(run: Any, out: Path, sharing: Sharing, *, judged: bool) -> NoReturn:
    """End with the share of a rank that leaves the rest to others."""
    from memdetect.cli.places import check_share
    from memdetect.runs.mirror import run_at

    check_share(run_at(out), sharing)
    if is_worker():  # the one that started it says what is there
        raise typer.Exit(int(Exit.INCONCLUSIVE))
    if is_remote(out):
        again = "once all are, run the same command without --no-steal, which closes the run"
        say(f"its share is measured and kept at {url_of(out)}; {again}")
    else:
        share = f"its share is measured, {len(run.results)} of {run.header.planned} items are in {run.folder}"
        say(f"{share}; join it with those of the other ranks by memdetect merge")
    raise typer.Exit(int(Exit.INCONCLUSIVE if judged else Exit.OK))
