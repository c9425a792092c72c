"""Is a reference itself a likely copy? Its spikiness among clean prompts, or else among the other references."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from memdetect.adapters import Model
from memdetect.detectors.spikiness import SPIKINESS
from memdetect.judging.calibration import Calibration, read_calibration
from memdetect.judging.statistics.conformal import p_value
from memdetect.probing import Probe, Sampler, trace_of
from memdetect.probing.batches import Batching
from memdetect.runs.plan import Places
from memdetect.steering.references import References

LEVEL = 0.01  # of a p-value among clean prompts
FEWEST = 8  # references, below which no outlier among them is called one
FAR = 3.5  # robust standard deviations above the median (Iglewicz and Hoaglin 1993)


@dataclass(frozen=True, slots=True)
class Check:
    """Spikiness of each reference at the card's point, those that stand out, and what they were compared with.

    warning: one line for the user, "" when nothing stands out and everything could be compared.
    """

    scores: tuple[float, ...]
    spiky: tuple[str, ...]
    compared: str
    warning: str

    def document(self) -> dict[str, Any]:
        """What goes into the header of the vector."""
        return {"spikiness": list(self.scores), "spiky": list(self.spiky), "compared": self.compared}


def check_references(model: Model, references: References, sampler: Sampler, side: str) -> Check:
    """Score each reference as a scan would (paper, Algorithm 1) and compare: a memorized one teaches its own image.

    Generated references are ranked among the model's clean scores where it has some for these settings: p <= 0.01.
    Else a reference stands out among the others, by more than 3.5 robust standard deviations.
    """
    probe = Probe.at(model, detectors=(SPIKINESS,))
    one = Sampler(sampler.steps, sampler.guidance_scale, 1, sampler.seed, sampler.batch_size)
    trace = trace_of(probe, references.latents, references.names, one, Batching(sampler.batch_size))
    scores: list[float] = SPIKINESS.score(trace)[:, 0].tolist()
    reference = _clean(model, probe, sampler) if references.generated else None
    if reference:
        flags = [p_value(reference, score) <= LEVEL for score in scores]
        compared = f"{len(reference)} clean prompts"
        expected = f", {LEVEL * len(scores):.1f} of clean ones would be"
    else:
        flags, expected = outliers(scores), ""
        compared = "the other references" if len(scores) >= FEWEST else "nothing: fewer than 8 and no clean scores"
    spiky = tuple(name for name, flag in zip(references.names, flags, strict=True) if flag)
    listed = f"{', '.join(spiky[:5])}{', ...' if len(spiky) > 5 else ''}"
    warning = (
        f"{len(spiky)} of {len(scores)} {side} references are unusually spiky among {compared}{expected}, "
        f"likely memorized themselves: {listed}; look at them or leave them out"
    )
    if not spiky:
        warning = "" if compared[:7] != "nothing" else f"{side} references were not checked for memorized ones: too few"
    return Check(tuple(scores), spiky, compared, warning)


def outliers(scores: Sequence[float]) -> list[bool]:
    """Which scores lie far above the median, in units of 1.4826 times the median absolute deviation; none of few."""
    if len(scores) < FEWEST:
        return [False] * len(scores)
    middle = statistics.median(scores)
    spread = 1.4826 * statistics.median(abs(score - middle) for score in scores)
    return [score - middle > FAR * spread for score in scores]


def _clean(model: Model, probe: Probe, sampler: Sampler) -> list[float] | None:
    """The model's own clean scores for one image a prompt, ascending, where they hold for these settings."""
    calibration: Calibration | None = read_calibration(model.folder / "calibration.json") if model.folder else None
    if calibration is None:
        return None
    held = calibration.settings
    if (held.model, held.steps, held.guidance_scale) != (model.digest, sampler.steps, sampler.guidance_scale):
        return None
    places = Places(tuple((p.name, str(t)) for p in probe.points for t in probe.timesteps), num_seeds=1)
    rows = calibration.seeds(SPIKINESS.name, places)
    return sorted(row[0] for row in rows) if rows else None
