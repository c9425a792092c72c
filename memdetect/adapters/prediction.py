"""What a network predicts, turned into clean image, noise and score: the one place that knows prediction types."""

from dataclasses import dataclass
from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor

from memdetect.adapters.schedule import is_flow
from memdetect.errors import MemdetectError

Kind = Literal["epsilon", "v_prediction", "sample", "flow"]
KINDS: tuple[Kind, ...] = ("epsilon", "v_prediction", "sample", "flow")


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
    if kind not in KINDS:
        raise MemdetectError(f"prediction type {kind!r} is not known; expected one of {', '.join(KINDS)}")
    return kind


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
    """
    signal, noise = level
    if kind == "epsilon":
        clean, eps = (x - noise * output) / signal, output
    elif kind == "sample":
        clean, eps = output, (x - signal * output) / noise
    elif kind == "v_prediction":
        clean, eps = signal * x - noise * output, noise * x + signal * output
    else:
        clean, eps = x - noise * output, x + signal * output
    return Prediction(clean, eps, -eps / noise)
