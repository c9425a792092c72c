"""What a network predicts, turned into clean image, noise and score: the one place that knows prediction types."""

from dataclasses import dataclass
from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor

from memdetect.adapters.schedule import is_edm, is_flow
from memdetect.errors import MemdetectError

Kind = Literal["epsilon", "v_prediction", "sample", "flow", "edm", "edm_v"]
KINDS: tuple[Kind, ...] = ("epsilon", "v_prediction", "sample", "flow", "edm", "edm_v")
_EDM: dict[str, Kind] = {"epsilon": "edm", "v_prediction": "edm_v"}  # diffusers' names for the two signs of c_out


@dataclass(frozen=True, slots=True)
class Prediction:
    """A prediction at x_t = signal * x_0 + noise * eps, three ways: E[x_0 | x_t], E[eps | x_t], grad log p_t(x_t)."""

    clean: Float[Tensor, "*batch chan row col"]
    noise: Float[Tensor, "*batch chan row col"]
    score: Float[Tensor, "*batch chan row col"]


def kind_of(scheduler: Any) -> Kind:
    """The prediction type that a pipeline's scheduler takes; MemdetectError for one that is not known."""
    if is_flow(scheduler):
        return "flow"
    kind = scheduler.config.get("prediction_type", "epsilon")
    known: dict[str, Kind] = _EDM if is_edm(scheduler) else {name: name for name in KINDS[:3]}
    if kind not in known:
        raise MemdetectError(f"prediction type {kind!r} is not known; expected one of {', '.join(known)}")
    return known[kind]


def predicted(
    output: Float[Tensor, "*batch chan row col"],
    x: Float[Tensor, "*batch chan row col"],
    level: tuple[float, float],
    kind: Kind,
) -> Prediction:
    """Turn a network's output at x into a Prediction; level = (signal, noise) amplitudes as of `schedule.levels`.

    v = signal * eps - noise * x_0 with signal^2 + noise^2 = 1 (Salimans and Ho, 2022); a flow's velocity is eps - x_0
    with signal + noise = 1. The score is -E[eps | x] / noise (Tweedie). Where a level is 0, what has to be divided by
    it is not finite.

    edm (Karras et al., 2022): E[x_0 | x] = c_skip * x / c_in + c_out * output with signal = c_in, noise = c_in * sigma,
    c_skip = (c_in * sigma_data)^2 = 1 - noise^2 and c_out = c_in * sigma * sigma_data; edm_v has -c_out, which is the
    v-prediction above where sigma_data = 1.
    """
    signal, noise = level
    if kind == "epsilon":
        clean, eps = (x - noise * output) / signal, output
    elif kind == "sample":
        clean, eps = output, (x - signal * output) / noise
    elif kind == "v_prediction":
        clean, eps = signal * x - noise * output, noise * x + signal * output
    elif kind == "flow":
        clean, eps = x - noise * output, x + signal * output
    else:
        data, given = (1 - noise**2) ** 0.5, output if kind == "edm" else -output  # data = c_in * sigma_data
        clean, eps = data / signal * (data * x + noise * given), noise * x - data * given
    return Prediction(clean, eps, -eps / noise)
