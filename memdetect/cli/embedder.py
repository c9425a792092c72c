"""`memdetect lab embedder`: train the copy embedder of a world's model."""

from pathlib import Path
from typing import Annotated

import typer

from memdetect.cli.output import Interrupt, hush, write


def embedder(
    vae: Annotated[Path, typer.Option(help="Folder of the model's autoencoder, such as models/NAME/vae.")],
    steps: Annotated[int, typer.Option(min=1, help="Steps of 96 scenes.")] = 800,
    run: Annotated[str, typer.Option(help="Name of the run in the cache; the same one resumes.")] = "embedder",
    folder: Annotated[Path | None, typer.Option("--world", help="Folder of a world; default: the bundled one.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the bundled world.")] = 0,
) -> None:
    """Train the small copy embedder that ships with a model, on fresh scenes; restartable."""
    hush()
    from memdetect.lab.training.embedding import EmbedderJob, open_vae, train_embedder
    from memdetect.lab.world.folders import cache_folder
    from memdetect.lab.world.recipe import find_world, read_world

    autoencoder = open_vae(vae)
    world, stock = read_world(folder) if folder else find_world(seed=seed)
    with Interrupt().listening() as interrupt:
        job = EmbedderJob(world, stock, autoencoder, cache_folder(run), steps, stop=interrupt.asked)
        out = train_embedder(job)
    write(f"{out}\n")
    raise typer.Exit(int(interrupt.exit or 0))
