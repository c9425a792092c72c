"""The one decision that every output and the exit code read; from records alone, without torch."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from memdetect.calibration import Calibration, p_value
from memdetect.errors import Exit
from memdetect.records import Header, Measurement, Outcome, Result

LEVEL = 0.01


@dataclass(frozen=True, slots=True)
class Verdict:
    """Counts of a run by outcome; `planned` counts items that were never measured as well.

    calibrated: how many clean prompts the p-values rest on; missing: why there are none; unusable: how many items
    could not be read or gave values that are not finite.
    """

    planned: int
    measured: int
    counts: Mapping[Outcome, int]
    calibrated: int
    missing: str
    level: float
    unusable: int = 0

    @property
    def complete(self) -> bool:
        """Whether every planned item was measured."""
        return self.measured == self.planned

    @property
    def exit(self) -> Exit:
        """What a scan that does not judge exits with: inconclusive when nothing could be used, else ok."""
        usable = self.measured - self.unusable
        return Exit.OK if usable else Exit.INCONCLUSIVE


class Judge:
    """Decides item by item: `suspicious` = the p-value of the plan's first detector is at most the level.

    One score per item is tested, so that the level is what it says; the other detectors are shown beside it.
    """

    def __init__(self, header: Header, calibration: Calibration | None, level: float = LEVEL) -> None:
        self.header, self.calibration, self.level = header, calibration, level
        self.missing = self._why_not()
        plan = header.plan
        usable = calibration if calibration and not self.missing else None
        self.nulls = {
            name: usable.null(name, plan["layers"], [str(t) for t in plan["timesteps"]], plan["num_seeds"])
            if usable
            else None
            for name in plan["detectors"]
        }
        deciding = self.nulls[plan["detectors"][0]]
        if usable and deciding is None:
            self.missing = "the clean scores do not cover this choice of layers, timesteps and seeds"
        self.clean = len(deciding or ())

    def _why_not(self) -> str:
        if self.calibration is None:
            return "there are no clean scores for this model"
        different = self.calibration.difference(self.header.plan)
        return f"the clean scores were made with another {different}" if different else ""

    def result(self, row: Measurement) -> Result:
        """A measurement with its p-values and outcome."""
        p = {name: self._p(row, name) for name in self.header.plan["detectors"]}
        outcome, reason = self._outcome(row, next(iter(p.values())))
        return Result(**row.model_dump(), p=p, outcome=outcome, reason=reason)

    def _p(self, row: Measurement, name: str) -> float | None:
        null, score = self.nulls[name], row.scores.get(name)
        if row.prompt is None or null is None or score is None or score.score is None:
            return None
        return p_value(null, score.score)

    def _outcome(self, row: Measurement, p: float | None) -> tuple[Outcome, str]:
        if row.status == "unreadable":
            return "inconclusive", "the input could not be read"
        if row.status == "nonfinite":
            return "inconclusive", "the network gave values that are not finite"
        if row.prompt is None and not self.missing:
            return "inconclusive", "the clean scores are of generated images, not of given ones"
        if p is None:
            return "inconclusive", self.missing or "no p-value"
        if self.clean + 1 < 1 / self.level:
            return "inconclusive", f"{self.clean} clean scores cannot show p <= {self.level}"
        return ("suspicious", f"p <= {self.level}") if p <= self.level else ("clear", "")

    def verdict(self, results: Iterable[Result]) -> Verdict:
        """Counts over the results of the run."""
        counts: dict[Outcome, int] = {"copy": 0, "suspicious": 0, "clear": 0, "inconclusive": 0}
        unusable = 0
        for row in results:
            counts[row.outcome] += 1
            unusable += row.status != "ok"
        measured = sum(counts.values())
        return Verdict(self.header.planned, measured, counts, self.clean, self.missing, self.level, unusable)


def judge(
    header: Header, rows: Iterable[Measurement], calibration: Calibration | None = None, level: float = LEVEL
) -> tuple[list[Result], Verdict]:
    """Results and verdict of a run's measurements, against clean scores made with the same settings."""
    bench = Judge(header, calibration, level)
    results = [bench.result(row) for row in rows]
    return results, bench.verdict(results)
