"""A step: one call of the denoiser as the network saw it, whether of a sampling run or of a finished image."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from memdetect.adapters.prediction import Kind, Prediction, predicted
from memdetect.errors import Exit, MemdetectError

Maps = Float[Tensor, "batch chan row col"]
Ask = Callable[[Tensor, int | None], tuple[Tensor, Tensor | None]]
Level = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Step:
    """One call of the denoiser for a batch of images, in the variance-preserving or flow form that the network sees.

    x: its input [batch chan row col]. level: (signal, noise) amplitudes of x. cond, uncond: its outputs with and
    without the condition, in the units that the network predicts; uncond is None where the run has no such branch.
    scale: of the run's guidance. number: of the step, from 0. ask: further queries under the same conditions, of
    (x, timestep or None for this step's own). level_at: levels of a timestep of the schedule. last: its timestep with
    the most noise.
    """

    x: Maps
    level: Level
    cond: Maps
    uncond: Maps | None
    kind: Kind
    scale: float
    number: int
    ask: Ask
    level_at: Callable[[int], Level]
    last: int

    @property
    def gap(self) -> Maps:
        """Cond - uncond in output space, where it exists at every noise level (Wen et al., 2024, in v or x0 units).

        Of a network that predicts noise, the difference of the noise. Raises MemdetectError without a second branch.
        """
        if self.uncond is None:
            raise MemdetectError("the run has no unconditional branch to compare with", Exit.ERROR)
        return self.cond.float() - self.uncond.float()

    @property
    def prediction(self) -> Prediction:
        """Clean image, noise and score that the conditional branch predicts."""
        return predicted(self.cond.float(), self.x.float(), self.level, self.kind)

    @property
    def clean(self) -> Maps:
        """x0-hat of the conditional branch, in latent units."""
        return self.prediction.clean

    @property
    def guided(self) -> Maps:
        """x0-hat of the guided output, uncond + scale * (cond - uncond); of the only branch without a second one."""
        if self.uncond is None:
            return self.clean
        output = self.uncond.float() + self.scale * self.gap
        return predicted(output, self.x.float(), self.level, self.kind).clean

    def at(self, x: Maps, timestep: int | None = None) -> "Step":
        """A further query: the same conditions at another input, and at another timestep of the schedule if given."""
        cond, uncond = self.ask(x, timestep)
        level = self.level if timestep is None else self.level_at(timestep)
        return replace(self, x=x, level=level, cond=cond, uncond=uncond)

    def gradient(self, value: Callable[["Step"], Float[Tensor, " batch"]]) -> Maps:
        """Gradient by x of a number for each image, by one further pass forwards and one backwards."""
        with torch.inference_mode(False), torch.enable_grad():
            x = self.x.detach().clone().requires_grad_(True)
            total = value(self.at(x)).sum()
            (found,) = torch.autograd.grad(total, x)
        return found


def clean(step: Step) -> Maps:
    """x0-hat of the conditional branch [batch chan row col]."""
    return step.clean
