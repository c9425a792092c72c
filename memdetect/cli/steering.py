"""What the commands of `memdetect steer` share: what they read, check and write."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memdetect.cli.options import checked_model
from memdetect.cli.output import hush, say
from memdetect.errors import MemdetectError

if TYPE_CHECKING:
    from memdetect.adapters import Model as Loaded
    from memdetect.copies.embedders import Embedder
    from memdetect.evaluation import Question
    from memdetect.inputs.prompts import Request
    from memdetect.runs.records import Measurement
    from memdetect.steering import Edit, Vector, Window


def read_requests(sources: Sequence[str], column: str | None, format: str | None) -> "tuple[Request, ...]":
    """Requests of prompt files or images; none for no sources."""
    from memdetect.inputs.prompts import read

    return read(sources, column=column, format=format).items if sources else ()


def read_given(
    inputs: Sequence[str], column: str | None, format: str | None, strength: str, file: Path, layers: list[str] | None
) -> "tuple[tuple[Request, ...], tuple[float, ...], Vector]":
    """Prompts, strengths and vector, checked before a model is loaded."""
    requests = read_requests(inputs, column, format)
    if any(request.prompt is None for request in requests):
        raise MemdetectError("only prompts can be steered; images serve as references of `memdetect steer build`")
    hush()
    from memdetect.steering import read_vector, strengths_of

    strengths, vector = strengths_of(strength), read_vector(file)
    return requests, strengths, vector.only(layers) if layers else vector


def load_model(model: str, device: str | None, dtype: Any) -> "Loaded":
    """The model, with a line on stderr that it is being loaded."""
    checked_model(model)
    hush()
    say(f"loading {model}")
    from memdetect.adapters import load

    return load(model, device=device, dtype=dtype.value if dtype else None)


def window_of(steps: int, text: str | None, last: int | None, skip_last: int | None) -> "Window":
    """The steps to steer."""
    from memdetect.steering import Window

    return Window.of(steps, text, last=last, skip_last=skip_last)


def embedder_of(vector: "Vector", model: "Loaded", weights: Path | None, trust: bool) -> "Embedder | None":
    """The embedder that the vector was built with; None, and a line, where it is not to be had."""
    from memdetect.copies.embedders import Source, load_embedder

    made = vector.header.embedder
    if not made:
        return None
    try:
        source = Source(model.folder, weights, trust)
        found = load_embedder(
            made["name"], folder=source.folder, weights=source.weights, trust_torchscript=source.trust_torchscript
        )
    except MemdetectError as problem:
        say(f"images are not compared by {made['name']}: {problem}")
        return None
    if found.fingerprint != made["fingerprint"]:
        raise MemdetectError(f"the vector was built with another {made['name']} than the one found; build it again")
    return found


def question_of(requests: "Sequence[Request]", positive: str, against: Sequence[str] | None) -> "Question":
    """What is compared; prompts without a group, and groups of fewer than two, are refused."""
    from memdetect.evaluation import Question, labels_of

    question = Question(positive, tuple(against or ()))
    labels_of(requests, None, question)
    return question


def edit_of(target: tuple[int, int, int] | None, vector: "Vector", embedder: "Embedder | None") -> "Edit":
    """How an edit's success is told: by the ground's colour where it is known, else along the embedded references."""
    from memdetect.steering import along, to_ground

    if target is not None:
        return to_ground(target)
    if embedder is None or vector.embedding is None:
        raise MemdetectError("nothing tells the edit's success; give --ground, or build the vector with an embedder")
    return along(embedder, vector.embedding)


def compare(
    rows: "Sequence[Measurement]", question: "Question", detectors: Sequence[str]
) -> tuple[str, dict[str, Any]]:
    """The groups' responses and the detectors, as Markdown and as plain data."""
    from memdetect.evaluation import labels_of
    from memdetect.evaluation.response import as_data, contrasts, render, separations
    from memdetect.steering import CURVES, DETECTORS, SHAPES

    labels = labels_of(rows, None, question)
    compared = contrasts(rows, labels, (*CURVES, *SHAPES))
    areas = separations(rows, labels, (*DETECTORS, *detectors))
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
