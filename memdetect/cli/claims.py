"""Commands of `memdetect lab` that evaluate claims: each measures anew what a page of docs/ says."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from memdetect.cli.options import Compared, Count
from memdetect.cli.terminal import hush, write
from memdetect.cli.unfold import Take, unfolded
from memdetect.cli.world import WorldPlace, world_of
from memdetect.errors import Exit, MemdetectError
from memdetect.inputs.options import Judging

Runs = Annotated[list[Path], typer.Argument(metavar="RUN", help="Folders written by memdetect scan.")]
Json = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write all figures into this file as well.")]
Plot = Annotated[
    Path | None, typer.Option("--plot", metavar="PNG", help="Draw the figure into this file; needs the extra `report`.")
]
Reported: TypeAlias = Annotated[Compared, Take(only=("test",), default=Compared(""))]
Discoveries: TypeAlias = Annotated[Judging, Take(only=("calibration", "fdr"))]


@unfolded
def separation(
    runs: Runs,
    compared: Compared,
    groups: Annotated[
        Path | None,
        typer.Option("--groups", help="JSON lines with id, group and part, for runs whose inputs had none."),
    ] = None,
    grids: Annotated[
        bool, typer.Option("--grids", help="Print the AUROC of every layer and timestep as well.")
    ] = False,
    json_file: Json = None,
) -> None:
    """How well the scores of finished runs tell one group from others: AUROC by layer and timestep, with intervals."""
    hush()
    from memdetect.evaluation import document
    from memdetect.evaluation.separation import report, separate

    found = separate(runs, groups, compared.question())
    write(f"{report(found, grids)}\n")
    _write_json(json_file, document(found))


@unfolded
def power(
    clean: Annotated[Path, typer.Argument(help="Run of clean prompts that nothing was chosen on.")],
    judging: Discoveries,
    reported: Reported,
    labelled: Annotated[Path | None, typer.Option("--labelled", help="Run of prompts with a column `group`.")] = None,
    pair: Annotated[
        Sequence[str],
        typer.Option(
            "--pair", metavar="GROUP=CONTROL", help="Group and its control; repeatable. Default: those of a lab world."
        ),
    ] = (),
    test_split: Annotated[
        bool,
        typer.Option(
            "--test-split", help="Of prompts without parts, take only the test split: half of the families, by a hash."
        ),
    ] = False,
    splits: Annotated[int, typer.Option("--splits", min=1, help="Number of re-splits of the clean scores.")] = 200,
    json_file: Json = None,
) -> None:
    """Realised rates of calibrated p-values and power by group; exit 1 when a rate is outside its 95 % interval."""
    hush()
    from dataclasses import asdict

    from memdetect.evaluation.power import Wanted, powers, rates
    from memdetect.judging import read_runs
    from memdetect.lab.world.compared import CONTROLS, TEST_PARTS
    from memdetect.runs.policy import Policy

    wanted = Wanted(_pairs(pair) if pair else CONTROLS, tuple(reported.test) or TEST_PARTS, test_split)
    policy = Policy() if judging.fdr is None else Policy(fdr=judging.fdr)
    calibration = None if judging.calibration is None else Path(judging.calibration)
    realised, again = rates(run := read_runs([clean], calibration), splits)
    write("".join(f"{line}\n" for line in (*realised, *again)))
    found = powers(read_runs([labelled], calibration), run, wanted, policy) if labelled else []
    write("".join(f"{each.line(policy.fdr)}\n" for each in found))
    tables = {"rates": realised, "resplits": again, "power": found}
    _write_json(json_file, {name: [asdict(each) for each in table] for name, table in tables.items()})
    raise typer.Exit(int(Exit.OK if all(each.inside for each in realised if each.rank) else Exit.FAILED))


@unfolded
def dose_response(
    world: Annotated[Path, typer.Argument(help="Folder with truth.jsonl, judged by `lab truth`.")],
    run: Annotated[Path, typer.Argument(help="Run of its labelled.jsonl.")],
    place: Annotated[
        tuple[str, str, str],
        typer.Option(
            "--place",
            metavar="DETECTOR LAYERS T",
            help="Scores to show: detector, layers and timestep; the mean over the layers that match.",
        ),
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


@unfolded
def copy_evidence(
    world: Annotated[Path, typer.Argument(help="Folder with world.json.")],
    runs: Runs,
) -> None:
    """Count reproduced images found in an index with the right original, and clean ones called copies."""
    hush()
    from memdetect.lab.world.copy_evidence import count, report

    write("".join(f"{line}\n" for line in report(count(world, runs))))


@unfolded
def said(
    labelled: Annotated[Path, typer.Argument(help="Run of a world's labelled.jsonl.")],
    clean: Annotated[Path, typer.Argument(help="Run of its clean-test.jsonl.")],
    reference: Annotated[Path, typer.Argument(help="Run that its calibration was made of, NAME.run.")],
) -> None:
    """What detectors tell, and which clean prompts they flag, by whether captions say where everything stands."""
    hush()
    from memdetect.lab.world.said import tables
    from memdetect.runs.folder import RunFolder

    runs = [list(RunFolder(path).measurements()) for path in (labelled, clean, reference)]
    for line in tables(*runs):
        write(f"{line}\n")


@unfolded
def text_control(
    prompts: Annotated[
        list[str] | None, typer.Argument(help="Prompt files with group and family, such as labelled.jsonl.")
    ] = None,
    shuffles: Annotated[
        int, typer.Option("--shuffles", min=1, help="Number of shuffles of the labels to compare with.")
    ] = 200,
    assignments: Annotated[
        int,
        typer.Option(
            "--assignments", min=0, help="Number of random assignments of the bundled world to compare, from 2 on."
        ),
    ] = 0,
) -> None:
    """Whether captions alone tell memorized prompts from their controls: they must not."""
    hush()
    from memdetect.inputs.prompts import read
    from memdetect.lab.world import text_control as control

    for line in control.compared(read(prompts).items if prompts else (), shuffles):
        write(f"{line}\n")
    for line in control.assignments(assignments) if assignments > 1 else ():
        write(f"{line}\n")


@unfolded
def pixel_rule(
    vae: Annotated[Path, typer.Argument(help="Folder of an autoencoder, such as models/NAME/vae.")],
    where: WorldPlace,
    count: Count = 500,
    plot: Plot = None,
) -> None:
    """Choose the pixel thresholds between damaged copies and redraws; count on the test split what they tell."""
    hush()
    from memdetect.copies.pixels import CopyRule
    from memdetect.lab.training import pixel_rule as rule
    from memdetect.lab.training.embedding import open_vae

    trial = rule.try_rule(open_vae(vae), world_of(where), count)
    write("".join(f"{line}\n" for line in trial.lines()))
    if plot:
        rule.plot(trial.rows, CopyRule(), plot)


@unfolded
def embedder_trial(
    model: Annotated[Path, typer.Argument(help="Folder of a model, which holds vae/.")],
    embedder: Annotated[Path, typer.Argument(help="Folder that holds embedder/, such as the same.")],
    where: WorldPlace,
    embedders: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME...]", help="Embedders; default: scenes, pdq, pixels.")
    ] = None,
    indexed: Annotated[int, typer.Option("--indexed", min=2, help="Number of scenes in the index.")] = 2000,
    queries: Annotated[
        int, typer.Option("--queries", min=1, help="Number of queries of each kind, at most as many as are indexed.")
    ] = 300,
    strangers: Annotated[
        int, typer.Option("--strangers", min=1, help="Number of scenes that are not in the index.")
    ] = 2000,
) -> None:
    """Damaged copies that an embedder finds in an index of scenes; redraws and siblings that it takes for copies."""
    hush()
    from memdetect.copies.embedders import load_embedder
    from memdetect.lab.training.embedder_trial import Sizes, make_trial
    from memdetect.lab.training.embedding import open_vae

    trial = make_trial(open_vae(model / "vae"), world_of(where), Sizes(indexed, min(queries, indexed), strangers))
    write(f"{trial.heading()}\n")
    for name in embedders or ("scenes", "pdq", "pixels"):
        for line in trial.table(load_embedder(name, folder=embedder)):
            write(f"{line}\n")


def _pairs(given: Sequence[str]) -> dict[str, str]:
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


COMMANDS = (dose_response, copy_evidence, said, separation, power, text_control, pixel_rule, embedder_trial)
