"""Every detector on labelled prompts in one run: chosen on the tuning split, reported on the test split, with costs."""

from memdetect.evaluation.bench.asked import Asked, Comparison, Labelled, labelled_of
from memdetect.evaluation.bench.costs import costs_of, timed
from memdetect.evaluation.bench.plots import plot_costs, plot_dose
from memdetect.evaluation.bench.report import document_of, selection_of
from memdetect.evaluation.bench.running import Measured, Settings, run_bench

__all__ = [
    "Asked",
    "Comparison",
    "Labelled",
    "Measured",
    "Settings",
    "costs_of",
    "document_of",
    "labelled_of",
    "plot_costs",
    "plot_dose",
    "run_bench",
    "selection_of",
    "timed",
]
