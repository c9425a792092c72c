"""The whole flow in one readable function: scan(); and calibrate(), which shares its sampling loop."""

from memdetect.scanning.calibrating import Matcher, calibrate
from memdetect.scanning.flow import Run, calibration_of, scan
from memdetect.scanning.loop import Watch
from memdetect.scanning.plan import Options, plan, prepare, settings
from memdetect.scanning.trained_on import captioned, prompts_of

__all__ = [
    "Matcher",
    "Options",
    "Run",
    "Watch",
    "calibrate",
    "calibration_of",
    "captioned",
    "plan",
    "prepare",
    "prompts_of",
    "scan",
    "settings",
]
