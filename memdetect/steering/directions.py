"""From the features of references to one direction."""

from typing import Literal

from jaxtyping import Float
from torch import Tensor

from memdetect.errors import MemdetectError

Method = Literal["mean", "difference", "orthogonal"]


def direction(
    positive: Float[Tensor, "item chan"],
    negative: Float[Tensor, "other chan"] | None,
    method: Method,
    *,
    normalised: bool = False,
) -> Float[Tensor, " chan"]:
    """The direction towards what the positive references show, from features pooled over positions.

    `mean`: mean of the positive ones (paper, eq. 11). `difference`: that less the mean of the negative ones (the
    paper's code). `orthogonal`: the part of the mean that is orthogonal to the negative ones' mean, so that nothing
    only grows or shrinks what is there anyway. Unit: that of the features. normalised: scaled to the mean length of
    all references' features, so that a strength is a share of a typical feature vector at any layer.
    Raises MemdetectError when negative references are missing or nothing is left.
    """
    found = positive.mean(dim=0)
    rows = list(positive)
    if method != "mean":
        if negative is None:
            raise MemdetectError(f"method {method!r} needs negative references; give --negative, or --method mean")
        rows += list(negative)
        away = negative.mean(dim=0)
        found = found - (away if method == "difference" else away * (found @ away) / (away @ away))
    length = found.norm()
    typical = sum(row.norm() for row in rows) / len(rows)
    if not length > 1e-6 * typical:
        raise MemdetectError("positive and negative references leave no direction; give references that differ")
    return found * (typical / length) if normalised else found
