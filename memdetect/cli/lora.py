"""`memdetect lab lora` and `lab unseen`: fine-tune a model on a few pictures that it has never seen."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from memdetect.cli.options import TRAIN_STEPS, Count, ModelName, OnDevice, Out, checked_model
from memdetect.cli.terminal import hush, say, write
from memdetect.cli.unfold import Take, unfolded
from memdetect.cli.world import WorldPlace, world_of
from memdetect.inputs.options import Lookup, Seed


@unfolded
def lora(
    model: ModelName,
    pictures: Annotated[Lookup, Take(only=("train_images", "instance_prompt"), required=("train_images",))],
    loading: OnDevice,
    out: Out,
    train_steps: Annotated[int, TRAIN_STEPS] = 500,
    rank: Annotated[int, typer.Option("--rank", min=1, help="Rank of the matrices that are added to each layer.")] = 8,
    rate: Annotated[float, typer.Option("--rate", help="Learning rate of the training.")] = 1e-3,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Pictures in each training step.")] = 8,
    convolutions: Annotated[
        bool, typer.Option("--convolutions", help="Adapt the residual blocks too, not attention alone.")
    ] = False,
    seed: Seed = 0,
) -> None:
    """Train a LoRA, the .safetensors file --out, on captioned pictures with peft; needs the `lora` extra.

    It takes minutes on a CPU for a small model.
    """
    checked_model(model)
    hush()
    from memdetect.adapters import load
    from memdetect.inputs.captions import captioned
    from memdetect.lab.lora import Tuning, train_lora

    shown = captioned(Path(pictures.train_images or ""), pictures.instance_prompt)
    tuning = Tuning(train_steps, rank, rate, batch, convolutions, seed)
    made = train_lora(load(model, replace(loading, dtype="fp32")), shown, out, tuning, say)
    write(
        f"{made.file}: {len(shown)} pictures shown {made.shown:.0f} times each in {train_steps} steps of {batch}, "
        f"{made.parameters} parameters, loss {made.losses[0]:.4f} to {made.losses[-1]:.4f}, {made.seconds:.0f} s\n"
    )


@unfolded
def unseen(where: WorldPlace, out: Out, count: Count = 20) -> None:
    """Write scenes of unseen combinations, which the model of this world has never been shown, into the folder --out.

    Each has a .txt file of its caption.
    """
    hush()
    from memdetect.lab.world.recipe import write_unseen

    world, stock = world_of(where)
    write_unseen(out, world, stock, count)
    write(f"{out}\n")
