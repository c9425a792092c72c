"""`memdetect lab embedder`: train the copy embedder of a world's model."""

from pathlib import Path
from typing import Annotated

import typer

from memdetect.cli.options import TRAIN_STEPS
from memdetect.cli.terminal import Interrupt, hush, write
from memdetect.cli.unfold import unfolded
from memdetect.cli.world import RunName, WorldPlace, world_of


@unfolded
def embedder(
    vae: Annotated[Path, typer.Option("--vae", help="Folder of the model's autoencoder, such as models/NAME/vae.")],
    where: WorldPlace,
    train_steps: Annotated[int, TRAIN_STEPS] = 800,
    name: RunName = "embedder",
) -> None:
    """Train the small copy embedder that ships with a model, on fresh scenes, 96 a step; restartable."""
    hush()
    from memdetect.lab.training.embedding import EmbedderJob, open_vae, train_embedder
    from memdetect.lab.world.folders import cache_folder

    autoencoder = open_vae(vae)
    world, stock = world_of(where)
    with Interrupt().listening() as interrupt:
        job = EmbedderJob(world, stock, autoencoder, cache_folder(name), train_steps, stop=interrupt.asked)
        out = train_embedder(job)
    write(f"{out}\n")
    raise typer.Exit(int(interrupt.exit or 0))
