"""Options that several records and commands have, and how a field is given where that is not as in Python."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from typer import Option

from memdetect.errors import MemdetectError

File: TypeAlias = str | Path


@dataclass(frozen=True, slots=True)
class Given:
    """How a field is given on the command line where that is not as in Python: the type there, and the way here."""

    type: Any
    made: Callable[[Any], Any] = lambda value: value


def pipeline_arguments(pairs: Sequence[str] | None) -> dict[str, Any]:
    """NAME=VALUE pairs as a dict; a value is JSON where it parses, else text.

    MemdetectError for one without `=`, and for a name that is given twice.
    """
    found: dict[str, Any] = {}
    for pair in pairs or ():
        name, equals, value = pair.partition("=")
        if not equals:
            raise MemdetectError(f"--call {pair!r} has no '='; expected NAME=VALUE, such as height=512")
        if name in found:
            raise MemdetectError(f"--call gives {name!r:.60} twice; give it once")
        try:
            found[name] = json.loads(value)
        except json.JSONDecodeError:
            found[name] = value
    return found


# Options of several records and commands.
RankNumber = Annotated[
    int | None,
    Option(
        "--rank",
        min=0,
        metavar="R",
        help="Number of this process, counted from 0. Default: what Slurm, torchrun or Kubernetes sets.",
    ),
]
World = Annotated[
    int | None,
    Option("--world", min=1, metavar="W", help="How many processes share the work. Default: as for --rank."),
]
Layers = Annotated[
    Sequence[str],
    Option("--layer", help="Layer to probe: a name, a glob, or an alias that `memdetect layers` lists; repeatable."),
]
BatchSize = Annotated[
    int,
    Option(
        "--batch-size",
        min=1,
        metavar="N",
        help="Images to compute at once; sampling halves it where memory does not suffice.",
    ),
]
Seed = Annotated[int, Option("--seed", min=0, metavar="N", help="Seed of everything that is drawn at random.")]
EmbedderName = Annotated[
    str,
    Option(
        "--embedder",
        help="What turns an image into a vector. auto: the model's own embedder, else SSCD if it "
        "is installed, else pdq-tiles.",
    ),
]
MaxPixels = Annotated[
    int, Option("--max-pixels", min=1, metavar="N", help="Largest number of pixels of an image that is still opened.")
]
