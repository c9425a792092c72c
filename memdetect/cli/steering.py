"""What the commands of `memdetect steer` share: what they read, check and write."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import typer

from memdetect.cli.terminal import hush, progress_bar, say, say_not_finite
from memdetect.errors import MemdetectError
from memdetect.inputs.options import EmbedderName, Inputs, Layers, Lookup

if TYPE_CHECKING:
    from memdetect.adapters import Model as Loaded
    from memdetect.copies.embedders import Embedder
    from memdetect.evaluation import Question
    from memdetect.inputs.prompts import Request
    from memdetect.probing import Sampler
    from memdetect.runs.records import Measurement
    from memdetect.steering import Course, Edit, Recipe, Vector, Window


@dataclass(frozen=True, slots=True)
class References:
    """What a vector is made of, and how."""

    panel: ClassVar[str] = "References"
    shown: Annotated[
        Sequence[str],
        typer.Option("--with", metavar="PROMPTS", help="Prompts or images that show the edit; repeatable."),
    ] = ()
    without: Annotated[
        Sequence[str],
        typer.Option("--without", metavar="PROMPTS", help="Prompts or images without the edit; repeatable."),
    ] = ()
    references: Annotated[
        int | None, typer.Option("--references", min=1, help="Number of references on each side; fewer are an error.")
    ] = None
    method: Annotated[
        Literal["mean", "difference", "orthogonal"] | None,
        typer.Option(
            "--method",
            help="How the direction is made. Default: difference if there are references without the edit, else mean.",
        ),
    ] = None
    normalise: Annotated[
        bool, typer.Option("--normalise", help="Scale the direction to the references' mean length.")
    ] = False
    layers: Layers = ()
    at: Annotated[
        Literal["output", "hidden"],
        typer.Option("--at", help="Where to steer: output is what a layer returns, hidden is where a scan probes it."),
    ] = "output"
    timestep: Annotated[
        int,
        typer.Option(
            "--reference-timestep",
            min=0,
            help="Timestep at which the references are probed; a later one for coarse traits.",
        ),
    ] = 10
    embedder: EmbedderName = "auto"


@dataclass(frozen=True, slots=True)
class Steered:
    """A vector, and where it steers. Window: START:END of the steps, from 0, or the last ones; None = all of them."""

    panel: ClassVar[str] = "Steering"
    vector: Annotated[Path, typer.Option("--vector", help="Vector file made by `memdetect steer build`.")]
    layers: Layers = ()
    window: Annotated[
        str | None, typer.Option("--window", metavar="START:END", help="Steps to steer, counted from 0. Default: all.")
    ] = None
    last: Annotated[int | None, typer.Option("--last", min=1, help="Number of last steps to steer.")] = None
    skip_last: Annotated[
        int | None, typer.Option("--skip-last", min=0, help="Number of steps at the very end to leave out.")
    ] = None

    def steps(self, count: int) -> "Window":
        """The steps to steer, of so many."""
        from memdetect.steering import Window

        return Window.of(count, self.window, last=self.last, skip_last=self.skip_last)


def read_requests(sources: Sequence[str], reading: Inputs) -> "tuple[Request, ...]":
    """Requests of prompt files or images; none for no sources."""
    from memdetect.inputs.prompts import read

    return read(sources, column=reading.prompt_column, format=reading.prompts_format).items if sources else ()


def read_given(
    files: Sequence[str], reading: Inputs, strength: str, steered: Steered
) -> "tuple[tuple[Request, ...], tuple[float, ...], Vector]":
    """Prompts, strengths and vector, checked before a model is loaded."""
    requests = read_requests(files, reading)
    if any(request.prompt is None for request in requests):
        raise MemdetectError("only prompts can be steered; images serve as references of `memdetect steer build`")
    hush()
    from memdetect.steering import read_vector, strengths_of

    strengths, vector = strengths_of(strength), read_vector(steered.vector)
    return requests, strengths, vector.only(list(steered.layers)) if steered.layers else vector


def recipe_of(asked: References) -> "Recipe":
    """How a vector is made of references."""
    from memdetect.steering import Recipe

    return Recipe(asked.layers, asked.at, asked.method, asked.normalise, asked.timestep, asked.references)


def reference_embedder(name: str, model: "Loaded", lookup: Lookup) -> "Embedder | None":
    """What embeds the references, with a line if something has to be said of it; None where none is wanted."""
    from memdetect.copies.asking import source_in
    from memdetect.copies.embedders import choose_embedder

    if name == "none":
        return None
    chosen, note = choose_embedder(name, card=model.card.embedder, source=source_in(model.folder, lookup))
    if note:
        say(note)
    return chosen


def embedder_of(vector: "Vector", model: "Loaded", lookup: Lookup) -> "Embedder | None":
    """The embedder that the vector was built with; None, and a line, where it is not to be had."""
    from memdetect.copies.asking import source_in
    from memdetect.copies.embedders import load_embedder

    made = vector.header.embedder
    if not made:
        return None
    try:
        source = source_in(model.folder, lookup)
        found = load_embedder(
            made["name"], folder=source.folder, weights=source.weights, trust_torchscript=source.trust_torchscript
        )
    except MemdetectError as problem:
        say(f"images are not compared by {made['name']}: {problem}")
        return None
    if found.fingerprint != made["fingerprint"]:
        raise MemdetectError(f"the vector was built with another {made['name']} than the one found; build it again")
    return found


def edit_of(target: tuple[int, int, int] | None, vector: "Vector", embedder: "Embedder | None") -> "Edit":
    """How an edit's success is told: by the ground's colour where it is known, else along the embedded references."""
    from memdetect.steering import along, to_ground

    if target is not None:
        return to_ground(target)
    if embedder is None or vector.embedding is None:
        raise MemdetectError("nothing tells the edit's success; give --ground, or build the vector with an embedder")
    return along(embedder, vector.embedding)


def measured(
    model: "Loaded", requests: "Sequence[Request]", course: "Course", edit: "Edit", sampler: "Sampler"
) -> "list[Measurement]":
    """The response of each prompt, with progress on stderr, and a line on those whose values are not finite."""
    from memdetect.detectors import BESIDE
    from memdetect.steering import Trial, measure

    with progress_bar("prompts") as progress:
        rows = measure(model, requests, Trial(course, edit, BESIDE), sampler, progress=progress)
    say_not_finite([row.status == "ok" for row in rows], "prompts")
    return rows


def compare(rows: "Sequence[Measurement]", question: "Question") -> tuple[str, dict[str, Any]]:
    """The groups' responses and the detectors, as Markdown and as plain data."""
    from memdetect.detectors import BESIDE
    from memdetect.evaluation import labels_of
    from memdetect.evaluation.response import as_data, contrasts, render, separations
    from memdetect.steering import CURVES, DETECTORS, SHAPES

    labels = labels_of(rows, None, question)
    compared = contrasts(rows, labels, (*CURVES, *SHAPES))
    areas = separations(rows, labels, (*DETECTORS, *(d.name for d in BESIDE)))
    return render(compared, areas), as_data(compared, areas)


def colour_of(text: str) -> tuple[int, int, int]:
    """A colour R,G,B, each from 0 to 255; MemdetectError for anything else."""
    parts = text.split(",")
    if len(parts) != 3 or not all(part.strip().isdecimal() and int(part) <= 255 for part in parts):
        raise MemdetectError(f"--ground {text!r} is no colour; expected R,G,B, each 0 to 255, such as 205,60,60")
    red, green, blue = (int(part) for part in parts)
    return red, green, blue


def facts_of(vector: "Vector", window: "Window", sampler: Any) -> dict[str, Any]:
    """What a file of numbers says of how they were made."""
    return {
        "vector": vector.header.model_dump(mode="json"),
        "layers": list(vector.layers),
        "window": str(window),
        "steps": sampler.steps,
        "guidance_scale": sampler.guidance_scale,
        "seed": sampler.seed,
    }


def save_picture(path: Path, picture: Any) -> None:
    """Write a picture; MemdetectError where that fails."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)
    except (OSError, ValueError) as problem:
        raise MemdetectError(f"cannot write {path}: {problem}; give a .png in a folder that can be written") from None
    say(f"wrote {path}")


def write_json(path: Path, numbers: dict[str, Any]) -> None:
    """Write numbers as JSON; MemdetectError where that fails."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(numbers, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    except OSError as problem:
        raise MemdetectError(f"cannot write {path}: {problem.strerror}; choose another place") from None
    say(f"wrote {path}")
