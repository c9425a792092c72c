"""The whole flow in one readable function: scan()."""

from memdetect.scanning.flow import Run, calibration_of, scan
from memdetect.scanning.plan import Options, plan, prepare, settings

__all__ = ["Options", "Run", "calibration_of", "plan", "prepare", "scan", "settings"]
