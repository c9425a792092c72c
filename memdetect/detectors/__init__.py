"""The built-in detectors, and those that other packages bring under the entry point `memdetect.detectors`."""

from collections.abc import Sequence
from difflib import get_close_matches
from importlib.metadata import entry_points

from memdetect.detectors.agreement import AGREEMENT, AGREEMENT_FINAL
from memdetect.detectors.dcs import DCS
from memdetect.detectors.detector import Detector
from memdetect.detectors.noise_gap import NOISE_GAP
from memdetect.detectors.pian import PIAN
from memdetect.detectors.shape import CONCENTRATION, GINI, KURTOSIS, MAX_TO_MEAN, MEAN_STD, TOP_ENERGY
from memdetect.detectors.sharpness import SHARPNESS
from memdetect.detectors.specificity import SPECIFICITY
from memdetect.detectors.spikiness import SPIKINESS, SPIKINESS_L4
from memdetect.detectors.trajectory import TRAJECTORY
from memdetect.errors import MemdetectError

BUILT_IN: tuple[Detector, ...] = (
    SPECIFICITY,
    AGREEMENT,
    AGREEMENT_FINAL,
    SHARPNESS,
    NOISE_GAP,
    DCS,
    TRAJECTORY,
    PIAN,
    SPIKINESS,
    SPIKINESS_L4,
    MEAN_STD,
    KURTOSIS,
    CONCENTRATION,
    GINI,
    TOP_ENERGY,
    MAX_TO_MEAN,
)
BESIDE: tuple[Detector, ...] = (SPIKINESS, SPIKINESS_L4)  # set beside the response to a vector


def find(names: Sequence[str]) -> tuple[Detector, ...]:
    """Detectors by name or alias, each once; a plug-in is imported only when its name is asked for.

    Raises MemdetectError with the closest name for one that nobody provides.
    """
    return tuple(dict.fromkeys(_find(name) for name in names))


def _find(name: str) -> Detector:
    for detector in BUILT_IN:
        if name in (detector.name, detector.alias):
            return detector
    plugins = {entry.name: entry for entry in entry_points(group="memdetect.detectors")}
    if name in plugins:
        loaded = plugins[name].load()
        if not isinstance(loaded, Detector):
            raise MemdetectError(f"plug-in {name!r} is a {type(loaded).__name__}, expected a memdetect Detector")
        return loaded
    known = [*(d.name for d in BUILT_IN), *plugins]
    close = get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise MemdetectError(f"no detector named {name!r}; {hint}(have: {', '.join(known)})")
