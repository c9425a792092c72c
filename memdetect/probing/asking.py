"""Ask the denoiser again under the conditions of the step that it has just run, and count the passes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.forward_ad import unpack_dual

from memdetect.adapters import Model
from memdetect.adapters.latents import pack, unpack
from memdetect.adapters.points import Point
from memdetect.adapters.schedule import network_time
from memdetect.errors import Exit, MemdetectError
from memdetect.probing.hooks import SHARED, Replay, plain
from memdetect.probing.needs import AFTER, Need

Call = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What of a sampling run is wanted: captures, the layers whose features are captured, and whether its images are.

    Without `whole` the run is ended after the last step needed, unless something needs what comes after the last.
    """

    needs: tuple[Need, ...] = ()
    points: tuple[Point, ...] = ()
    whole: bool = True

    @property
    def early(self) -> bool:
        """Whether the run may be ended before its last step."""
        return not self.whole and all(need.when != AFTER for need in self.needs)


@dataclass(frozen=True, slots=True)
class Run:
    """What a batch's sampling run is: how many images of which size in latents, guided by how much, what is wanted.

    two_calls: whether a step is two calls of the denoiser, the first with the condition and the second without. seeds:
    of the images. ends: of each prompt the place of its end token among those that the network is given. rescaled:
    whether the guided output is rescaled.
    """

    images: int
    size: tuple[int, int]
    scale: float
    wanted: Wanted
    two_calls: bool = False
    seeds: tuple[int, ...] = ()
    ends: tuple[int, ...] = ()
    rescaled: bool = False


@dataclass(slots=True)
class Asking:
    """The calls of the present step, which can be made again at other inputs. passes: further ones made so far.

    held: arguments of the step's one call, or of both of two. busy: whether a further pass runs just now.
    """

    model: Model
    run: Run
    held: list[Call] = field(default_factory=list[Call])
    passes: int = 0
    busy: bool = False
    _replay: Replay | None = None

    def begin(self, module: nn.Module) -> None:
        """The network whose calls are held."""
        self._replay = Replay(module, {}, packed=self.model.adapter.packed)

    @property
    def replay(self) -> Replay:
        """The network's signature and name of its input."""
        assert self._replay is not None
        return self._replay

    def hold(self, args: Sequence[Any], kwargs: Call, *, second: bool) -> None:
        """Keep a call's arguments; second: beside those of the first call of the step."""
        call = dict(self.replay.signature.bind(*args, **kwargs).arguments)
        self.held = [*self.held, call] if second else [call]

    @property
    def x(self) -> Tensor:
        """The step's input as feature maps, of both halves where there are two in one call."""
        return self.maps(self.held[0][self.replay.sample])

    def maps(self, value: Tensor) -> Tensor:
        """What the network takes or gives, as feature maps."""
        return unpack(value, *self.run.size) if self.model.adapter.packed else value

    def branches(self, rows: Tensor) -> tuple[Tensor, Tensor | None]:
        """(with condition, without) of a batch that holds both; all of one that is not guided."""
        count, halves = self.run.images, self.model.adapter.halves
        if len(rows) == count:
            return rows, None
        if len(rows) != 2 * count or halves not in ("uncond+cond", "cond+uncond"):
            raise MemdetectError(
                f"the denoiser takes {len(rows)} rows for {count} images, its adapter says {halves!r}; "
                "leave out the pipeline's further guidance",
                Exit.ERROR,
            )
        first, second = rows[:count], rows[count:]
        return (second, first) if halves == "uncond+cond" else (first, second)

    def ask(self, x: Tensor, timestep: int | None) -> tuple[Tensor, Tensor | None]:
        """The denoiser at another input under the conditions of this step; both branches where it has both."""
        found = [self._again(call, x, timestep)[:, : x.shape[1]] for call in self.held]
        return (found[0], found[1]) if self.run.two_calls else self.branches(found[0])

    def between(self, x: Tensor, share: float) -> Tensor:
        """The denoiser at a condition on the straight way from none (0) to the step's own (1).

        What of a condition is no number, such as a mask, stays the step's own. Raises MemdetectError (error) where the
        run has no branch without the condition.
        """
        cond, uncond = self._conditions()
        return self._again(_between(uncond, cond, share), x, None)[:, : x.shape[1]]

    def _conditions(self) -> tuple[Call, Call]:
        """The calls of the branch with the condition and of that without, each of the images' rows."""
        if self.run.two_calls:
            return self.held[0], self.held[1]
        (call,) = self.held
        rows = len(call[self.replay.sample])
        if rows == self.run.images:
            raise MemdetectError("the run has no unconditional branch to compare with", Exit.ERROR)
        with_it, without = ({k: self._half(v, rows, k, i) for k, v in call.items()} for i in (0, 1))
        return with_it, without

    def _half(self, value: Any, rows: int, name: str, branch: int) -> Any:
        """The rows of a branch (0 = with the condition) of an argument that has some, inside dicts as well."""
        if isinstance(value, dict):
            return {k: self._half(v, rows, k, branch) for k, v in value.items()}
        batched = isinstance(value, Tensor) and value.ndim > 0 and len(value) == rows and name not in SHARED
        return self.branches(value)[branch] if batched else value

    def _again(self, own: Call, x: Tensor, timestep: int | None) -> Tensor:
        """One call of the denoiser, repeated at another input."""
        replay = self.replay
        rows = len(own[replay.sample])
        many = rows // self.run.images
        sample = torch.cat([x] * many) if many > 1 else x
        sample = (pack(sample) if self.model.adapter.packed else sample).to(own[replay.sample].dtype)
        call = {**own, replay.sample: sample}
        if timestep is not None:
            times = torch.full((rows,), float(timestep), device=x.device)
            call["timestep"] = network_time(self.model.pipe.scheduler, times, self.model.adapter.clock)
        if not torch.is_inference_mode_enabled():
            call = plain(call)
        derived = torch.is_grad_enabled() or unpack_dual(x).tangent is not None
        self.busy, self.passes = True, self.passes + (2 if derived else 1)
        try:
            out = replay.denoiser(**call)
        finally:
            self.busy = False
        return self.maps(out if isinstance(out, Tensor) else out[0])


def _between(start: Any, end: Any, share: float) -> Any:
    """The value a share of the way from one to another; the other where they are no numbers, inside dicts as well."""
    if isinstance(end, dict):
        return {name: _between(start[name], value, share) for name, value in end.items()}
    if isinstance(end, Tensor) and end.is_floating_point() and end.shape == start.shape:
        return torch.lerp(start, end, share)
    return end
