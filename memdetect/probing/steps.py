"""A step: one call of the denoiser as the network saw it, whether of a sampling run or of a finished image."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.forward_ad import dual_level, make_dual, unpack_dual
from torch.nn.attention import SDPBackend, sdpa_kernel

from memdetect.adapters.prediction import Kind, Prediction, predicted
from memdetect.errors import Exit, MemdetectError
from memdetect.probing.batches import seed_of

Maps = Float[Tensor, "batch chan row col"]
Ask = Callable[[Tensor, int | None], tuple[Tensor, Tensor | None]]
Between = Callable[[Tensor, float], Tensor]
Level = tuple[float, float]


def _alone(_x: Tensor, _share: float) -> Tensor:
    """The answer of a step that has no branch without the condition."""
    raise MemdetectError("the run has no unconditional branch to compare with", Exit.ERROR)


@dataclass(frozen=True, slots=True)
class Step:
    """One call of the denoiser for a batch of images, in the variance-preserving or flow form that the network sees.

    x: its input [batch chan row col]. level: (signal, noise) amplitudes of x. cond, uncond: its outputs with and
    without the condition, in the units that the network predicts; uncond is None where the run has no such branch.
    scale: of the run's guidance. number: of the step, from 0. ask: further queries under the same conditions, of
    (x, timestep or None for this step's own). level_at: levels of a timestep of the schedule. last: its timestep with
    the most noise. between: a query at a part of the condition. seeds: of the images. rescaled: whether the run
    rescales its guided output, which is not worked out here.
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
    between: Between = _alone
    seeds: tuple[int, ...] = ()
    rescaled: bool = False

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
    def without(self) -> Prediction:
        """Clean image, noise and score that the branch without the condition predicts; as `gap` where there is none."""
        return predicted(self.cond.float() - self.gap, self.x.float(), self.level, self.kind)

    @property
    def noise_gap(self) -> Maps:
        """Difference of the noise that the two branches predict; 0 at a step without signal of v or a flow."""
        return self.prediction.noise - self.without.noise

    @property
    def clean(self) -> Maps:
        """x0-hat of the conditional branch, in latent units."""
        return self.prediction.clean

    @property
    def guided(self) -> Maps:
        """x0-hat of the guided output, uncond + scale * (cond - uncond); of the only branch without a second one.

        Raises MemdetectError for a run that rescales it.
        """
        if self.uncond is None:
            return self.clean
        if self.rescaled:
            said = "the run rescales its guided output by guidance_rescale, which is not worked out here; leave it out"
            raise MemdetectError(said, Exit.ERROR)
        output = self.uncond.float() + self.scale * self.gap
        return predicted(output, self.x.float(), self.level, self.kind).clean

    def at(self, x: Maps, timestep: int | None = None) -> "Step":
        """A further query: the same conditions at another input, and at another timestep of the schedule if given."""
        cond, uncond = self.ask(x, timestep)
        level = self.level if timestep is None else self.level_at(timestep)
        return replace(self, x=x, level=level, cond=cond, uncond=uncond)

    def at_condition(self, share: float) -> Maps:
        """The network's output at x with the condition a share of the way from none (0) to the step's own (1)."""
        return self.between(self.x, share)

    def noise(self, number: int = 0) -> Maps:
        """Standard normal numbers of the shape of x, of each image's own seed; another number gives another draw."""
        made = [torch.Generator("cpu").manual_seed(seed_of(seed, "", number, "query")) for seed in self.seeds]
        own = [torch.randn(self.x.shape[1:], generator=generator) for generator in made]
        return torch.stack(own).to(self.x.device)

    def noised(self, timestep: int, number: int = 0) -> tuple["Step", Maps]:
        """A query at the step's x with noise added up to a timestep, and that noise; for finished latents."""
        signal, amount = self.level_at(timestep)
        noise = self.noise(number)
        return self.at(signal * self.x.float() + amount * noise, timestep), noise

    def gradient(self, value: Callable[["Step"], Float[Tensor, " batch"]], timestep: int | None = None) -> Maps:
        """Gradient by x of a number for each image, by one further pass forwards and one backwards."""
        with torch.inference_mode(False), torch.enable_grad():
            x = self.x.detach().clone().requires_grad_(True)
            total = value(self.at(x, timestep)).sum()
            (found,) = torch.autograd.grad(total, x)
        return found

    def tangent(self, direction: Maps) -> "Step":
        """Derivative of the step by x along a direction, exact, by one pass that carries it along (counted as two).

        A step whose x is the direction and whose outputs are their derivatives. What a step says of them is linear in
        both, so its `gap`, `noise_gap`, `prediction` and `guided` are the derivatives of those. Attention is computed
        as written for that pass, for its fused forms have no derivative forwards; nor has a U-Net without text.
        """
        with torch.inference_mode(False), torch.no_grad(), sdpa_kernel(SDPBackend.MATH), dual_level():
            x, along = (part.detach().float().clone() for part in (self.x, direction))
            asked = self.ask(make_dual(x, along), None)
            cond, uncond = (None if out is None else unpack_dual(out).tangent for out in asked)
        if cond is None or (self.uncond is not None and uncond is None):
            raise MemdetectError("the network's output does not follow its input; nothing to derive", Exit.ERROR)
        return replace(self, x=along, cond=cond, uncond=uncond)


def clean(step: Step) -> Maps:
    """x0-hat of the conditional branch [batch chan row col]."""
    return step.clean
