"""Labelled prompts -> how well a detector tells them apart, at which layer and timestep."""

from memdetect.evaluation.cells import Scores, all_scores, scores_of
from memdetect.evaluation.estimates import Estimate, Sample, estimate, shuffle, tpr_at_fpr
from memdetect.evaluation.groups import Labels, Question, check_splits, labels_of, splits
from memdetect.evaluation.tables import chosen_rows, document, grid, table

__all__ = [
    "Estimate",
    "Labels",
    "Question",
    "Sample",
    "Scores",
    "all_scores",
    "check_splits",
    "chosen_rows",
    "document",
    "estimate",
    "grid",
    "labels_of",
    "scores_of",
    "shuffle",
    "splits",
    "table",
    "tpr_at_fpr",
]
