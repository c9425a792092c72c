"""`memdetect steer`: build a steering vector, apply it to prompts, measure how memorized ones answer."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from memdetect.cli.options import (
    Against,
    BatchSize,
    Column,
    Device,
    DtypeOption,
    Guidance,
    Model,
    NumSeeds,
    Positive,
    PromptsFormat,
    Seed,
    Steps,
    Trust,
    Weights,
)
from memdetect.cli.output import progress_bar, say, say_not_finite, write
from memdetect.cli.steering import (
    colour_of,
    compare,
    edit_of,
    embedder_of,
    facts_of,
    load_model,
    question_of,
    read_given,
    read_requests,
    save_picture,
    window_of,
    write_json,
)

app = typer.Typer(help="Steer a model along a direction, and measure how it answers.", no_args_is_help=True)


class At(StrEnum):
    """Where a layer is read and steered."""

    output = "output"
    hidden = "hidden"


class Method(StrEnum):
    """How references become a direction."""

    mean = "mean"
    difference = "difference"
    orthogonal = "orthogonal"


VectorFile = Annotated[Path, typer.Option("--vector", help="Vector made by steer build.")]
Strengths = Annotated[str, typer.Option("--strength", help="Strengths, such as 0,0.5,1; 0 is no steering.")]
Where = Annotated[list[str] | None, typer.Option("--layer", help="Layer of the vector, or glob; repeatable; all.")]
Steered = Annotated[str | None, typer.Option("--window", help="Steps to steer, START:END, from 0; all.")]
Last = Annotated[int | None, typer.Option(min=1, help="Steer the last so many steps.")]
SkipLast = Annotated[int | None, typer.Option(min=0, help="Leave out the very last so many steps.")]
Many = Annotated[list[str], typer.Argument(metavar="PROMPTS...", help="Prompt files, or - for stdin.")]


@app.command("build")
def build_command(
    positive: Annotated[list[str], typer.Option(help="Prompts or images that show the edit; repeatable.")],
    model: Model,
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write: .safetensors.")],
    negative: Annotated[list[str] | None, typer.Option(help="The same without the edit; repeatable.")] = None,
    method: Annotated[Method | None, typer.Option(help="Default: difference with negatives, else mean.")] = None,
    normalise: Annotated[bool, typer.Option("--normalise", help="Scale to the references' mean length.")] = False,
    layer: Annotated[list[str] | None, typer.Option(help="Layer, glob or alias; repeatable.")] = None,
    at: Annotated[At, typer.Option(help="output: what a layer returns; hidden: what a scan looks at.")] = At.output,
    timestep: Annotated[int, typer.Option(min=0, help="Of the look at references; later for coarse traits.")] = 10,
    count: Annotated[int | None, typer.Option(min=1, help="References a side; fewer are an error.")] = None,
    embedder: Annotated[str, typer.Option(help="Keeps the edit's direction among images too; none: not.")] = "auto",
    column: Column = None,
    prompts_format: PromptsFormat = None,
    num_seeds: NumSeeds = 1,
    seed: Seed = 0,
    steps: Steps = None,
    guidance: Guidance = None,
    batch_size: BatchSize = 16,
    device: Device = None,
    dtype: DtypeOption = None,
    weights: Weights = None,
    trust_torchscript: Trust = False,
) -> None:
    """Make a steering vector from references: prompts, which are sampled, or images."""
    sides = [read_requests(side, column, prompts_format) for side in (positive, negative or [])]
    loaded = load_model(model, device, dtype)
    from memdetect.copies.embedders import Source, choose_embedder
    from memdetect.probing import Sampler
    from memdetect.steering import Recipe, build

    chosen = None
    if embedder != "none":
        source = Source(loaded.folder, weights, trust_torchscript)
        chosen, note = choose_embedder(embedder, card=loaded.card.embedder, source=source)
        if note:
            say(note)
    recipe = Recipe(tuple(layer or ()), at.value, method.value if method else None, normalise, timestep, count)
    sampler = Sampler.of(
        loaded, steps=steps, guidance_scale=guidance, num_seeds=num_seeds, seed=seed, batch_size=batch_size
    )
    vector, notes = build(loaded, sides[0], sides[1], sampler, recipe, chosen)
    for note in notes:
        say(note)
    vector.save(out)
    say(f"wrote {out}: {vector.header.method} of {vector.header.positive} and {vector.header.negative} references")
    write(vector.header.model_dump_json(indent=1) + "\n")


@app.command("apply")
def apply_command(
    inputs: Many,
    model: Model,
    vector: VectorFile,
    strength: Strengths = "0,0.2,0.3,0.4,0.5",
    out: Annotated[Path, typer.Option("--out", "-o", help="PNG of the grid; numbers go beside it, .json.")] = Path(
        "steered.png"
    ),
    layer: Where = None,
    window: Steered = None,
    last: Last = None,
    skip_last: SkipLast = None,
    column: Column = None,
    prompts_format: PromptsFormat = None,
    seed: Seed = 0,
    steps: Steps = None,
    guidance: Guidance = None,
    batch_size: BatchSize = 16,
    device: Device = None,
    dtype: DtypeOption = None,
    weights: Weights = None,
    trust_torchscript: Trust = False,
) -> None:
    """Sample prompts at several strengths from one shared noise: a grid of images, and numbers."""
    requests, strengths, direction = read_given(inputs, column, prompts_format, strength, vector, layer)
    loaded = load_model(model, device, dtype)
    from memdetect.probing import Sampler
    from memdetect.steering import Course, apply, draw

    direction.points(loaded)
    sampler = Sampler.of(loaded, steps=steps, guidance_scale=guidance, num_seeds=1, seed=seed, batch_size=batch_size)
    steered = window_of(sampler.steps, window, last, skip_last)
    chosen = embedder_of(direction, loaded, weights, trust_torchscript)
    with progress_bar("strengths") as progress:
        grid = apply(
            loaded,
            [request.prompt or "" for request in requests],
            Course(direction, strengths, steered, chosen),
            sampler,
            progress,
        )
    say_not_finite([row["finite"] for row in grid.rows], "images")
    numbers = {**facts_of(direction, steered, sampler), "strengths": grid.strengths, "rows": grid.rows}
    save_picture(out, draw(grid))
    write_json(out.with_suffix(".json"), numbers)


@app.command("measure")
def measure_command(
    inputs: Annotated[list[str], typer.Argument(metavar="LABELLED...", help="Prompt files with a column group.")],
    model: Model,
    vector: VectorFile,
    positive: Positive,
    against: Against = None,
    strength: Strengths = "0,0.5,1,1.5,2,3,4",
    out: Annotated[Path, typer.Option("--out", "-o", help="JSON of all numbers.")] = Path("steering.json"),
    ground: Annotated[
        str | None, typer.Option(help="Background that the edit aims at, R,G,B; else it is told by the embedder.")
    ] = None,
    layer: Where = None,
    window: Steered = None,
    last: Last = None,
    skip_last: SkipLast = None,
    column: Column = None,
    prompts_format: PromptsFormat = None,
    num_seeds: NumSeeds = 1,
    seed: Seed = 0,
    steps: Steps = None,
    guidance: Guidance = None,
    batch_size: BatchSize = 16,
    device: Device = None,
    dtype: DtypeOption = None,
    weights: Weights = None,
    trust_torchscript: Trust = False,
) -> None:
    """Measure the response of labelled prompts: memorized against controls, and steerability as a detector."""
    requests, strengths, direction = read_given(inputs, column, prompts_format, strength, vector, layer)
    question = question_of(requests, positive, against)
    target = colour_of(ground) if ground else None
    loaded = load_model(model, device, dtype)
    from memdetect.detectors import DEFAULT
    from memdetect.probing import Sampler
    from memdetect.steering import Course, Trial, measure

    direction.points(loaded)
    chosen = embedder_of(direction, loaded, weights, trust_torchscript)
    edit = edit_of(target, direction, chosen)
    sampler = Sampler.of(
        loaded, steps=steps, guidance_scale=guidance, num_seeds=num_seeds, seed=seed, batch_size=batch_size
    )
    steered = window_of(sampler.steps, window, last, skip_last)
    trial = Trial(Course(direction, strengths, steered, chosen), edit, DEFAULT)
    with progress_bar("prompts") as progress:
        rows = measure(loaded, requests, trial, sampler, progress=progress)
    say_not_finite([row.status == "ok" for row in rows], "prompts")
    report, numbers = compare(rows, question, [d.name for d in DEFAULT])
    how = {"edit": f"ground {target}" if target else "embedder's direction", "positive": positive, "against": against}
    items = [row.model_dump(mode="json") for row in rows]
    facts = {**facts_of(direction, steered, sampler), **how, "strengths": strengths}
    write_json(out, {**facts, **numbers, "items": items})
    write(report)
