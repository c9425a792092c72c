"""The whole flow in one readable function, run_scan(); and run_calibration(), which shares its sampling loop."""

from memdetect.inputs.captions import captioned, prompts_of
from memdetect.inputs.options import Judging, Loading, Lookup, Probing, Sampling, Screening, Sharing
from memdetect.judging.run import Run
from memdetect.scanning.calibrating import Matcher, run_calibration
from memdetect.scanning.flow import calibration_of, run_scan
from memdetect.scanning.loop import Watch
from memdetect.scanning.planning import header_of, plan_of, settings_of
from memdetect.scanning.prepare import Options, prepare
from memdetect.scanning.python import calibrate, scan, score

__all__ = [
    "Judging",
    "Loading",
    "Lookup",
    "Matcher",
    "Options",
    "Probing",
    "Run",
    "Sampling",
    "Screening",
    "Sharing",
    "Watch",
    "calibrate",
    "calibration_of",
    "captioned",
    "header_of",
    "plan_of",
    "prepare",
    "prompts_of",
    "run_calibration",
    "run_scan",
    "scan",
    "score",
    "settings_of",
]
