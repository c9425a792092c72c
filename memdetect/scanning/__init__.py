"""The whole flow in one readable function: scan(); and calibrate(), which shares its sampling loop."""

from memdetect.inputs.captions import captioned, prompts_of
from memdetect.scanning.calibrating import Matcher, calibrate
from memdetect.scanning.flow import Run, calibration_of, scan
from memdetect.scanning.loop import Watch
from memdetect.scanning.prepare import Options, plan, prepare, settings

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
