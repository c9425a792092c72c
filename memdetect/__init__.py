"""memdetect: which prompts and images of a diffusion model come back as copies of its training data."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from memdetect.adapters import load
    from memdetect.detector import Detector
    from memdetect.index import build_index, open_index
    from memdetect.probing import probe_images, probe_prompts
    from memdetect.scanning import calibrate, scan
    from memdetect.trace import Trace
    from memdetect.verdict import judge

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
    "Detector": "memdetect.detector",
    "Trace": "memdetect.trace",
    "build_index": "memdetect.index",
    "calibrate": "memdetect.scanning",
    "judge": "memdetect.verdict",
    "load": "memdetect.adapters",
    "open_index": "memdetect.index",
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
