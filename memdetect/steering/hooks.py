"""Write to a running denoiser: add a direction at chosen layers in a window of steps, and leave nothing behind."""

import inspect
import math
import re
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from memdetect.adapters import Model, Point
from memdetect.errors import Exit, MemdetectError
from memdetect.probing import as_written
from memdetect.steering.vector import Vector


@dataclass(frozen=True, slots=True)
class Window:
    """Steps of a sampling run in which a direction is added: start <= step < stop, counted from 0."""

    start: int
    stop: int

    @classmethod
    def of(
        cls, steps: int, text: str | None = None, *, last: int | None = None, skip_last: int | None = None
    ) -> "Window":
        """The window START:END, or the last so many steps without the very last ones; default: every step.

        The paper's code steers the last 20 of 40 steps without the last 2: `last=20, skip_last=2`, steps 20 to 37.
        Raises MemdetectError for a window that is malformed, empty or outside the run.
        """
        if text is not None:
            if last is not None or skip_last is not None:
                raise MemdetectError("a window is given as START:END or as its last steps; give one of the two")
            found = re.fullmatch(r"(\d*):(\d*)", text)
            if not found:
                raise MemdetectError(f"--window {text!r} is no window; expected START:END, such as 10:20, 10: or :20")
            window = cls(int(found[1] or 0), int(found[2] or steps))
        else:
            window = cls(steps - (steps if last is None else last), steps - (skip_last or 0))
        if not 0 <= window.start < window.stop <= steps:
            raise MemdetectError(f"steps {window} of a run of {steps}: the window is empty or outside the run")
        return window

    def __contains__(self, step: int) -> bool:
        return self.start <= step < self.stop

    def __str__(self) -> str:
        return f"{self.start}:{self.stop}"


@dataclass(slots=True)
class Steered:
    """What happened so far: calls of the denoiser, and how often each layer was reached, steered or not."""

    window: Window | None
    calls: int = 0
    step: int = 0
    reached: dict[str, int] = field(default_factory=dict[str, int])
    first: float | None = None
    now: float | None = None

    def tick(self, timestep: float) -> None:
        """Count a call. A new timestep is the next step, and the first one of all begins another run.

        So guidance in two calls is one step, and a batch that is started again starts again here.
        """
        self.calls += 1
        if self.first is None:
            self.first = timestep
        elif timestep == self.first:
            self.step = 0
        elif timestep != self.now:
            self.step += 1
        self.now = timestep

    @property
    def active(self) -> bool:
        """Whether the present step lies in the window."""
        return self.window is None or self.step in self.window

    def check(self) -> None:
        """Raise MemdetectError for a layer reached another number of times than the denoiser ran, or never."""
        for name, count in self.reached.items():
            if count != self.calls or not self.calls:
                raise MemdetectError(
                    f"layer {name!r} ran {count} times in {self.calls} calls of the denoiser; "
                    "steer a layer that runs once a call",
                    Exit.ERROR,
                )


@contextmanager
def steer(model: Model, vector: Vector, strength: float, window: Window | None = None) -> Generator[Steered]:
    """Add strength * vector to the features of the vector's layers while the body runs the denoiser (paper, eq. 11).

    window: the steps in which that is done, all if None. Every row of a batch is steered, both halves of guidance
    alike. At strength 0, and outside the window, a layer's tensors are handed on untouched: bit for bit what they are
    without steering. Hooks are gone when the body ends, however it ends; until then a compiled network runs uncompiled.
    Raises MemdetectError for a strength that is not finite, a vector of another model, a layer of another width or
    without a single tensor, and one that does not run once a call.
    """
    if not math.isfinite(strength):
        raise MemdetectError(f"strength is {strength}, expected a finite number")
    state = Steered(window)
    denoiser: nn.Module = model.denoiser
    handles = [denoiser.register_forward_pre_hook(_clock(denoiser, state), with_kwargs=True)]
    try:
        for point in vector.points(model):
            state.reached[point.name] = 0
            scaled = (strength * vector.layers[point.name]).to(model.place)
            handles.append(_hook(denoiser.get_submodule(point.module), point, scaled, state))
        with as_written():
            yield state
    finally:
        for handle in handles:
            handle.remove()
    state.check()


def _clock(denoiser: nn.Module, state: Steered) -> Any:
    signature = inspect.signature(denoiser.forward)

    def tick(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        timestep = signature.bind(*args, **kwargs).arguments.get("timestep")
        if timestep is None:
            raise MemdetectError("the denoiser takes no `timestep`, so that its steps cannot be counted", Exit.ERROR)
        state.tick(float(timestep.flatten()[0]) if isinstance(timestep, Tensor) else float(timestep))

    return tick


def _hook(module: nn.Module, point: Point, scaled: Tensor, state: Steered) -> Any:
    """Register the hook of a point. It returns None where nothing is added, which leaves the layer's own tensor."""
    zero = not bool(scaled.any())

    def change(value: Any) -> Tensor | None:
        state.reached[point.name] += 1
        return None if zero or not state.active else add(value, scaled, point.name)

    if point.read == "input":

        def before(_module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
            changed = change(args[0])
            return None if changed is None else (changed, *args[1:])

        return module.register_forward_pre_hook(before)
    return module.register_forward_hook(lambda _module, _args, output: change(output))


def add(value: Any, direction: Float[Tensor, " chan"], layer: str) -> Float[Tensor, "batch ..."]:
    """A direction added at every position of a feature map [batch, chan, row, col] or of tokens [batch, token, dim].

    Raises MemdetectError for anything else, and for another number of channels.
    """
    if not isinstance(value, Tensor) or value.ndim not in (3, 4):
        found = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise MemdetectError(f"layer {layer!r} gives {found}, expected a feature map or tokens; steer another layer")
    axis = 1 if value.ndim == 4 else 2
    if value.shape[axis] != len(direction):
        raise MemdetectError(
            f"layer {layer!r} has {value.shape[axis]} channels, the vector {len(direction)}; it is of another layer"
        )
    shape = [1] * value.ndim
    shape[axis] = -1
    return value + direction.to(value.device, value.dtype).view(shape)
