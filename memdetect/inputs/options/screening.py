"""Which prompts are sampled in full, where the first steps of a run choose them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from typer import Option


@dataclass(frozen=True, slots=True)
class Screening:
    """How the first steps of a run choose the prompts that are sampled in full and looked up.

    screen: share of the prompts, the strongest; screen_p: those with a p-value of at most this; without either all are
    sampled in full. screen_detectors: () = the usual one; a prompt that any of them finds strong is chosen.
    screen_steps: of the screen's run, of which only the first are made; None = at most ten.
    """

    panel: ClassVar[str] = "Screening"
    screen: Annotated[
        float | None,
        Option(
            "--screen",
            metavar="SHARE",
            help="Measure the first steps of every prompt, and sample only this share of them, the strongest, in full.",
        ),
    ] = None
    screen_p: Annotated[
        float | None,
        Option(
            "--screen-p",
            metavar="P",
            help="As --screen, but sample in full the prompts whose first steps have a p-value of at most P.",
        ),
    ] = None
    screen_detectors: Annotated[
        Sequence[str],
        Option(
            "--screen-detector", help="Detector that screens, of the first steps alone; repeatable. Default: sharpness."
        ),
    ] = ()
    screen_steps: Annotated[
        int | None,
        Option(
            "--screen-steps",
            min=1,
            metavar="N",
            help="Sampling steps that the screen plans; it makes the first few. Default: as the scan, at most 10.",
        ),
    ] = None

    @property
    def asked(self) -> bool:
        """Whether prompts are screened."""
        return self.screen is not None or self.screen_p is not None
