"""`memdetect steer`: build a steering vector, apply it to prompts, measure how memorized ones answer."""

import json
from pathlib import Path
from typing import Annotated

import typer

from memdetect.cli.options import (
    Compared,
    EmbedderFile,
    Labelled,
    ModelName,
    OneImage,
    OneSeed,
    Out,
    Reading,
    opened,
)
from memdetect.cli.steering import (
    References,
    Steered,
    colour_of,
    compare,
    edit_of,
    embedder_of,
    facts_of,
    measured,
    read_given,
    read_requests,
    recipe_of,
    reference_embedder,
    save_picture,
    write_json,
)
from memdetect.cli.terminal import hush, progress_bar, say, say_not_finite, write, write_lines
from memdetect.cli.unfold import Take, unfolded
from memdetect.inputs.harmless import ascii_json
from memdetect.inputs.options import Loading

app = typer.Typer(
    help="Steer a model along a direction, and measure how it answers.", no_args_is_help=True, add_completion=False
)

Strength = Annotated[
    str,
    typer.Option("--strength", metavar="X,X,...", help="Strengths to steer with, such as 0,0.5,1; 0 is no steering."),
]
Prompts = Annotated[list[str], typer.Argument(metavar="PROMPTS", help="Prompt files, or - for stdin.")]
Ground = Annotated[
    str | None,
    typer.Option(
        "--ground",
        metavar="R,G,B",
        help="Background colour that the edit aims at, R,G,B; without it, the embedder tells the edit.",
    ),
]


@app.command("build")
@unfolded
def build_command(
    references: Annotated[References, Take(required=("shown",))],
    model: ModelName,
    out: Out,
    reading: Reading,
    loading: Loading,
    sampling: OneSeed,
    embedder_file: EmbedderFile,
) -> None:
    """Make a steering vector from references, which are prompts to sample, or images; --out is the .safetensors file.

    With an embedder, the edit's direction among images is kept too; --embedder none leaves it out.
    """
    sides = [read_requests(side, reading) for side in (references.shown, references.without)]
    hush()
    loaded = opened(model, loading)
    from memdetect.scanning.prepare import sampler_of
    from memdetect.steering import build

    chosen = reference_embedder(references.embedder, loaded, embedder_file)
    sampler = sampler_of(loaded, sampling)
    vector, notes = build(loaded, sides[0], sides[1], sampler, recipe_of(references), chosen)
    for note in notes:
        say(note)
    vector.save(out)
    say(f"wrote {out}: {vector.header.method} of {vector.header.positive} and {vector.header.negative} references")
    write(ascii_json(json.dumps(vector.header.model_dump(mode="json"), indent=1)) + "\n")


@app.command("apply")
@unfolded
def apply_command(
    files: Prompts,
    model: ModelName,
    steered: Steered,
    reading: Reading,
    loading: Loading,
    sampling: OneImage,
    embedder_file: EmbedderFile,
    strength: Strength = "0,0.2,0.3,0.4,0.5",
    out: Out = Path("steered.png"),
) -> None:
    """Sample prompts at several strengths from one shared noise: a picture of all images, --out, and numbers.

    The numbers go beside the picture, with the suffix .json.
    """
    requests, strengths, direction = read_given(files, reading, strength, steered)
    loaded = opened(model, loading)
    from memdetect.scanning.prepare import sampler_of
    from memdetect.steering import Course, apply, draw

    direction.points(loaded)
    sampler = sampler_of(loaded, sampling)
    window = steered.steps(sampler.steps)
    course = Course(direction, strengths, window, embedder_of(direction, loaded, embedder_file))
    with progress_bar("strengths") as progress:
        grid = apply(loaded, [request.prompt or "" for request in requests], course, sampler, progress)
    say_not_finite([row["finite"] for row in grid.rows], "images")
    save_picture(out, draw(grid))
    numbers = {"strengths": grid.strengths, "rows": grid.rows}
    write_json(out.with_suffix(".json"), {**facts_of(direction, window, sampler), **numbers})


@app.command("measure")
@unfolded
def measure_command(
    files: Labelled,
    model: ModelName,
    compared: Annotated[Compared, Take(only=("positive", "against"))],
    steered: Steered,
    reading: Reading,
    loading: Loading,
    sampling: OneSeed,
    embedder_file: EmbedderFile,
    strength: Strength = "0,0.5,1,1.5,2,3,4",
    ground: Ground = None,
    out: Out = Path("steering.json"),
) -> None:
    """Measure how labelled prompts answer: memorized against controls; all numbers go into the JSON file --out."""
    requests, strengths, direction = read_given(files, reading, strength, steered)
    from memdetect.evaluation import labels_of

    question = compared.question()
    labels_of(requests, None, question)
    target = colour_of(ground) if ground else None
    loaded = opened(model, loading)
    from memdetect.scanning.prepare import sampler_of
    from memdetect.steering import Course

    direction.points(loaded)
    sampler = sampler_of(loaded, sampling)
    window = steered.steps(sampler.steps)
    course = Course(direction, strengths, window, embedder_of(direction, loaded, embedder_file))
    rows = measured(loaded, requests, course, edit_of(target, direction, course.embedder), sampler)
    report, numbers = compare(rows, question)
    edit = f"ground {target}" if target else "embedder's direction"
    how = {"edit": edit, "positive": question.positive, "against": list(question.rivals) or None}
    items = [row.model_dump(mode="json") for row in rows]
    facts = {**facts_of(direction, window, sampler), **how, "strengths": strengths}
    write_json(out, {**facts, **numbers, "items": items})
    write_lines(report.splitlines())
