"""Commands of `memdetect lab` that evaluate claims: each measures anew what a page of docs/ says."""

from pathlib import Path
from typing import Annotated, Any

import typer

from memdetect.cli.options import Compared
from memdetect.cli.output import hush, write
from memdetect.cli.unfold import unfolded
from memdetect.errors import Exit, MemdetectError

Runs = Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders written by memdetect scan.")]
WorldFolder = Annotated[
    Path | None,
    typer.Option("--world", help="Folder of a world; default: the bundled one, whose pictures are fetched."),
]
WorldSeed = Annotated[int, typer.Option("--seed", min=0, help="Seed of the bundled world.")]
Json = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write all figures here as well.")]
Plot = Annotated[Path | None, typer.Option("--plot", metavar="PNG", help="Draw the figure; needs the `report` extra.")]
TestPart = Annotated[list[str] | None, typer.Option("--test-part", help="Part to report on; repeatable.")]


@unfolded
def separation(
    runs: Runs,
    compared: Compared,
    groups: Annotated[
        Path | None, typer.Option("--groups", help="JSON lines with id, group and part, where the inputs had none.")
    ] = None,
    grids: Annotated[bool, typer.Option("--grids", help="Print the AUROC of every cell as well.")] = False,
    json_file: Json = None,
) -> None:
    """How well the scores of finished runs tell one group from others: AUROC by layer and timestep, with intervals."""
    hush()
    from memdetect.evaluation import document
    from memdetect.evaluation.separation import report, separate

    found = separate(runs, groups, compared.question())
    write(f"{report(found, grids)}\n")
    _write_json(json_file, document(found))


def power(
    clean: Annotated[Path, typer.Argument(help="Run of clean prompts that nothing was chosen on.")],
    labelled: Annotated[Path | None, typer.Option("--labelled", help="Run of prompts with a column `group`.")] = None,
    calibration: Annotated[
        Path | None, typer.Option("--calibration", help="Clean scores, instead of those in the runs.")
    ] = None,
    pair: Annotated[
        list[str] | None,
        typer.Option("--pair", metavar="GROUP=CONTROL", help="Repeatable; default: the groups of a `lab` world."),
    ] = None,
    test_part: TestPart = None,
    half: Annotated[
        bool, typer.Option("--half", help="Of prompts without parts, the half by hash that nothing was chosen on.")
    ] = False,
    splits: Annotated[int, typer.Option("--splits", min=1, help="Re-splits of the clean scores.")] = 200,
    fdr: Annotated[float, typer.Option("--fdr", min=0, max=1, help="False discovery rate of the power.")] = 0.05,
    json_file: Json = None,
) -> None:
    """Realised rates of calibrated p-values and power by group; exit 1 when a rate is outside its 95 % interval."""
    hush()
    from dataclasses import asdict

    from memdetect.evaluation.power import Wanted, powers, rates
    from memdetect.judging import read_runs
    from memdetect.lab.world.compared import CONTROLS, TEST_PARTS
    from memdetect.runs.policy import Policy

    wanted = Wanted(_pairs(pair) if pair else CONTROLS, tuple(test_part or TEST_PARTS), half)
    run = read_runs([clean], calibration)
    realised, again = rates(run, splits)
    write("".join(f"{line}\n" for line in (*realised, *again)))
    others = read_runs([labelled], calibration) if labelled else None
    found = powers(others, run.rows, wanted, Policy(fdr=fdr)) if others else []
    write("".join(f"{each.line(fdr)}\n" for each in found))
    tables = {"rates": realised, "resplits": again, "power": found}
    _write_json(json_file, {name: [asdict(each) for each in table] for name, table in tables.items()})
    raise typer.Exit(int(Exit.OK if all(each.inside for each in realised if each.rank) else Exit.FAILED))


def dose_response(
    world: Annotated[Path, typer.Argument(help="Folder with truth.jsonl, judged by `lab truth`.")],
    run: Annotated[Path, typer.Argument(help="Run of its labelled.jsonl.")],
    place: Annotated[
        tuple[str, str, str],
        typer.Option("--place", metavar="DETECTOR LAYERS T", help="Scores to show; a mean over layers that match."),
    ] = ("spikiness", "up_blocks.0.resnets.*", "50"),
    plot: Plot = None,
) -> None:
    """What was reproduced, and how high a detector scores, against the number of exposures."""
    hush()
    from memdetect.lab.world import dose_response as curve

    cell = curve.Cell(*place)
    points = curve.response(world, run, cell)
    write(f"{curve.report(points, cell)}\n")
    if plot:
        curve.plot(points, str(cell), plot)


def copy_evidence(
    world: Annotated[Path, typer.Argument(help="Folder with world.json.")],
    runs: Runs,
) -> None:
    """Count reproduced images found in an index with the right original, and clean ones called copies."""
    hush()
    from memdetect.lab.world.copy_evidence import count, report

    write("".join(f"{line}\n" for line in report(count(world, runs))))


def text_control(
    prompts: Annotated[
        list[str] | None, typer.Argument(help="Prompt files with group and family, such as labelled.jsonl.")
    ] = None,
    shuffles: Annotated[int, typer.Option("--shuffles", min=1, help="Shuffles of the labels to compare with.")] = 200,
    lots: Annotated[
        int,
        typer.Option("--lots", min=0, help="Compare lots of so many seeds of the bundled world as well, from 2 on."),
    ] = 0,
) -> None:
    """Whether captions alone tell memorized prompts from their controls: they must not."""
    hush()
    from memdetect.inputs.prompts import read
    from memdetect.lab.world import text_control as control

    for line in control.compared(read(prompts).items if prompts else (), shuffles):
        write(f"{line}\n")
    for line in control.lots(lots) if lots > 1 else ():
        write(f"{line}\n")


def pixel_rule(
    vae: Annotated[Path, typer.Argument(help="Folder of an autoencoder, such as models/NAME/vae.")],
    count: Annotated[
        int, typer.Option("--count", min=4, help="Fresh scenes; the rule is chosen on half of them.")
    ] = 500,
    plot: Plot = None,
    folder: WorldFolder = None,
    seed: WorldSeed = 0,
) -> None:
    """Choose the pixel thresholds between damaged copies and redraws, and count on the other half what they tell."""
    hush()
    from memdetect.copies.pixels import CopyRule
    from memdetect.lab.training import pixel_rule as rule
    from memdetect.lab.training.embedding import open_vae

    trial = rule.try_rule(open_vae(vae), _world(folder, seed), count)
    write("".join(f"{line}\n" for line in trial.lines()))
    if plot:
        rule.plot(trial.rows, CopyRule(), plot)


def embedder_trial(
    model: Annotated[Path, typer.Argument(help="Folder of a model, which holds vae/.")],
    embedder: Annotated[Path, typer.Argument(help="Folder that holds embedder/, such as the same.")],
    embedders: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME...]", help="Embedders; default: scenes, pdq, pixels.")
    ] = None,
    indexed: Annotated[int, typer.Option("--indexed", min=2, help="Scenes in the index.")] = 2000,
    queries: Annotated[int, typer.Option("--queries", min=1, help="Queries of each kind, at most as indexed.")] = 300,
    nulls: Annotated[int, typer.Option("--nulls", min=1, help="Scenes that are not in the index.")] = 2000,
    folder: WorldFolder = None,
    seed: WorldSeed = 0,
) -> None:
    """Damaged copies that an embedder finds in an index of scenes; redraws and siblings that it takes for copies."""
    hush()
    from memdetect.copies.embedders import load_embedder
    from memdetect.lab.training.embedder_trial import Sizes, make_trial
    from memdetect.lab.training.embedding import open_vae

    trial = make_trial(open_vae(model / "vae"), _world(folder, seed), Sizes(indexed, min(queries, indexed), nulls))
    write(f"{trial.heading()}\n")
    for name in embedders or ("scenes", "pdq", "pixels"):
        for line in trial.table(load_embedder(name, folder=embedder)):
            write(f"{line}\n")


def _world(folder: Path | None, seed: int) -> Any:
    from memdetect.lab.world.recipe import find_world, read_world

    return read_world(folder) if folder else find_world(seed=seed)


def _pairs(given: list[str]) -> dict[str, str]:
    """Controls by group."""
    found = {group: control for group, _, control in (pair.partition("=") for pair in given)}
    if not all(found.keys()) or not all(found.values()):
        raise MemdetectError(f"--pair {' '.join(given)!r} names no pairs; expected GROUP=CONTROL")
    return found


def _write_json(path: Path | None, data: Any) -> None:
    import json

    from memdetect.files import write_atomic

    if path:
        write_atomic(path, json.dumps(data, indent=1) + "\n")


COMMANDS = (dose_response, copy_evidence, separation, power, text_control, pixel_rule, embedder_trial)
