"""`memdetect sweep`: which statistic, layer and timestep separate labelled prompts of a model best."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from memdetect.cli.options import Against, BatchSize, Model, NumSeeds, Positive, checked_model
from memdetect.cli.output import Interrupt, hush, progress_bar, say, say_not_finite, write
from memdetect.errors import MemdetectError

if TYPE_CHECKING:
    from memdetect.evaluation import Question
    from memdetect.evaluation.sweep import Choice


def sweep_command(
    inputs: Annotated[list[str], typer.Argument(metavar="LABELLED...", help="Prompt files with a column group.")],
    model: Model,
    positive: Positive,
    against: Against = None,
    tuning_part: Annotated[
        list[str] | None, typer.Option(help="Part to choose on; repeatable; default: a half of each group.")
    ] = None,
    test_part: Annotated[list[str] | None, typer.Option(help="Part to report on; repeatable.")] = None,
    out: Annotated[Path, typer.Option("--out", help="Run folder; the same command again resumes.")] = Path(
        "runs/sweep"
    ),
    layer: Annotated[list[str] | None, typer.Option(help="Layer or glob; repeatable; default: all.")] = None,
    timestep: Annotated[list[int] | None, typer.Option(help="Repeatable; default: 10 50 100 200 400.")] = None,
    num_seeds: NumSeeds = None,
    batch_size: BatchSize = 16,
    heat_map: Annotated[Path | None, typer.Option(help="PNG or SVG of the AUROC by layer and timestep.")] = None,
    write_card: Annotated[bool, typer.Option(help="Write the chosen point into the model's card.")] = False,
) -> None:
    """Scan labelled prompts with every statistic, layer and timestep; rank on one half, report on the other."""
    hush()
    from memdetect.inputs.prompts import read

    requests = read(inputs)
    checked_model(model)
    from memdetect.evaluation import Question, check_halves, labels_of

    question = Question(positive, tuple(against or ()), tuple(tuning_part or ()), tuple(test_part or ()))
    check_halves(labels_of(requests.items, None, question))
    with Interrupt().listening() as interrupt, progress_bar("sweep") as progress:
        say(f"loading {model}")
        from memdetect.adapters import load
        from memdetect.detectors import BUILT_IN
        from memdetect.scanning import Options, scan

        options = Options(
            layers=layer or ["*"],
            timesteps=timestep or [10, 50, 100, 200, 400],
            detectors=tuple(d.name for d in BUILT_IN if d.look == "image"),
            num_seeds=num_seeds,
            batch_size=batch_size,
            save_images=False,
        )
        loaded = load(model)
        run = scan(requests, loaded, out, options, progress=progress, stop=interrupt.asked)
    if run.interrupted:
        say(f"stopped at {len(run.results)} of {run.header.planned}; the same command resumes")
        raise typer.Exit(int(interrupt.exit or 0))
    choice = _report(run.folder, question, heat_map)
    if write_card:
        _write_card(loaded.folder, choice)


def _report(folder: Path, question: "Question", picture: Path | None) -> "Choice":
    from memdetect.evaluation import all_scores, labels_of, sweep
    from memdetect.evaluation.cells import PAPER_TIMESTEP
    from memdetect.runs.folder import RunFolder

    rows = list(RunFolder(folder).measurements())
    say_not_finite([row.status == "ok" for row in rows], "items")
    scores = all_scores(rows, labels_of(rows, None, question))
    some = next(iter(scores.values()))
    choice = sweep.choose(scores, ("spikiness", some.default, PAPER_TIMESTEP))
    write(sweep.render(scores, choice))
    if picture:
        sweep.heat_map(scores, picture)
        say(f"heat map: {picture}")
    return choice


def _write_card(folder: Path | None, choice: "Choice") -> None:
    from memdetect.adapters.cards import set_default

    if folder is None:
        raise MemdetectError("this model has no folder for a card; save it with save_pretrained first")
    detector, layer, timestep = choice.place
    layers = ("*",) if layer.startswith("mean of all") else (layer.removeprefix("mean of "),)
    area = next(iter(choice.reported.values())).auroc
    said = choice.noise or f"AUROC {area:.2f} on the half set aside"
    path = set_default(folder, layers, (int(float(timestep)),), f"chosen by sweep for {detector}; {said}")
    say(f"wrote {path}")
