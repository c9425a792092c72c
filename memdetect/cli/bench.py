"""`memdetect bench`: every detector on labelled prompts of a model, chosen on one split and reported on another."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NoReturn, TypeAlias

import typer

from memdetect.cli.options import FORMAT, TEST_PART, TUNING_PART, ModelName, Out, Reading, checked_model, opened
from memdetect.cli.terminal import Interrupt, colourful, hush, progress_bar, say, say_not_finite, terminal_width, write
from memdetect.cli.unfold import Take, unfolded
from memdetect.errors import MemdetectError
from memdetect.inputs.labelled import Columns, labelled_requests
from memdetect.inputs.options import Loading, Probing, Sampling

if TYPE_CHECKING:
    from memdetect.evaluation.bench import Asked, Measured

BenchProbing: TypeAlias = Annotated[Probing, Take(without=("combine", "by", "strata"))]
BenchFormat = Literal["table", "json", "csv"]


@dataclass(frozen=True, slots=True)
class Grouped:
    """Which prompts are of which group, and which groups are compared."""

    panel: ClassVar[str] = "Groups"
    positive: Annotated[
        Sequence[str],
        typer.Option(
            "--compare",
            metavar="GROUP[=CONTROLS]",
            help="Group that should score high, and the group of its controls; repeatable.",
        ),
    ]
    clean: Annotated[
        Sequence[str], typer.Option("--clean-group", metavar="GROUP", help="Group of clean prompts; repeatable.")
    ] = ()
    style: Annotated[
        Sequence[str],
        typer.Option(
            "--style",
            metavar="GROUP",
            help="Group that is written otherwise and not memorized: what style alone scores; "
            "repeatable. Default: the controls.",
        ),
    ] = ()
    dose: Annotated[
        Sequence[str],
        typer.Option(
            "--dose",
            metavar="GROUP",
            help="Group to draw in the curve of scores against exposures; repeatable. Default: those of --compare.",
        ),
    ] = ()
    group: Annotated[
        Sequence[str],
        typer.Option(
            "--group", metavar="NAME=FILE", help="Prompt file whose prompts are all of one group; repeatable."
        ),
    ] = ()
    group_column: Annotated[
        str, typer.Option("--group-column", help="Column that holds the groups, in files that have one.")
    ] = "group"
    family_column: Annotated[
        str,
        typer.Option(
            "--family-column",
            help="Column of the near-duplicates that count as one; without it, prompts that begin alike do.",
        ),
    ] = "family"
    exposures_column: Annotated[
        str, typer.Option("--exposures-column", help="Column that says how often training showed a prompt's image.")
    ] = "exposures"
    tuning: Annotated[Sequence[str], TUNING_PART] = ()
    calibration: Annotated[
        Sequence[str],
        typer.Option(
            "--calibration-part", help="Value of the column part: the clean prompts to rank among; repeatable."
        ),
    ] = ()
    test: Annotated[Sequence[str], TEST_PART] = ()
    at_most: Annotated[
        Sequence[str],
        typer.Option(
            "--at-most",
            metavar="[GROUP=]N",
            help="Largest number of prompts to take of a group in each split; repeatable.",
        ),
    ] = ()

    @property
    def columns(self) -> tuple[str, str]:
        """Columns of groups and of families."""
        return self.group_column, self.family_column

    def asked(self) -> "Asked":
        """The same for `memdetect.evaluation`."""
        from memdetect.evaluation.bench import Asked, Comparison

        return Asked(
            tuple(Comparison(name, control) for name, _, control in (each.partition("=") for each in self.positive)),
            tuple(self.clean),
            tuple(self.style),
            tuple(self.dose),
            {"tuning": tuple(self.tuning), "calibration": tuple(self.calibration), "test": tuple(self.test)},
            dict(_limit(each) for each in self.at_most),
            self.exposures_column,
        )


def _limit(given: str) -> tuple[str, int]:
    """Group ("" = any) and number of [GROUP=]N."""
    group, _, number = given.rpartition("=")
    if not (number.isascii() and number.isdigit() and int(number) > 1):
        raise MemdetectError(f"--at-most {given!r:.60} is not [GROUP=]N with N of 2 or more; write 20 or seen=100")
    return group, int(number)


LabelledFiles = Annotated[
    list[str] | None, typer.Argument(metavar="LABELLED", help="Prompt files with a column of groups.")
]
Steps = Annotated[
    list[int] | None,
    typer.Option(
        "--step", min=1, help="Sampling step at which to try the detectors, from 1; repeatable. Default: ten of them."
    ),
]
Rounds = Annotated[
    int,
    typer.Option("--timing-rounds", min=0, metavar="N", help="How often each detector is timed; 0 measures no times."),
]


@unfolded
def bench_command(
    model: ModelName,
    grouped: Grouped,
    reading: Reading,
    loading: Loading,
    sampling: Sampling,
    probing: BenchProbing,
    files: LabelledFiles = None,
    step: Steps = None,
    timing_rounds: Rounds = 3,
    format: Annotated[BenchFormat, FORMAT] = "table",
    out: Out = Path("runs/bench"),
) -> None:
    """Compare all detectors, or those named, on prompts of your own groups: AUROC, TPR, what would be found, cost.

    Step, layer, timestep and sign of each are chosen on the tuning split, everything reported is of the test split. The
    run is kept in the folder --out, with bench.json, bench.csv and two plots; the same command again resumes.
    """
    hush()
    found = labelled_requests(
        files or [], grouped.group, Columns(*grouped.columns, reading.prompt_column, reading.prompts_format)
    )
    checked_model(model)
    from memdetect.evaluation.bench import Settings, labelled_of, run_bench

    items, labels = labelled_of(found.items, grouped.asked())
    with Interrupt().listening() as interrupt:
        from memdetect.scanning import Options, Watch

        loaded = opened(model, loading)
        settings = Settings(Options(loading, sampling, probing), tuple(step or ()))
        with progress_bar("bench") as progress:
            measured = run_bench(items, labels, loaded, out, settings, Watch(progress, interrupt.asked))
        if measured is None or not measured.finished:
            _stopped(interrupt)
        document = _document(measured, labels, out, timing_rounds, interrupt)
    _publish(document, out, format)


def _stopped(interrupt: Interrupt) -> NoReturn:
    say("stopped; the same command resumes")
    raise typer.Exit(int(interrupt.exit or 0))


def _document(measured: "Measured", labels: Any, out: Path, rounds: int, interrupt: Interrupt) -> dict[str, Any]:
    """What was found, as plain data, once the chosen detectors were timed."""
    from memdetect.evaluation.bench import costs_of, document_of, selection_of, timed
    from memdetect.scanning import Watch

    say_not_finite([row.status == "ok" for row in measured.rows], "items")
    selected = selection_of(measured, labels)
    with progress_bar("timing") as progress:
        times = timed(selected.chosen, measured, out, rounds, Watch(progress, interrupt.asked))
    if times is None:
        _stopped(interrupt)
    return document_of(measured, labels, selected, costs_of(selected.chosen, measured.prepared, times))


def _publish(document: dict[str, Any], out: Path, format: BenchFormat) -> None:
    """Print what was found, and keep it in the run folder with its plots."""
    from memdetect.evaluation.bench import plot_costs, plot_dose
    from memdetect.files import write_atomic
    from memdetect.render.bench import bench_csv, render_bench

    text = json.dumps(document, indent=1, allow_nan=False) + "\n"
    rows = bench_csv(document)
    write_atomic(out / "bench.json", text)
    write_atomic(out / "bench.csv", rows)
    table = render_bench(document, colour=colourful(), width=terminal_width())
    write({"table": table, "json": text, "csv": rows}[format])
    made = ["bench.json", "bench.csv"]
    try:
        plot_costs(document, out / "costs.png")
        made += ["costs.png", *(["dose.png"] if plot_dose(document, out / "dose.png") else [])]
    except MemdetectError as problem:
        say(f"no plots: {problem}")
    say(f"written into {out}: {', '.join(made)}")
