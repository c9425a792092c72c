"""What a run is judged by."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from typer import Option

from memdetect.inputs.options.shared import File, Given


@dataclass(frozen=True, slots=True)
class Judging:
    """What scores are ranked among, and the policy: what fails, and what a pass has to rest on; see `runs.policy`.

    base: what the model was fine-tuned from, by whatever `load` takes: the same prompts drawn by it, `base_rounds`
    times, are what scores are ranked among. A limit that is None is that of the policy's file, else the default.
    review: files of what people decided of findings, see `runs.review`.
    """

    panel: ClassVar[str] = "Judging"
    calibration: Annotated[
        File | None,
        Option(
            "--calibration",
            help="File of clean scores, made by `memdetect calibrate`. Default: those kept with the run or the model.",
        ),
    ] = None
    base: Annotated[
        Any,
        Option(
            "--base",
            help="Model that this one was fine-tuned from. It draws the same prompts, and scores are "
            "compared with its scores.",
        ),
        Given(str | None),
    ] = None
    base_rounds: Annotated[
        int | None,
        Option(
            "--base-rounds",
            min=2,
            metavar="N",
            help="How often the base draws each prompt. Default: 20 to 40, by the number of prompts; twice that where "
            "several detectors decide.",
        ),
    ] = None
    fail_on: Annotated[
        Literal["copy", "partial-copy", "suspicious", "none"] | None,
        Option(
            "--fail-on",
            metavar="OUTCOME",
            help="Outcomes that fail the run: copy; partial-copy or worse; suspicious or worse; or none.",
        ),
    ] = None
    policy: Annotated[
        File | None, Option("--policy", help="File with the policy. Default: memdetect.toml, else pyproject.toml.")
    ] = None
    max_rate: Annotated[
        float | None,
        Option(
            "--max-rate",
            help="Largest share of prompts that may be flagged, near-duplicates counted once; its upper bound counts.",
        ),
    ] = None
    fdr: Annotated[
        float | None,
        Option(
            "--fdr", help="Tolerated share of false alarms among the findings (false discovery rate). Default: 0.05."
        ),
    ] = None
    level: Annotated[
        float | None,
        Option("--level", help="Largest p-value of a prompt that --max-rate counts as flagged. Default: 0.01."),
    ] = None
    confidence: Annotated[
        float | None, Option("--confidence", help="Confidence level of all bounds. Default: 0.95.")
    ] = None
    min_coverage: Annotated[
        float | None,
        Option(
            "--min-coverage", help="Smallest share of the training set that the index has to hold. Default: no limit."
        ),
    ] = None
    max_undetectable: Annotated[
        float | None,
        Option("--max-undetectable", help="Largest share of the items that may stay without a p-value. Default: 0."),
    ] = None
    delta: Annotated[
        float | None,
        Option(
            "--delta",
            help="Guarantee the error rates for this calibration set with probability 1 - DELTA. "
            "Default: on average over such sets.",
        ),
    ] = None
    min_sensitivity: Annotated[
        float | None,
        Option(
            "--min-sensitivity",
            help="Smallest share of known memorized prompts that the detectors have to find. Default: 0.5.",
        ),
    ] = None
    min_recall: Annotated[
        float | None,
        Option("--min-recall", help="Smallest share of planted copies that the index has to find. Default: 0.9."),
    ] = None
    max_one_colour: Annotated[
        float | None,
        Option("--max-one-colour", help="Largest share of the images that may be of a single colour. Default: 0.05."),
    ] = None
    screen_recall: Annotated[
        File | None,
        Option("--screen-recall", help="File that says how much a screen keeps, written by `memdetect screen-recall`."),
    ] = None
    min_screen_recall: Annotated[
        float | None,
        Option(
            "--min-screen-recall",
            help="Smallest share of findings that a screen has to keep, with 95 % confidence. Default: 0.9.",
        ),
    ] = None
    review: Annotated[
        Sequence[Path],
        Option(
            "--review",
            metavar="FILE",
            help="File of people's decisions, written by `memdetect review` or by the report; repeatable.",
        ),
    ] = ()

    @property
    def limits(self) -> dict[str, Any]:
        """The limits of the policy by name; None where none is given."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name not in NO_LIMITS}


NO_LIMITS = frozenset({"calibration", "base", "base_rounds", "policy", "screen_recall", "review"})
