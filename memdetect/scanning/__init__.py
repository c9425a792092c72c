"""The whole flow in one readable function, run_scan(); and run_calibration(), which shares its sampling loop."""

from memdetect.inputs.captions import captioned, prompts_of
from memdetect.scanning.calibrating import Matcher, run_calibration
from memdetect.scanning.flow import Run, calibration_of, run_scan
from memdetect.scanning.loop import Watch
from memdetect.scanning.prepare import Settings, plan, prepare, settings

scan, calibrate = run_scan, run_calibration

__all__ = [
    "Matcher",
    "Run",
    "Settings",
    "Watch",
    "calibration_of",
    "captioned",
    "plan",
    "prepare",
    "prompts_of",
    "run_calibration",
    "run_scan",
    "settings",
]
