"""Labelled prompts -> how well a detector tells them apart, at which layer and timestep."""

from memdetect.evaluation.cells import RIVALS, Labels, Scores, halves, labels_of, scores_of
from memdetect.evaluation.estimates import Estimate, Sample, caught, estimate, shuffle
from memdetect.evaluation.tables import chosen_rows, document, grid, table

__all__ = [
    "RIVALS",
    "Estimate",
    "Labels",
    "Sample",
    "Scores",
    "caught",
    "chosen_rows",
    "document",
    "estimate",
    "grid",
    "halves",
    "labels_of",
    "scores_of",
    "shuffle",
    "table",
]
