"""`memdetect lab lora` and `lab unseen`: fine-tune a model on a few pictures that it has never seen."""

from pathlib import Path
from typing import Annotated

import typer

from memdetect.cli.options import Device, Model, checked_model
from memdetect.cli.output import hush, say, write


def lora(
    model: Model,
    train_images: Annotated[Path, typer.Option(help="Folder of pictures with captions beside them, as for scan.")],
    out: Annotated[Path, typer.Option(help="The .safetensors file to write.")],
    instance_prompt: Annotated[str | None, typer.Option(help="Caption of every picture that has none.")] = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps of AdamW.")] = 500,
    rank: Annotated[int, typer.Option(min=1, help="Rank of what is added to each layer.")] = 8,
    rate: Annotated[float, typer.Option(help="Learning rate.")] = 1e-3,
    batch: Annotated[int, typer.Option(min=1, help="Pictures a step.")] = 8,
    convolutions: Annotated[
        bool, typer.Option("--convolutions", help="On the residual blocks too, not on attention alone.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of weights, order, noise and times.")] = 0,
    device: Device = None,
) -> None:
    """Train a LoRA on captioned pictures with peft: minutes on a CPU for a small model; needs the `lora` extra."""
    checked_model(model)
    hush()
    from memdetect.adapters import load
    from memdetect.inputs.captions import captioned
    from memdetect.lab.lora import Tuning, train_lora

    tuning = Tuning(steps, rank, rate, batch, convolutions, seed)
    pictures = captioned(train_images, instance_prompt)
    made = train_lora(load(model, device=device, dtype="fp32"), pictures, out, tuning, say)
    write(
        f"{made.file}: {len(pictures)} pictures shown {made.shown:.0f} times each in {steps} steps of {batch}, "
        f"{made.parameters} parameters, loss {made.losses[0]:.4f} to {made.losses[-1]:.4f}, {made.seconds:.0f} s\n"
    )


def unseen(
    out: Annotated[Path, typer.Option(help="Folder for the pictures, each with a .txt file of its caption.")],
    count: Annotated[int, typer.Option(min=1, help="How many.")] = 20,
    folder: Annotated[Path | None, typer.Option("--world", help="Folder of a world; default: the bundled one.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the bundled world.")] = 0,
) -> None:
    """Write scenes of held-out combinations, which the model of this world has never been shown, with captions."""
    hush()
    from memdetect.lab.world.recipe import find_world, read_world, write_unseen

    write_unseen(out, *(read_world(folder) if folder else find_world(seed=seed)), count)
    write(f"{out}\n")
