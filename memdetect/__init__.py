"""memdetect: which prompts and images of a diffusion model come back as copies of its training data."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from memdetect.adapters import load
    from memdetect.copies.index import build_index, open_index
    from memdetect.detectors.detector import Detector
    from memdetect.judging import judge
    from memdetect.probing import probe_images, probe_prompts
    from memdetect.probing.trace import Trace
    from memdetect.scanning import calibrate, scan

__version__ = "0.1.0"
__all__ = [
    "Detector",
    "Trace",
    "build_index",
    "calibrate",
    "judge",
    "load",
    "open_index",
    "probe_images",
    "probe_prompts",
    "scan",
]

_HOME = {
    "Detector": "memdetect.detectors.detector",
    "Trace": "memdetect.probing.trace",
    "build_index": "memdetect.copies.index",
    "calibrate": "memdetect.scanning",
    "judge": "memdetect.judging",
    "load": "memdetect.adapters",
    "open_index": "memdetect.copies.index",
    "probe_images": "memdetect.probing",
    "probe_prompts": "memdetect.probing",
    "scan": "memdetect.scanning",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `import memdetect` stays free of torch."""
    if name not in _HOME:
        raise AttributeError(f"module 'memdetect' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
