"""memdetect: which prompts and images of a diffusion model come back as copies of its training data."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from memdetect.adapters import load
    from memdetect.copies.asking import build_index, look_up
    from memdetect.detectors.detector import Detector
    from memdetect.judging.run import judge, read_run
    from memdetect.probing.trace import Trace
    from memdetect.scanning.python import calibrate, scan, score

__version__ = "0.1.0"
__all__ = [
    "Detector",
    "Trace",
    "build_index",
    "calibrate",
    "judge",
    "load",
    "look_up",
    "read_run",
    "scan",
    "score",
]

_HOME = {
    "Detector": "memdetect.detectors.detector",
    "Trace": "memdetect.probing.trace",
    "build_index": "memdetect.copies.asking",
    "calibrate": "memdetect.scanning.python",
    "judge": "memdetect.judging.run",
    "load": "memdetect.adapters",
    "look_up": "memdetect.copies.asking",
    "read_run": "memdetect.judging.run",
    "scan": "memdetect.scanning.python",
    "score": "memdetect.scanning.python",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `import memdetect` stays free of torch."""
    if name not in _HOME:
        raise AttributeError(f"module 'memdetect' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
