"""Can the captions alone tell memorized prompts from their controls? They must not, or a detector could read them.

Character n-grams and a logistic regression, cross-validated with whole families held out. Scores of one fold share
what they learned from, so that no interval for independent scores holds; the AUROC is compared with those of shuffled
labels. p: share of shuffles in which the captions tell at least as much.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold

from memdetect.errors import MemdetectError
from memdetect.prompts import Request, read

FOLDS, SHUFFLES = 5, 200
PAIRS = (
    ("matched", "control"),
    ("matched", "seen"),
    ("matched", "held-out"),
    ("verbatim", "verbatim-control"),
    ("template", "template-control"),
)


@dataclass(frozen=True, slots=True)
class Told:
    """AUROC of captions by models that saw none of their family, and where 95 % of shuffled labels leave it."""

    auroc: float
    low: float
    high: float
    p: float

    def __str__(self) -> str:
        return f"{self.auroc:.3f} (shuffled labels: {self.low:.3f} to {self.high:.3f}; p = {self.p:.3f})"


def area(features: Any, labels: np.ndarray, families: np.ndarray, seed: int) -> float:
    """Cross-validated AUROC; the log-odds of all folds are ranked together."""
    scores = np.zeros(len(labels))
    for train, test in StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed).split(labels, labels, families):
        model = LogisticRegression(class_weight="balanced", solver="liblinear")
        scores[test] = model.fit(features[train], labels[train]).decision_function(features[test])
    return float(roc_auc_score(labels, scores))


def shuffle(rng: np.random.Generator, labels: np.ndarray, families: np.ndarray) -> np.ndarray:
    """Labels as another lot would deal them: within families that hold both groups, else over all."""
    mixed = len(set(zip(families.tolist(), labels.tolist(), strict=True))) > len(set(families.tolist()))
    blocks = families if mixed else np.zeros(len(labels), int)
    dealt = labels.copy()
    for block in np.unique(blocks):
        rows = np.flatnonzero(blocks == block)
        dealt[rows] = labels[rng.permutation(rows)]
    return dealt


def compare(items: Sequence[Request], positive: str, rival: str, shuffles: int = SHUFFLES) -> Told:
    """The two groups by their captions; MemdetectError when one of them has fewer than ten."""
    rows = [row for row in items if row.meta.get("group") in (positive, rival)]
    labels = np.array([row.meta["group"] == positive for row in rows])
    if min(labels.sum(), (~labels).sum()) < 10:
        raise MemdetectError(f"fewer than ten captions are of {positive} or of {rival}; give the labelled prompts")
    families = np.unique([str(row.meta["family"]) for row in rows], return_inverse=True)[1]
    captions = [row.prompt or "" for row in rows]
    features = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True).fit_transform(captions)
    rng = np.random.default_rng(0)
    found = area(features, labels, families, 0)
    null = np.array([area(features, shuffle(rng, labels, families), families, k + 1) for k in range(shuffles)])
    low, high = np.quantile(null, [0.025, 0.975])
    return Told(found, float(low), float(high), float((1 + (null >= found).sum()) / (1 + shuffles)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the AUROC of each group against its controls."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prompts", nargs="+", help="prompt files with group and family, such as labelled.jsonl")
    parser.add_argument("--shuffles", type=int, default=SHUFFLES)
    given = parser.parse_args(arguments)
    try:
        items = read(given.prompts).items
        for positive, rival in PAIRS:
            if {positive, rival} <= {row.meta.get("group") for row in items}:
                print(f"{positive} against {rival}: {compare(items, positive, rival, given.shuffles)}")
    except MemdetectError as problem:
        parser.error(str(problem))
    return 0


if __name__ == "__main__":
    sys.exit(main())
