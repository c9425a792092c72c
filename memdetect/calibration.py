"""Scores of clean prompts on this very model and settings, and the p-value of a new score among them."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from memdetect.errors import MemdetectError


class Calibration(BaseModel):
    """Clean scores, kept by cell so that any choice of layers and timesteps has its null.

    settings: what a scan has to share with it (model digest, steps, guidance, ...). scores: detector -> layer ->
    timestep -> one list of per-seed scores for each clean prompt.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    schema_version: int = 1
    about: str = ""
    settings: dict[str, Any]
    prompts: int
    scores: dict[str, dict[str, dict[str, list[list[float]]]]]

    @model_validator(mode="after")
    def _complete(self) -> "Calibration":
        for detector, layers in self.scores.items():
            for layer, cells in layers.items():
                for timestep, rows in cells.items():
                    if len(rows) != self.prompts or not all(rows):
                        where = f"{detector}, {layer}, t={timestep}"
                        raise ValueError(
                            f"{where}: {sum(map(bool, rows))} prompts have scores, expected {self.prompts}"
                        )
        return self

    def difference(self, settings: Mapping[str, Any]) -> str | None:
        """The first setting in which a scan differs from the calibration, as `key (theirs, ours)`, or None."""
        for key, value in self.settings.items():
            if settings.get(key) != value:
                return f"{key} (calibrated {value!r}, scanned {settings.get(key)!r})"
        return None

    def null(self, detector: str, layers: Sequence[str], timesteps: Sequence[str], seeds: int) -> list[float] | None:
        """Sorted clean scores: means over the given layers, timesteps and the first `seeds` seeds; None if not kept."""
        table = self.scores.get(detector, {})
        cells = [table.get(layer, {}).get(t) for layer in layers for t in timesteps]
        if not cells or any(not cell or min(map(len, cell)) < seeds for cell in cells):
            return None
        kept = [cell for cell in cells if cell is not None]
        means = [[_mean(row[:seeds]) for row in cell] for cell in kept]
        return sorted(_mean([cell[i] for cell in means]) for i in range(self.prompts))


def p_value(null: Sequence[float], score: float) -> float:
    """(1 + #{null >= score}) / (1 + n) for a sorted null: valid for every n, never below 1 / (1 + n).

    Conformal p-value: under exchangeability P(p <= a) <= a. Raises MemdetectError for a score that is not a number.
    """
    if score != score:
        raise MemdetectError("a score that is not a number has no p-value; the item is inconclusive")
    return (1 + len(null) - bisect_left(null, score)) / (1 + len(null))


def read_calibration(path: Path) -> Calibration | None:
    """The calibration in a file, None when there is no such file; MemdetectError for one that does not parse."""
    if not path.exists():
        return None
    try:
        return Calibration.model_validate_json(path.read_bytes())
    except ValidationError as problem:
        first = problem.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise MemdetectError(f"{path} is no calibration: {where or 'file'}: {first['msg']}; make it again") from None


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
