"""Watch a sampling run: its denoiser's calls put together as steps, captured, and ended after the last one needed."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from memdetect.adapters import Model
from memdetect.adapters.points import Point
from memdetect.adapters.prediction import Kind, kind_of
from memdetect.adapters.schedule import last_timestep, level_of_step, levels
from memdetect.errors import Exit, MemdetectError
from memdetect.probing.asking import Asking, Run
from memdetect.probing.attention import Attention, Text, attending, valuing
from memdetect.probing.decoding import decoded
from memdetect.probing.hooks import Stop, as_written, flatten, hooked
from memdetect.probing.needs import AFTER, Need
from memdetect.probing.steps import Step

Key = tuple[Need, str]


@dataclass(slots=True)
class Watched:
    """What a watched run has left so far: a list of captures for each need and layer; passes: further ones asked for.

    sigmas: noise over signal of the run's steps.
    """

    model: Model
    run: Run
    token: Stop
    asking: Asking
    arrays: dict[Key, list[Tensor]] = field(default_factory=dict[Key, list[Tensor]])
    sigmas: tuple[float, ...] = ()
    calls: int = 0
    _first: Tensor | None = None
    _windows: Mapping[Need, range] = field(default_factory=dict[Need, range])
    _last: int = -1
    _kind: Kind = "epsilon"

    @property
    def passes(self) -> int:
        """Further passes that captures have asked for."""
        return self.asking.passes

    @property
    def number(self) -> int:
        """Number of the step whose calls run at present, from 0."""
        return (self.calls - 1) // (2 if self.run.two_calls else 1)

    def before(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Pre-hook of the denoiser."""
        if self.asking.busy:
            return
        self.calls += 1
        if self.calls == 1:
            self._begin(module)
        if self.number >= len(self.sigmas):
            raise self._miscounted(len(self.sigmas))
        self.asking.hold(args, kwargs, second=self._second)

    @property
    def _second(self) -> bool:
        """Whether the present call is the one without a condition of a step of two calls."""
        return self.run.two_calls and self.calls % 2 == 0

    def _begin(self, module: nn.Module) -> None:
        scheduler = self.model.pipe.scheduler
        self.asking.begin(module)
        self._kind = kind_of(scheduler)
        self.sigmas = tuple(sigma_of(level_of_step(scheduler, i)) for i in range(len(scheduler.timesteps)))
        needs = self.run.wanted.needs
        self._windows = {need: need.when.steps(self.sigmas) for need in needs if need.when is not None}
        self._last = max((max(steps) for steps in self._windows.values() if steps), default=-1)

    def wanted(self, where: str) -> list[Need]:
        """The needs of the present step at a kind of place."""
        found = [need for need, steps in self._windows.items() if need.where == where and self.number in steps]
        return [] if self.asking.busy else found

    def after(self, _module: nn.Module, _args: Any, output: Any) -> None:
        """Hook of the denoiser: a step that is whole is captured; the run ends after the last that is needed."""
        if self.asking.busy:
            return
        found = self.asking.maps(output if isinstance(output, Tensor) else output[0])
        step = self._step(found)
        if step is None:
            return
        for need in self.wanted("text"):
            self._keep(need, "", need.capture(self._text()))
        for need in self.wanted("output"):
            self._keep(need, "", need.capture(step))
        if self.run.wanted.early and step.number >= self._last:
            at = getattr(self.model.pipe.scheduler, "step_index", None)  # before the first step, or without a count
            if at not in (None, step.number):
                raise self._miscounted(at + 1)
            raise self.token

    def features(self, point: Point, value: Any) -> None:
        """Hook of a layer: the conditional rows of its features."""
        needs = self.wanted("features")
        if not needs or self._second:
            return
        held = flatten(value[point.index] if isinstance(value, tuple) else value, point.name)
        if point.text:
            held = held[..., self.asking.held[0]["encoder_hidden_states"].shape[1] :]
        for need in needs:
            self._keep(need, point.name, need.capture(self._conditional(held)))

    def attention(self, layer: str, maps: Tensor) -> None:
        """The attention of one layer, image to text [rows position token]."""
        for need in self.wanted("attention"):
            found = Attention(self._conditional(maps), self._ends(), self.run.size)
            self._keep(need, layer, need.capture(found))

    def values(self, layer: str, values: Tensor) -> None:
        """The values that one layer makes of the text [rows token dim]."""
        for need in self.wanted("values"):
            self._keep(need, layer, need.capture(Text(self._conditional(values), self._ends())))

    def attends(self) -> bool:
        """Whether the attention of the present call is wanted."""
        return bool(self.wanted("attention")) and not self._second

    def valued(self) -> bool:
        """Whether the values of the present call are wanted."""
        return bool(self.wanted("values")) and not self._second

    def _text(self) -> Text:
        """What the network is told of the prompts."""
        held = self.asking.held[0]["encoder_hidden_states"]
        return Text(self._conditional(held), self._ends())

    def _ends(self) -> tuple[int, ...]:
        """Place of each prompt's end token: the last that a mask lets through, else as its tokenizer counts."""
        mask = self.asking.held[0].get("encoder_attention_mask")
        if not isinstance(mask, Tensor):
            return self.run.ends
        return tuple(int(count) - 1 for count in (self._conditional(mask) > 0).sum(dim=-1).tolist())

    def finished(self, latents: Tensor) -> None:
        """Captures of the finished latents, which ask the network under the conditions of the run's last step."""
        needs = [need for need in self.run.wanted.needs if need.when == AFTER]
        if not needs:
            return
        x = latents.to(self.model.place, torch.float32)
        step = self._made(x, (1.0, 0.0), (x, None), len(self.sigmas))
        for need in needs:
            if need.where == "output":
                self._keep(need, "", need.capture(step))
        shown = [need for need in needs if need.where == "pictures"]
        if shown:
            pictures = decoded(self.model, x)
            for need in shown:
                self._keep(need, "", need.capture(pictures))

    def check(self) -> None:
        """Raise MemdetectError for a run whose denoiser ran another number of times than it has steps."""
        if not self.run.wanted.early and self.calls != len(self.sigmas) * (2 if self.run.two_calls else 1):
            raise self._miscounted(len(self.sigmas))
        for need, steps in self._windows.items():
            kept = [len(found) for (own, _), found in self.arrays.items() if own == need]
            if set(kept) != {1 if need.when == AFTER else len(steps)}:
                raise MemdetectError(
                    f"{need.name} was captured {max(kept, default=0)} times in {len(steps)} steps; the network has no "
                    f"{need.where} that runs once a step",
                    Exit.ERROR,
                )

    def _miscounted(self, steps: int) -> MemdetectError:
        expected = steps * (2 if self.run.two_calls else 1)
        said = f"the denoiser ran {self.calls} times in {steps} steps, expected {expected}"
        return MemdetectError(f"{said}; leave out the pipeline's further guidance", Exit.ERROR)

    def _keep(self, need: Need, layer: str, value: Tensor) -> None:
        if len(value) != self.run.images:
            said = f"{need.name} gives {len(value)} rows for {self.run.images} images; correct the capture"
            raise MemdetectError(said, Exit.ERROR)
        self.arrays.setdefault((need, layer), []).append(value.float().cpu())

    def _step(self, output: Tensor) -> Step | None:
        """The present step, or None while its second call is to come."""
        x = self.asking.x
        output = output[:, : x.shape[1]]
        if self.run.two_calls and not self._second:
            self._first = output
            return None
        cond, uncond = (self._first, output) if self.run.two_calls else self.asking.branches(output)
        assert cond is not None
        level = level_of_step(self.model.pipe.scheduler, self.number)
        return self._made(x[: self.run.images], level, (cond, uncond), self.number)

    def _made(self, x: Tensor, level: tuple[float, float], branches: tuple[Tensor, Tensor | None], number: int) -> Step:
        scheduler = self.model.pipe.scheduler
        cond, uncond = branches
        return Step(
            x,
            level,
            cond,
            uncond,
            self._kind,
            self.run.scale,
            number,
            self.asking.ask,
            lambda t: levels(scheduler, t),
            last_timestep(scheduler),
            self.asking.between,
            self.run.seeds,
            self.run.rescaled,
        )

    def _conditional(self, rows: Tensor) -> Tensor:
        return self.asking.branches(rows)[0]


def sigma_of(level: tuple[float, float]) -> float:
    """Noise over signal; infinite where no signal is left."""
    return level[1] / level[0] if level[0] > 0 else float("inf")


@contextmanager
def watch_run(model: Model, run: Run) -> Generator[Watched]:
    """Watch the pipeline's sampling run in the body; it is ended, and the body left, once nothing more is needed.

    Hooks are gone when the body ends, however it ends; compiled networks run uncompiled until then. Raises
    MemdetectError for a denoiser that runs another number of times, or with other rows, than the adapter's row says.
    """
    seen = Watched(model, run, Stop(), Asking(model, run))
    net = model.denoiser
    handles = [net.register_forward_pre_hook(seen.before, with_kwargs=True)]
    handles += [net.register_forward_hook(seen.after)]
    try:
        if any(need.where == "features" for need in run.wanted.needs):
            handles += [hooked(net.get_submodule(point.module), point, seen.features) for point in run.wanted.points]
        if any(need.where == "attention" for need in run.wanted.needs):
            handles += attending(net, seen.attention, seen.attends)
        if any(need.where == "values" for need in run.wanted.needs):
            handles += valuing(net, seen.values, seen.valued)
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
            model.run(**arguments)
    except Stop as raised:
        if raised is not token:
            raise
    finally:
        handle.remove()
    scheduler = model.pipe.scheduler
    return [sigma_of(level_of_step(scheduler, i)) for i in range(len(scheduler.timesteps))]
