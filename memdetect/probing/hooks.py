"""Hooks that live exactly as long as one call: capture features, stop a pass early, record a call and replay it."""

import inspect
import itertools
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from memdetect.adapters.latents import pack, unpack
from memdetect.adapters.points import Point
from memdetect.errors import Exit, MemdetectError
from memdetect.probing.needs import Need

Clock = Callable[[Tensor], Tensor]


class Stop(BaseException):
    """Ends a forward pass from inside a hook; only the context that made it swallows it.

    Derived from BaseException, so that a model's own `except Exception` cannot.
    """


def channel_max(features: Float[Tensor, "batch chan position"]) -> Float[Tensor, "batch chan"]:
    """Maximum over positions of each channel."""
    return features.amax(dim=-1)


def average(features: Float[Tensor, "batch chan position"]) -> Float[Tensor, "batch chan"]:
    """Mean over positions of each channel."""
    return features.mean(dim=-1)


CHANNEL_MAX, MEAN = Need(channel_max, where="features"), Need(average, where="features")
CAPTURES = (CHANNEL_MAX, MEAN)
SHARED = frozenset({"img_ids", "txt_ids"})  # positions, the same for all rows of a batch


@dataclass(slots=True)
class Seen:
    """What a watched pass has captured so far: (need, layer) -> one tensor for each call of the denoiser."""

    points: Sequence[Point]
    stop: Stop | None
    arrays: dict[tuple[Need, str], list[Tensor]]
    calls: int = 0
    words: int = 0

    def count(self, _module: nn.Module, _args: Any, kwargs: Mapping[str, Any]) -> None:
        """Pre-hook of the denoiser: counts its calls, and the tokens of the text that comes with this one."""
        self.calls += 1
        text = kwargs.get("encoder_hidden_states")
        self.words = text.shape[1] if isinstance(text, Tensor) else 0

    def keep(self, point: Point, value: Any) -> None:
        """Capture a tensor at a point; ends the pass once all points have been captured."""
        features = flatten(value[point.index] if isinstance(value, tuple) else value, point.name)
        if point.text:
            features = features[..., self.words :]
        for (need, layer), kept in self.arrays.items():
            if layer == point.name:
                kept.append(need.capture(features))
        if self.stop is not None and all(self.fired(p) == self.calls for p in self.points):
            raise self.stop

    def fired(self, point: Point) -> int:
        """How often a point was captured."""
        return max((len(kept) for (_, layer), kept in self.arrays.items() if layer == point.name), default=0)

    def check(self) -> None:
        """Raise MemdetectError for a point captured another number of times than the denoiser ran, or never."""
        for point in self.points:
            if self.fired(point) != self.calls or not self.calls:
                raise MemdetectError(
                    f"layer {point.name!r} ran {self.fired(point)} times in {self.calls} calls of the denoiser; "
                    "probe a layer that runs once a call",
                    Exit.ERROR,
                )


@contextmanager
def as_written() -> Generator[None]:
    """What `torch.compile` made runs as it was written: code compiled before a hook was there never calls it."""
    if "torch._dynamo" not in sys.modules:  # nothing is compiled, and importing it takes seconds
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield


@contextmanager
def watch(denoiser: nn.Module, points: Sequence[Point], needs: Sequence[Need], *, stop: bool) -> Generator[Seen]:
    """Capture features at `points` while the body runs the denoiser; with `stop`, a pass ends at the last of them.

    Hooks are gone when the body ends, however it ends; compiled networks run uncompiled until then. Raises
    MemdetectError when a point was captured another number of times than the denoiser was called; a pass that `stop`
    ended cannot tell whether a point would have run again.
    """
    seen = Seen(points, Stop() if stop else None, {(need, p.name): [] for need in needs for p in points})
    handles = [denoiser.register_forward_pre_hook(seen.count, with_kwargs=True)]
    try:
        for point in points:
            handles.append(hooked(denoiser.get_submodule(point.module), point, seen.keep))
        with as_written():
            yield seen
    except Stop as raised:
        if raised is not seen.stop:
            raise
    finally:
        for handle in handles:
            handle.remove()
    seen.check()


def hooked(module: nn.Module, point: Point, keep: Callable[[Point, Any], None]) -> Any:
    """The handle of a hook that tells `keep` the tensor at a point each time that it is there."""
    # Both hooks return None: a value would replace the layer's own tensor.
    if point.read == "input":
        return module.register_forward_pre_hook(lambda _module, args: keep(point, args[0]))
    return module.register_forward_hook(lambda _module, _args, output: keep(point, output))


def flatten(value: Any, layer: str) -> Float[Tensor, "batch chan position"]:
    """Feature map [batch, chan, row, col] or tokens [batch, token, dim] -> [batch, chan, position]."""
    if isinstance(value, Tensor) and value.ndim == 4:
        return value.flatten(2)
    if isinstance(value, Tensor) and value.ndim == 3:
        return value.transpose(1, 2)
    found = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
    raise MemdetectError(f"layer {layer!r} gives {found}, expected a feature map or tokens; probe another layer")


def unchanged(timestep: Tensor) -> Tensor:
    """The clock of a network that is told the schedule's own timestep."""
    return timestep


class Replay:
    """A recorded denoiser call as a function f(x, t): the conditions stay, sample and timestep are replaced.

    x are feature maps whatever the network takes (packed: tokens of 2x2 patches), t is the schedule's timestep (clock:
    from it to the network's own time), and what a network predicts beside the image, its variance, is left out.
    """

    def __init__(
        self, denoiser: nn.Module, call: Mapping[str, Any], *, packed: bool = False, clock: Clock = unchanged
    ) -> None:
        self.denoiser = denoiser
        self.call = dict(call)
        self.packed, self.clock = packed, clock
        self.signature = inspect.signature(denoiser.forward)
        self.sample = next(iter(self.signature.parameters))

    @classmethod
    def record(
        cls,
        denoiser: nn.Module,
        run: Callable[[], Any],
        *,
        packed: bool = False,
        clock: Clock = unchanged,
        which: int = 1,
    ) -> "Replay":
        """Run a pipeline until it calls the denoiser, keep that call's arguments, and stop it there.

        which: the call that is kept, 1 = the first. Raises MemdetectError when `run` never calls the denoiser so often.
        """
        signature, token = inspect.signature(denoiser.forward), Stop()
        kept: dict[str, Any] = {}
        calls = itertools.count(1)

        def keep(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if next(calls) < which:
                return
            kept.update(signature.bind(*args, **kwargs).arguments)
            raise token

        handle = denoiser.register_forward_pre_hook(keep, with_kwargs=True)
        try:
            with as_written():
                run()
        except Stop as raised:
            if raised is not token:
                raise
        finally:
            handle.remove()
        if not kept:
            often = "" if which == 1 else f" {which} times"
            said = f"the pipeline never called its denoiser{often}; nothing could be recorded"
            raise MemdetectError(said, Exit.ERROR)
        return cls(denoiser, kept, packed=packed, clock=clock)

    def __call__(
        self, x: Float[Tensor, "batch chan row col"], t: Float[Tensor, " batch"] | Tensor
    ) -> Float[Tensor, "batch chan row col"]:
        """The denoiser's output at x and t under the recorded conditions, which are repeated for each row of x."""
        own = self.call if torch.is_inference_mode_enabled() else plain(self.call)
        call = {name: value if name in SHARED else _expand(value, len(x)) for name, value in own.items()}
        out = self.denoiser(**{**call, self.sample: pack(x) if self.packed else x, "timestep": self.clock(t)})
        out = out if isinstance(out, Tensor) else out[0]
        return unpack(out, *x.shape[2:]) if self.packed else out[:, : x.shape[1]]


def _expand(value: Any, rows: int) -> Any:
    if isinstance(value, dict):
        return {k: _expand(v, rows) for k, v in value.items()}
    if not isinstance(value, Tensor) or value.ndim == 0 or len(value) == rows:
        return value
    if len(value) != 1:
        raise MemdetectError(f"the recorded call holds {len(value)} rows, expected 1 or {rows}; record a single item")
    return value.expand(rows, *value.shape[1:])


def plain(value: Any) -> Any:
    """A tensor of inference mode as one that takes part in a derivative; inside dicts as well."""
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items()}
    return value.clone() if isinstance(value, Tensor) and value.is_inference() else value


@contextmanager
def quiet() -> Generator[None]:
    """No gradients, and no autograd bookkeeping, while a model is only watched."""
    with torch.inference_mode():
        yield
