"""The whole flow in one readable function: scan(); and calibrate(), which shares its sampling loop."""

from memdetect.inputs.captions import captioned, prompts_of
from memdetect.scanning.calibrating import Matcher, calibrate, calibrate_by
from memdetect.scanning.flow import Run, calibration_of, scan
from memdetect.scanning.loop import Watch
from memdetect.scanning.planning import header_of, plan_of, settings_of
from memdetect.scanning.prepare import Options, prepare

__all__ = [
    "Matcher",
    "Options",
    "Run",
    "Watch",
    "calibrate",
    "calibrate_by",
    "calibration_of",
    "captioned",
    "header_of",
    "plan_of",
    "prepare",
    "prompts_of",
    "scan",
    "settings_of",
]
