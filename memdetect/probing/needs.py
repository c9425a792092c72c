"""What a detector asks of a probe: which small function of a step, at which steps, and where in the network."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, Literal

from torch import Tensor

from memdetect.errors import MemdetectError

Capture = Callable[[Any], Tensor]
Where = Literal["output", "features", "attention", "values", "text", "pictures"]
EARLY = 8.0  # noise over signal; the first steps of most schedules lie above


@dataclass(frozen=True, slots=True)
class Window:
    """Steps of a sampling run: the first, the last, all, those at or up to a noise level, or what comes after the last.

    sigma: of `at` the first step whose noise over signal is at most this, of `until` all steps up to that one. count:
    of `first` and `at` so many steps in a row, as far as the run has them. `after` is the finished latents, which a
    capture asks the network about by `Step.at`.
    """

    kind: Literal["first", "last", "run", "at", "until", "after"]
    sigma: float = 0.0
    count: int = 1

    def steps(self, sigmas: Sequence[float]) -> range:
        """Numbers of the steps, counted from 0, in a run with these noise levels; none for `after`.

        Raises MemdetectError where the run never gets down to the level.
        """
        count = len(sigmas)
        if self.kind in ("first", "last", "run", "after"):
            first = (0, min(self.count, count))
            ends = {"first": first, "last": (count - 1, count), "run": (0, count), "after": (0, 0)}[self.kind]
            return range(*ends)
        number = next((i for i, sigma in enumerate(sigmas) if sigma <= self.sigma), None)
        if number is None:
            raise MemdetectError(
                f"a step at a noise level (noise over signal) of at most {self.sigma:g} is needed, "
                f"{_ending(sigmas)}; give --steps {count + 1} or more"
            )
        return range(number, min(number + self.count, count)) if self.kind == "at" else range(number + 1)


def _ending(sigmas: Sequence[float]) -> str:
    """At which noise level a run ends, in words."""
    what = "the only step of this run is" if len(sigmas) == 1 else f"the {len(sigmas)} steps of this run end"
    return f"{what} at {sigmas[-1]:.3g}" if isfinite(sigmas[-1]) else f"{what} at noise without any signal"


FIRST, LAST, RUN, AFTER = Window("first"), Window("last"), Window("run"), Window("after")
AT_EARLY, UNTIL_EARLY = Window("at", EARLY), Window("until", EARLY)
NOISY = 20.0  # noise over signal; the first step of Stable Diffusion's schedule lies below, one without signal above
AT_NOISY = Window("at", NOISY)


@dataclass(frozen=True, slots=True)
class Need:
    """A capture, when it is taken, and where.

    capture: of `output` a function of the Step; of `features` one of a layer's features [batch chan position] at the
    chosen layers; of `attention` and `values` one of each cross-attention's Attention, and of the values that it makes
    of the Text; of `text` one of the Text itself; of `pictures`, after the run, one of the decoded Pictures. It gives
    one small tensor a row of the batch. when: a window of steps of the sampling run; None = the finished image, noised
    to a timestep. branches: whether the capture reads the unconditional branch; guided: whether it reads what guidance
    makes of both. embedding: whether it moves the prompt's embedding. fewest: steps of the window without which the
    score of a detector says nothing. further: passes that the capture asks for by itself each time, forwards or
    backwards. lacks: why a model cannot give it, "" where it can; asked before the first image.
    """

    capture: Capture
    when: Window | None = None
    where: Where = "output"
    branches: bool = False
    fewest: int = 1
    further: int = 0
    embedding: bool = False
    guided: bool = False
    lacks: Callable[[Any], str] | None = None

    @property
    def name(self) -> str:
        """Name of the capture, as messages say it."""
        return self.capture.__name__
