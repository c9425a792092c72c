"""The denoiser's call to be replayed: under given prompts, or the unconditional half of the pipeline's own guidance."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor

from memdetect.adapters import Model
from memdetect.adapters.conditions import empty_call, guided_call, has_unconditional
from memdetect.adapters.schedule import network_time
from memdetect.errors import Exit, MemdetectError
from memdetect.probing.hooks import SHARED, Replay, quiet
from memdetect.probing.sampling import generators


def record(model: Model, prompts: Sequence[str] | None = None, call: Mapping[str, Any] | None = None) -> Replay:
    """The denoiser's call without guidance under these prompts; by default that of the unconditional branch.

    That branch is the pipeline's own: what it runs beside the prompt when it guides, which for SDXL may be zeros where
    the encoded empty prompt is not. A pipeline that has none (guidance distilled into the network, few steps without
    guidance, no condition at all) is recorded under the empty condition: the empty prompt, the null class, or nothing.
    call: further arguments of the pipeline, of which those for sizes and a text's length count. Raises MemdetectError
    when a guided run does not show its halves as the adapter's row says.
    """
    if prompts is None and has_unconditional(model):
        return unconditional(model, call or {})
    given = ("",) if prompts is None else prompts
    return _recorded(model, empty_call(model, call or {}, given), len(given))


def unconditional(model: Model, call: Mapping[str, Any], beside: str = "") -> Replay:
    """The unconditional half of a guided call, one row. beside: the prompt in the other half, which must not matter.

    Raises MemdetectError (error) when the call holds another number of rows than the adapter's row says.
    """
    halves = model.adapter.halves
    guided = guided_call(model, call, beside)
    if halves == "two calls":
        return _checked(model, _recorded(model, guided, 1, which=2), 1)
    replay = _checked(model, _recorded(model, guided, 1), 2)
    k = 0 if halves == "uncond+cond" else 1
    replay.call = {name: value if name in SHARED else _row(value, k) for name, value in replay.call.items()}
    return replay


def _recorded(model: Model, arguments: Mapping[str, Any], prompts: int, which: int = 1) -> Replay:
    def run() -> Any:
        with quiet():
            own = generators([0] * prompts)  # without them the pipeline would draw from torch's global stream
            return model.run(generator=own, **arguments)

    clock = partial(network_time, model.pipe.scheduler, clock=model.adapter.clock)
    return Replay.record(model.denoiser, run, packed=model.adapter.packed, clock=clock, which=which)


def _checked(model: Model, replay: Replay, rows: int) -> Replay:
    if (found := len(replay.call[replay.sample])) != rows:
        raise MemdetectError(
            f"a guided call of {model.adapter.pipeline} holds {found} rows for one image, its adapter says "
            f"{model.adapter.halves!r}; correct the row, or set halves='none'",
            Exit.ERROR,
        )
    return replay


def _row(value: Any, k: int) -> Any:
    """Row k of what has two rows, inside dicts as well; what is not batched stays."""
    if isinstance(value, dict):
        return {name: _row(part, k) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_row(part, k) for part in value)
    return value[k : k + 1] if isinstance(value, Tensor) and value.ndim > 0 and len(value) == 2 else value
