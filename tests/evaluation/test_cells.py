"""Cells of labelled runs."""

import numpy as np
import pytest

from memdetect.errors import MemdetectError
from memdetect.evaluation import Question, all_scores, labels_of, scores_of
from memdetect.runs.folder import RunFolder


def test_a_mean_of_layers_is_the_mean_of_their_seed_means(run):
    rows = list(RunFolder(run).measurements())
    scores = scores_of(rows, labels_of(rows, None, Question("duplicated")), "spikiness")
    own = rows[3].scores["spikiness"].cells
    expected = np.mean([own[layer]["50"] for layer in own])
    assert scores.cells["mean of all 2", "50"][rows[3].id] == pytest.approx(expected)


def test_a_run_without_finite_scores_is_refused(run):
    rows = [row.model_copy(update={"scores": {}}) for row in RunFolder(run).measurements()]
    with pytest.raises(MemdetectError, match="no item has finite scores"):
        all_scores(rows, labels_of(rows, None, Question("duplicated")))
