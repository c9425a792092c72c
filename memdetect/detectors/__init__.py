"""The built-in detectors, and those that other packages bring under the entry point `memdetect.detectors`."""

from collections.abc import Sequence
from difflib import get_close_matches
from importlib.metadata import entry_points

from memdetect.detectors.agreement import AGREEMENT, AGREEMENT_FINAL
from memdetect.detectors.agreement_pictures import AGREEMENT_EDGES, AGREEMENT_EMBEDDER, AGREEMENT_PIXELS
from memdetect.detectors.anisotropy import ANISOTROPY
from memdetect.detectors.attention_entropy import ATTENTION_ENTROPY, ATTENTION_ENTROPY_FIRST
from memdetect.detectors.bright_ending import BRIGHT_ENDING
from memdetect.detectors.condition_jacobian import CONDITION_JACOBIAN
from memdetect.detectors.curvature_gap import CURVATURE_GAP, LAST_GAP
from memdetect.detectors.dcs import DCS
from memdetect.detectors.detector import Detector
from memdetect.detectors.dsm import DSM
from memdetect.detectors.flipd import FLIPD
from memdetect.detectors.gap_sharpness import GAP_SHARPNESS, GAP_SHARPNESS_JVP
from memdetect.detectors.neurons import NEURONS
from memdetect.detectors.noise_agreement import NOISE_AGREEMENT
from memdetect.detectors.noise_gap import NOISE_GAP
from memdetect.detectors.own_loss import CLID, LOSS
from memdetect.detectors.pian import PIAN
from memdetect.detectors.shape import CONCENTRATION, GINI, KURTOSIS, MAX_TO_MEAN, MEAN_STD, TOP_ENERGY
from memdetect.detectors.sharpness import SHARPNESS
from memdetect.detectors.specificity import SPECIFICITY
from memdetect.detectors.spikiness import SPIKINESS, SPIKINESS_L4
from memdetect.detectors.straightness import STRAIGHTNESS
from memdetect.detectors.text_norm import TEXT_NORM
from memdetect.detectors.trajectory import TRAJECTORY
from memdetect.errors import MemdetectError

BUILT_IN: tuple[Detector, ...] = (
    SPECIFICITY,
    AGREEMENT,
    AGREEMENT_FINAL,
    AGREEMENT_PIXELS,
    AGREEMENT_EDGES,
    AGREEMENT_EMBEDDER,
    NOISE_AGREEMENT,
    SHARPNESS,
    NOISE_GAP,
    DCS,
    TRAJECTORY,
    NEURONS,
    STRAIGHTNESS,
    DSM,
    GAP_SHARPNESS,
    GAP_SHARPNESS_JVP,
    ANISOTROPY,
    CONDITION_JACOBIAN,
    LAST_GAP,
    CURVATURE_GAP,
    BRIGHT_ENDING,
    ATTENTION_ENTROPY,
    ATTENTION_ENTROPY_FIRST,
    PIAN,
    LOSS,
    CLID,
    FLIPD,
    TEXT_NORM,
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
