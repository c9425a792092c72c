"""`memdetect sweep`: which statistic, layer and timestep separate labelled prompts of a model best."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from memdetect.cli.options import (
    Compared,
    Labelled,
    ModelName,
    Out,
    Reading,
    SweepProbing,
    asked_for,
    checked_model,
    opened,
)
from memdetect.cli.terminal import Interrupt, hush, progress_bar, say, say_not_finite, write_lines
from memdetect.cli.unfold import unfolded
from memdetect.errors import MemdetectError
from memdetect.inputs.options import Loading, Probing, Sampling

if TYPE_CHECKING:
    from memdetect.evaluation import Question
    from memdetect.evaluation.sweep import Choice

HeatMap = Annotated[
    Path | None, typer.Option("--heat-map", help="Draw the AUROC by layer and timestep into this PNG or SVG.")
]
WriteCard = Annotated[
    bool, typer.Option("--write-card", help="Write the chosen layer and timestep into the model's card.")
]


@unfolded
def sweep_command(
    files: Labelled,
    model: ModelName,
    compared: Compared,
    reading: Reading,
    loading: Loading,
    sampling: Sampling,
    probing: SweepProbing,
    out: Out = Path("runs/sweep"),
    heat_map: HeatMap = None,
    write_card: WriteCard = False,
) -> None:
    """Find the layer and timestep that work best on labelled prompts, chosen on one split, reported on another.

    The run is kept in the folder --out; the same command again resumes. Default: all layers, at 10 50 100 200 400.
    """
    hush()
    requests = asked_for(files, reading)
    checked_model(model)
    from memdetect.evaluation import check_splits, labels_of

    question = compared.question()
    check_splits(labels_of(requests.items, None, question))
    with Interrupt().listening() as interrupt, progress_bar("sweep") as progress:
        from memdetect.scanning import Options, Watch, run_scan

        settings = Options(loading, sampling, _every_place(probing), save_images=False)
        loaded = opened(model, loading)
        run = run_scan(requests, loaded, out, settings, Watch(progress, interrupt.asked))
    if run.interrupted:
        say(f"stopped at {len(run.results)} of {run.header.planned}; the same command resumes")
        raise typer.Exit(int(interrupt.exit or 0))
    choice = _report(run.folder, question, heat_map)
    if write_card:
        _write_card(loaded.folder, choice)


def _every_place(probing: Probing) -> Probing:
    """Where a sweep probes: what was asked for, else every layer, five timesteps, and all detectors of images."""
    from memdetect.detectors import BUILT_IN

    return replace(
        probing,
        layers=probing.layers or ("*",),
        timesteps=probing.timesteps or (() if probing.sigmas else (10, 50, 100, 200, 400)),
        detectors=probing.detectors or tuple(d.name for d in BUILT_IN if d.of_images),
    )


def _report(folder: Path, question: "Question", picture: Path | None) -> "Choice":
    from memdetect.evaluation import all_scores, labels_of, sweep
    from memdetect.evaluation.cells import PAPER_TIMESTEP
    from memdetect.runs.folder import RunFolder

    rows = list(RunFolder(folder).measurements())
    say_not_finite([row.status == "ok" for row in rows], "items")
    scores = all_scores(rows, labels_of(rows, None, question))
    some = next(iter(scores.values()))
    choice = sweep.choose(scores, ("spikiness", some.default, PAPER_TIMESTEP))
    write_lines(sweep.render(scores, choice).splitlines())
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
    said = choice.noise or f"AUROC {area:.2f} on the test split"
    path = set_default(folder, layers, (int(float(timestep)),), f"chosen by sweep for {detector}; {said}")
    say(f"wrote {path}")
