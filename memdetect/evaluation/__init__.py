"""Labelled prompts -> how well a detector tells them apart, at which layer and timestep."""

from memdetect.evaluation.cells import Scores, all_scores, scores_of
from memdetect.evaluation.estimates import Estimate, Sample, caught, estimate, shuffle
from memdetect.evaluation.groups import Labels, Question, check_halves, halves, labels_of
from memdetect.evaluation.tables import chosen_rows, document, grid, table

__all__ = [
    "Estimate",
    "Labels",
    "Question",
    "Sample",
    "Scores",
    "all_scores",
    "caught",
    "check_halves",
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
