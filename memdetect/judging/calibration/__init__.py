"""Scores of clean prompts on one model and settings, which a new score is ranked among, and how they are made."""

from memdetect.judging.calibration.making import calibration_of_run, draw_parts, parts_of, with_known
from memdetect.judging.calibration.records import (
    Calibration,
    Item,
    Kind,
    Known,
    Part,
    Removed,
    read_calibration,
    seed_means,
)

__all__ = [
    "Calibration",
    "Item",
    "Kind",
    "Known",
    "Part",
    "Removed",
    "calibration_of_run",
    "draw_parts",
    "parts_of",
    "read_calibration",
    "seed_means",
    "with_known",
]
