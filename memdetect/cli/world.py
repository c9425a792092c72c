"""What commands of `memdetect lab` share: which world, the name of a run in the cache."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeAlias

import typer

from memdetect.cli.unfold import Take
from memdetect.inputs.options import Loading, Seed


@dataclass(frozen=True, slots=True)
class WorldPlace:
    """A world: that of a folder, else the bundled one, drawn from a seed."""

    panel: ClassVar[str] = "World"
    folder: Annotated[
        Path | None,
        typer.Option(
            "--world",
            help="Folder of a world, made by `memdetect lab world`; else the bundled one, where that can serve.",
        ),
    ] = None
    seed: Seed = 0


OnCpu: TypeAlias = Annotated[Loading, Take(only=("device",), default=Loading(device="cpu"))]
RunName = Annotated[str, typer.Option("--name", help="Name of the training run in the cache; the same name resumes.")]


def world_of(where: WorldPlace) -> Any:
    """The world and its stock of pictures."""
    from memdetect.lab.world.recipe import find_world, read_world

    return read_world(where.folder) if where.folder else find_world(seed=where.seed)
