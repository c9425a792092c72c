"""How well the scores of finished runs tell one group from others: AUROC with intervals, over layers and timesteps.

The best layer and timestep are chosen on the tuning split and reported on the test split. A score without calibration
has no threshold: what false findings cost is for calibrated p-values to say (`evaluation.power`).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from memdetect.evaluation.cells import Scores, all_scores
from memdetect.evaluation.groups import Question, check_splits, labels_of
from memdetect.evaluation.tables import grid, table
from memdetect.runs.folder import RunFolder


def separate(runs: Sequence[Path], truth: Path | None, question: Question) -> dict[str, Scores]:
    """Scores of every detector over the items of finished runs with the same settings, with their labels.

    truth: JSON lines with id, group and part, where the inputs had none. Raises MemdetectError for items without a
    group, groups or splits that are too small, and runs without finite scores.
    """
    rows = [row for run in runs for row in RunFolder(run).measurements()]
    found = all_scores(rows, labels_of(rows, truth, question))
    for scores in found.values():
        check_splits(scores.labels, _measured(scores))
    return found


def report(found: Mapping[str, Scores], grids: bool = False) -> str:
    """How many items of each group there are, and the tables in Markdown; `grids`: the AUROC of every cell as well."""
    labels = next(iter(found.values())).labels
    counted = (labels.positive, *labels.rivals)
    counts = ", ".join(f"{labels.count(name)} {name}" for name in counted)
    ids = {name for name, group in labels.groups.items() if group in counted}
    lost = len(ids) - min(len(ids & _measured(scores)) for scores in found.values())
    lines = [
        f"{counts}; left out, not finite or unreadable: {lost}. Intervals 95 %.\n",
        table(found),
        "\n`selection`: the tuning split, on which the cell was chosen, biased upwards. All else: the test split.",
    ]
    for detector, scores in found.items() if grids else ():
        for rival in labels.rivals:
            title = f"{detector}: AUROC of {labels.positive} against {rival}, test split"
            lines.append(f"\n{title}\n\n{grid(scores, rival)}")
    return "\n".join(lines)


def _measured(scores: Scores) -> set[str]:
    return set(next(iter(scores.cells.values())))
