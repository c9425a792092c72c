"""What the theory lab writes: one JSON file a regime, one of the samples, one of the transition; figures read them."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from memdetect.errors import MemdetectError
from memdetect.files import write_atomic


def _short(values: Iterable[Any]) -> list[float]:
    return [round(float(v), 4) for v in values]


Numbers = Annotated[list[float], BeforeValidator(_short)]


class Kept(BaseModel):
    """Strict in its names, so that a file of another version is seen."""

    model_config = ConfigDict(extra="forbid")


class Panel(Kept):
    """A row of numbers with a title: the bars of a representation, or the pixels of a picture (`side` > 0)."""

    title: str
    values: Numbers
    side: int = 0


class Spectra(Kept):
    """Jacobian at samples of a group: mean singular values, and medians of `probes.Spectrum`'s three numbers."""

    values: Numbers
    rank: float
    top: float
    along: float


class Found(Kept):
    """One cluster's block of units against its prediction (`analysis.Block`)."""

    cluster: str
    units: int
    filter: float
    own: float
    other: float
    energy: float


class RegimeResult(Kept):
    """A trained network beside its prediction.

    distances: relative, 0 = as predicted. errors: squared distance to the clean sample, summed over dimensions.
    statistics: median of each statistic of the hidden layer, by group of samples. separation: AUROC of each
    statistic, the memorized or duplicated samples against fresh ones. power: mean cosine with the nearest training
    sample after each denoising. between: 0 = the empirical denoiser, 1 = the true one; null where it is not known.
    """

    regime: str
    data: str
    preset: str
    seed: int
    recipe: dict[str, float | str | bool]
    samples: int
    conditions: dict[str, float]
    problems: list[str]
    distances: dict[str, float]
    units_a_sample: list[int]
    blocks: list[Found]
    errors: dict[str, float]
    between: float | None
    statistics: dict[str, dict[str, float | None]]
    separation: dict[str, float | None]
    jacobian: dict[str, Spectra]
    power: Numbers
    loss: Numbers
    trained_units: list[Panel]
    predicted_units: list[Panel]
    bars: list[Panel]
    denoised: list[list[Panel]]


class SamplingResult(Kept):
    """Sampling runs of the time-conditioned network; cosine of each end with its nearest training sample.

    fresh: the same cosine of samples that were not trained on, the level that novelty has.
    """

    regime: str
    data: str
    preset: str
    seed: int
    recipe: dict[str, float | str | bool]
    cosines: Numbers
    fresh: Numbers
    rows: list[list[Panel]]


class TransitionResult(Kept):
    """Networks of several widths on several numbers of samples of the mixture; tables are [samples][units].

    between: 0 = empirical, 1 = true denoiser. seen, unseen: error on training and on fresh samples. rank: median
    effective rank of the Jacobian at training samples, which is 1 where a sample has a direction to itself.
    """

    seed: int
    sigma: float
    samples: list[int]
    units: list[int]
    between: list[Numbers]
    seen: list[Numbers]
    unseen: list[Numbers]
    rank: list[Numbers]


Result = TypeVar("Result", RegimeResult, SamplingResult, TransitionResult)


def write_result(path: Path, result: BaseModel) -> None:
    """Write one result as JSON."""
    write_atomic(path, result.model_dump_json(indent=1) + "\n")


def read_result(path: Path, kind: type[Result]) -> Result:
    """Read one result. Raises MemdetectError for a file that is missing or not of this kind."""
    try:
        return kind.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MemdetectError(f"{str(path)!r} is missing; run `memdetect lab relu-dae` for it") from None
    except ValidationError as problem:
        first = problem.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise MemdetectError(f"{str(path)!r}: {place}: {first['msg']}; run `memdetect lab relu-dae` again") from None


def picture(title: str, pixels: np.ndarray, side: int) -> Panel:
    """A panel of a sample: a picture where `side` > 0, bars otherwise."""
    return Panel(title=title, values=list(pixels), side=side)
