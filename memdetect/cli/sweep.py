"""`memdetect sweep`: which statistic, layer and timestep separate labelled prompts of a model best."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from memdetect.cli.options import BatchSize, Model, NumSeeds, checked_model
from memdetect.cli.output import Interrupt, hush, progress_bar, say, say_not_finite, write
from memdetect.errors import MemdetectError

if TYPE_CHECKING:
    from memdetect.evaluation.sweep import Choice


def sweep_command(
    inputs: Annotated[list[str], typer.Argument(metavar="LABELLED...", help="Prompt files with a group and a part.")],
    model: Model,
    out: Annotated[Path, typer.Option("--out", help="Run folder; the same command again resumes.")] = Path(
        "runs/sweep"
    ),
    positive: Annotated[str, typer.Option(help="Group that should score high.")] = "matched",
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
    for request in requests.items:
        if not request.meta.get("group"):
            raise MemdetectError(f"{request.source}: item {request.id} has no group; give prompts labelled by group")
    checked_model(model)
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
    choice = _report(run.folder, positive, heat_map)
    if write_card:
        _write_card(loaded.folder, choice)


def _report(folder: Path, positive: str, picture: Path | None) -> "Choice":
    from memdetect.evaluation import labels_of, scores_of, sweep
    from memdetect.evaluation.cells import PAPER_TIMESTEP
    from memdetect.runs.folder import RunFolder

    rows = list(RunFolder(folder).measurements())
    say_not_finite([row.status == "ok" for row in rows], "items")
    labels = labels_of(rows, None, positive)
    names = dict.fromkeys(name for row in rows for name in row.scores)
    scores = {name: scores_of(rows, labels, name) for name in names}
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
