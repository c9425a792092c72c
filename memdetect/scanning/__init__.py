"""The whole flow in one readable function, run_scan(); and run_calibration(), which shares its sampling loop."""

from memdetect.inputs.captions import captioned, prompts_of
from memdetect.inputs.options import Judging, Loading, Lookup, Probing, Sampling
from memdetect.judging.run import Run
from memdetect.scanning.calibrating import Matcher, run_calibration
from memdetect.scanning.flow import calibration_of, run_scan
from memdetect.scanning.loop import Watch
from memdetect.scanning.prepare import Settings, plan, prepare, settings
from memdetect.scanning.python import calibrate, scan, score

__all__ = [
    "Judging",
    "Loading",
    "Lookup",
    "Matcher",
    "Probing",
    "Run",
    "Sampling",
    "Settings",
    "Watch",
    "calibrate",
    "calibration_of",
    "captioned",
    "plan",
    "prepare",
    "prompts_of",
    "run_calibration",
    "run_scan",
    "scan",
    "score",
    "settings",
]
