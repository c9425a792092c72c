"""How well scores tell memorized prompts from others: AUROC with intervals, over layers and timesteps.

The best layer and timestep are chosen on one half of the prompts (parts tuning and A, or a half by hash) and reported
on the other (parts reporting and report). A score without calibration has no threshold; what false alarms cost is for
calibrated p-values to say.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from memdetect.errors import MemdetectError
from memdetect.evaluation import RIVALS, document, grid, labels_of, scores_of, table
from memdetect.runs.folder import RunFolder


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables of a finished run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="folders written by memdetect scan, with the same settings")
    parser.add_argument("--truth", type=Path, help="JSON lines with id, group and part, where the inputs had none")
    parser.add_argument("--positive", choices=list(RIVALS), default="matched", help="the group that should score high")
    parser.add_argument("--grids", action="store_true", help="print the AUROC of every cell as well")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all estimates here as well")
    given = parser.parse_args(arguments)
    try:
        rows = [row for run in given.runs for row in RunFolder(run).measurements()]
        labels = labels_of(rows, given.truth, given.positive)
    except MemdetectError as problem:
        parser.error(str(problem))
    detectors = dict.fromkeys(name for row in rows for name in row.scores)
    all_scores = {detector: scores_of(rows, labels, detector) for detector in detectors}
    counted = (given.positive, *labels.rivals)
    counts = ", ".join(f"{list(labels.groups.values()).count(name)} {name}" for name in counted)
    ids = {name for name, group in labels.groups.items() if group in counted}
    kept = [len(ids & next(iter(scores.cells.values())).keys()) for scores in all_scores.values()]
    print(f"{counts}; left out, not finite or unreadable: {len(ids) - min(kept, default=0)}. Intervals 95 %.\n")
    print(table(all_scores))
    print("\n`selection`: the half on which the cell was chosen, biased upwards. All else: the other half.")
    for detector, scores in all_scores.items() if given.grids else ():
        for rival in labels.rivals:
            print(f"\n{detector}: AUROC of {given.positive} against {rival}, reporting half\n\n{grid(scores, rival)}")
    if given.json:
        given.json.write_text(json.dumps(document(all_scores), indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
