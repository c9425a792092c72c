"""Options of commands that are no part of a record, and what commands do with their options before they work."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeAlias

import typer

from memdetect.cli.terminal import say
from memdetect.cli.unfold import Take, path_of
from memdetect.errors import MemdetectError
from memdetect.inputs.options import Inputs, Judging, Loading, Lookup, Probing, Sampling, Sharing

if TYPE_CHECKING:
    from memdetect.evaluation import Question

FORMAT = typer.Option("--format", "-f", help="Format of what is printed on stdout.")
MODEL = typer.Option(
    "--model", "-m", help="Model to load: a bundled name, a folder, a .safetensors file or a hub id. It has no default."
)

ModelName = Annotated[str, MODEL]
ModelBeside = Annotated[str | None, MODEL]  # of an embedder that ships with a model
OUT = typer.Option(
    "--out", metavar="PATH", parser=path_of, help="Folder or file in which this command keeps its result."
)
Out = Annotated[Path, OUT]
MaybeOut = Annotated[Path | None, OUT]
TRAIN_STEPS = typer.Option("--train-steps", min=1, help="Number of training steps.")
Count = Annotated[int, typer.Option("--count", min=1, help="Number of items to make.")]

TUNING_PART = typer.Option(
    "--tuning-part",
    metavar="PART",
    help="Value of the column part that marks the tuning split; repeatable. Without it, one is drawn.",
)
TEST_PART = typer.Option("--test-part", help="Value of the column part that marks the test split; repeatable.")

WEIGHTS = ("weights", "trust_torchscript")

Labelled = Annotated[
    list[str],
    typer.Argument(metavar="LABELLED", help="Prompt files with a column group."),
]


@dataclass(frozen=True, slots=True)
class Compared:
    """Which labelled items are compared, by their column `group`; parts: by their column `part`."""

    panel: ClassVar[str] = "Groups"
    positive: Annotated[
        str,
        typer.Option(
            "--positive", metavar="GROUP", help="Group that should score high, such as the memorized prompts."
        ),
    ]
    against: Annotated[
        Sequence[str],
        typer.Option(
            "--against",
            metavar="GROUP",
            help="Group to compare with; repeatable, the first counts most. Default: every other group, in order.",
        ),
    ] = ()
    tuning: Annotated[Sequence[str], TUNING_PART] = ()
    test: Annotated[Sequence[str], TEST_PART] = ()

    def question(self) -> "Question":
        """The same for `memdetect.evaluation`."""
        from memdetect.evaluation import Question

        return Question(self.positive, tuple(self.against), tuple(self.tuning), tuple(self.test))


# Parts of records that several commands take.
Reading: TypeAlias = Annotated[Inputs, Take(only=("prompt_column", "prompts_format"))]
OnDevice: TypeAlias = Annotated[Loading, Take(only=("device",))]
EmbedderFile: TypeAlias = Annotated[Lookup, Take(only=WEIGHTS, panel="Embedder")]
ScanJudging: TypeAlias = Annotated[
    Judging,
    Take(
        only=("calibration", "base", "base_rounds", "fail_on", "policy", "max_rate", "fdr", "screen_recall"),
        front=("calibration", "fail_on"),
    ),
]
ScanLookup: TypeAlias = Annotated[Lookup, Take(front=("index", "train_images"))]
GateJudging: TypeAlias = Annotated[Judging, Take(without=("base", "base_rounds"))]
CleanLookup: TypeAlias = Annotated[Lookup, Take(without=("train_images", "instance_prompt"))]
CleanSharing: TypeAlias = Annotated[Sharing, Take(without=("ray",))]
Near: TypeAlias = Annotated[
    Lookup, Take(only=("index", "top_k", *WEIGHTS), required=("index",), default=Lookup(top_k=5))
]
SweepProbing: TypeAlias = Annotated[Probing, Take(without=("combine", "strata"))]
OneSeed: TypeAlias = Annotated[Sampling, Take(without=("call",), default=Sampling(num_seeds=1))]
OneImage: TypeAlias = Annotated[Sampling, Take(without=("num_seeds", "call"), default=Sampling(num_seeds=1))]


def checked_model(model: str) -> str:
    """The model's name; MemdetectError for an empty one, which an unset variable leaves behind."""
    if not model.strip():
        raise MemdetectError("--model is empty; give a bundled name, a folder or a hub id (see `memdetect models`)")
    return model


def say_loading(model: str, loading: Loading) -> None:
    """Name the model on stderr, with what has to be downloaded for it, if a hub tells."""
    from memdetect.adapters.downloads import download_of

    download = download_of(model, loading)
    say(f"loading {model}: {download}" if download else f"loading {model}")


def opened(model: str, loading: Loading) -> Any:
    """The loaded model, with a line on stderr that it is being loaded."""
    from memdetect.adapters import load
    from memdetect.adapters.places import check_loading

    check_loading(checked_model(model), loading)
    say_loading(model, loading)
    return load(model, loading)


def asked_for(files: Sequence[str], inputs: Inputs, name: str = "unconditional") -> Any:
    """The requests of files, labels or images without a prompt; name: the beginning of the ids of the last."""
    from memdetect.inputs.given import check_reading
    from memdetect.inputs.labels import requests_of
    from memdetect.inputs.prompts import read

    found = requests_of(files, inputs.labels, inputs.unconditional, name)
    if found:
        check_reading(inputs, "--labels is" if inputs.labels else "--unconditional is")
    return found or read(files, column=inputs.prompt_column, format=inputs.prompts_format)
