"""Watch a sampling run: its denoiser's calls put together as steps, captured, and ended after the last one needed."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from memdetect.adapters import Model
from memdetect.adapters.latents import pack, unpack
from memdetect.adapters.points import Point
from memdetect.adapters.prediction import Kind, kind_of
from memdetect.adapters.schedule import last_timestep, level_of_step, levels, network_time
from memdetect.errors import Exit, MemdetectError
from memdetect.probing.attention import attending
from memdetect.probing.hooks import Replay, Stop, as_written, flatten, hooked, plain
from memdetect.probing.needs import AFTER, Need
from memdetect.probing.steps import Step

Key = tuple[Need, str]


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

    two_calls: whether a step is two calls of the denoiser, the first with the condition and the second without.
    """

    images: int
    size: tuple[int, int]
    scale: float
    wanted: Wanted
    two_calls: bool = False


@dataclass(slots=True)
class Watched:
    """What a watched run has left so far: a list of captures for each need and layer; passes: further ones asked for.

    sigmas: noise over signal of the run's steps.
    """

    model: Model
    run: Run
    token: Stop
    arrays: dict[Key, list[Tensor]] = field(default_factory=dict[Key, list[Tensor]])
    sigmas: tuple[float, ...] = ()
    passes: int = 0
    calls: int = 0
    _asking: bool = False
    _held: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    _first: Tensor | None = None
    _windows: Mapping[Need, range] = field(default_factory=dict[Need, range])
    _last: int = -1
    _replay: Replay | None = None
    _kind: Kind = "epsilon"

    @property
    def number(self) -> int:
        """Number of the step whose calls run at present, from 0."""
        return (self.calls - 1) // (2 if self.run.two_calls else 1)

    def before(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Pre-hook of the denoiser."""
        if self._asking:
            return
        self.calls += 1
        if self.calls == 1:
            self._begin(module)
        if self.number >= len(self.sigmas):
            raise self._miscounted()
        assert self._replay is not None
        call = dict(self._replay.signature.bind(*args, **kwargs).arguments)
        self._held = [*self._held, call] if self._second else [call]

    @property
    def _second(self) -> bool:
        """Whether the present call is the one without a condition of a step of two calls."""
        return self.run.two_calls and self.calls % 2 == 0

    def _begin(self, module: nn.Module) -> None:
        scheduler = self.model.pipe.scheduler
        self._replay = Replay(module, {}, packed=self.model.adapter.packed)
        self._kind = kind_of(scheduler)
        self.sigmas = tuple(sigma_of(level_of_step(scheduler, i)) for i in range(len(scheduler.timesteps)))
        needs = self.run.wanted.needs
        self._windows = {need: need.when.steps(self.sigmas) for need in needs if need.when is not None}
        self._last = max((max(steps) for steps in self._windows.values() if steps), default=-1)

    def wanted(self, where: str) -> list[Need]:
        """The needs of the present step at a kind of place."""
        found = [need for need, steps in self._windows.items() if need.where == where and self.number in steps]
        return [] if self._asking else found

    def after(self, _module: nn.Module, _args: Any, output: Any) -> None:
        """Hook of the denoiser: a step that is whole is captured; the run ends after the last that is needed."""
        if self._asking:
            return
        found = self._maps(output if isinstance(output, Tensor) else output[0])
        step = self._step(found)
        if step is None:
            return
        for need in self.wanted("output"):
            self._keep(need, "", need.capture(step))
        if self.run.wanted.early and step.number >= self._last:
            raise self.token

    def features(self, point: Point, value: Any) -> None:
        """Hook of a layer: the conditional rows of its features."""
        needs = self.wanted("features")
        if not needs or self._second:
            return
        held = flatten(value[point.index] if isinstance(value, tuple) else value, point.name)
        if point.text:
            held = held[..., self._held[0]["encoder_hidden_states"].shape[1] :]
        for need in needs:
            self._keep(need, point.name, need.capture(self._conditional(held)))

    def attention(self, layer: str, maps: Tensor) -> None:
        """The attention of one layer, image to text [rows position token]."""
        for need in self.wanted("attention"):
            self._keep(need, layer, need.capture(self._conditional(maps)))

    def attends(self) -> bool:
        """Whether the attention of the present call is wanted."""
        return bool(self.wanted("attention")) and not self._second

    def finished(self, latents: Tensor) -> None:
        """Captures of the finished latents, which ask the network under the conditions of the run's last step."""
        needs = [need for need in self.run.wanted.needs if need.when == AFTER]
        if not needs:
            return
        x = latents.to(self.model.place, torch.float32)
        step = Step(x, (1.0, 0.0), x, None, self._kind, self.run.scale, len(self.sigmas), self._ask, *self._levels())
        for need in needs:
            self._keep(need, "", need.capture(step))

    def check(self) -> None:
        """Raise MemdetectError for a run whose denoiser ran another number of times than it has steps."""
        if not self.run.wanted.early and self.calls != len(self.sigmas) * (2 if self.run.two_calls else 1):
            raise self._miscounted()
        for need, steps in self._windows.items():
            kept = [len(found) for (own, _), found in self.arrays.items() if own == need]
            if set(kept) != {1 if need.when == AFTER else len(steps)}:
                raise MemdetectError(
                    f"{need.name} was captured {max(kept, default=0)} times in {len(steps)} steps; the network has no "
                    f"{need.where} that runs once a step",
                    Exit.ERROR,
                )

    def _miscounted(self) -> MemdetectError:
        expected = len(self.sigmas) * (2 if self.run.two_calls else 1)
        said = f"the denoiser ran {self.calls} times in {len(self.sigmas)} steps, expected {expected}"
        return MemdetectError(f"{said}; leave out the pipeline's further guidance", Exit.ERROR)

    def _keep(self, need: Need, layer: str, value: Tensor) -> None:
        if len(value) != self.run.images:
            said = f"{need.name} gives {len(value)} rows for {self.run.images} images; correct the capture"
            raise MemdetectError(said, Exit.ERROR)
        self.arrays.setdefault((need, layer), []).append(value.float().cpu())

    def _maps(self, value: Tensor) -> Tensor:
        return unpack(value, *self.run.size) if self.model.adapter.packed else value

    def _step(self, output: Tensor) -> Step | None:
        """The present step, or None while its second call is to come."""
        assert self._replay is not None
        x = self._maps(self._held[0][self._replay.sample])
        output = output[:, : x.shape[1]]
        if self.run.two_calls and not self._second:
            self._first = output
            return None
        cond, uncond = (self._first, output) if self.run.two_calls else self._branches(output)
        assert cond is not None
        level = level_of_step(self.model.pipe.scheduler, self.number)
        rows = x[: self.run.images]
        return Step(rows, level, cond, uncond, self._kind, self.run.scale, self.number, self._ask, *self._levels())

    def _levels(self) -> tuple[Any, int]:
        scheduler = self.model.pipe.scheduler
        return (lambda t: levels(scheduler, t)), last_timestep(scheduler)

    def _branches(self, rows: Tensor) -> tuple[Tensor, Tensor | None]:
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

    def _conditional(self, rows: Tensor) -> Tensor:
        return self._branches(rows)[0]

    def _ask(self, x: Tensor, timestep: int | None) -> tuple[Tensor, Tensor | None]:
        """The denoiser at another input under the conditions of this step; both branches where it has both."""
        found = [self._again(call, x, timestep)[:, : x.shape[1]] for call in self._held]
        return (found[0], found[1]) if self.run.two_calls else self._branches(found[0])

    def _again(self, own: dict[str, Any], x: Tensor, timestep: int | None) -> Tensor:
        """One call of the denoiser, repeated at another input."""
        assert self._replay is not None
        replay = self._replay
        rows = len(own[replay.sample])
        many = rows // self.run.images
        sample = torch.cat([x] * many) if many > 1 else x
        sample = (pack(sample) if self.model.adapter.packed else sample).to(own[replay.sample].dtype)
        call = {**own, replay.sample: sample}
        if timestep is not None:
            times = torch.full((rows,), float(timestep), device=x.device)
            call["timestep"] = network_time(self.model.pipe.scheduler, times, self.model.adapter.clock)
        if torch.is_grad_enabled():
            call = plain(call)
        self._asking, self.passes = True, self.passes + (2 if torch.is_grad_enabled() else 1)
        try:
            out = replay.denoiser(**call)
        finally:
            self._asking = False
        return self._maps(out if isinstance(out, Tensor) else out[0])


def sigma_of(level: tuple[float, float]) -> float:
    """Noise over signal; infinite where no signal is left."""
    return level[1] / level[0] if level[0] > 0 else float("inf")


@contextmanager
def watch_run(model: Model, run: Run) -> Generator[Watched]:
    """Watch the pipeline's sampling run in the body; it is ended, and the body left, once nothing more is needed.

    Hooks are gone when the body ends, however it ends; compiled networks run uncompiled until then. Raises
    MemdetectError for a denoiser that runs another number of times, or with other rows, than the adapter's row says.
    """
    seen = Watched(model, run, Stop())
    net = model.denoiser
    handles = [net.register_forward_pre_hook(seen.before, with_kwargs=True)]
    handles += [net.register_forward_hook(seen.after)]
    try:
        if any(need.where == "features" for need in run.wanted.needs):
            handles += [hooked(net.get_submodule(point.module), point, seen.features) for point in run.wanted.points]
        if any(need.where == "attention" for need in run.wanted.needs):
            handles += attending(net, seen.attention, seen.attends)
        with as_written():
            yield seen
    except Stop as raised:
        if raised is not seen.token:
            raise
    finally:
        for handle in handles:
            handle.remove()
    seen.check()


def run_sigmas(model: Model, arguments: Mapping[str, Any]) -> Sequence[float]:
    """Noise over signal of each step of a run with these arguments, which is ended before its first pass."""
    token, net = Stop(), model.denoiser

    def end(*_: Any) -> None:
        raise token

    handle = net.register_forward_pre_hook(end)
    try:
        with as_written(), torch.inference_mode():
            model.pipe(**arguments)
    except Stop as raised:
        if raised is not token:
            raise
    finally:
        handle.remove()
    scheduler = model.pipe.scheduler
    return [sigma_of(level_of_step(scheduler, i)) for i in range(len(scheduler.timesteps))]
