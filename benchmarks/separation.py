"""How well scores tell memorized prompts from others: AUROC with intervals, over layers and timesteps.

The best layer and timestep are chosen on one half of the prompts (--tuning-part, or a half of each group by hash) and
reported on the other (--test-part). A score without calibration has no threshold; what false alarms cost is for
calibrated p-values to say.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from memdetect.errors import MemdetectError
from memdetect.evaluation import Question, all_scores, check_halves, document, grid, labels_of, table
from memdetect.runs.folder import RunFolder


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables of a finished run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="folders written by memdetect scan, with the same settings")
    parser.add_argument("--truth", type=Path, help="JSON lines with id, group and part, where the inputs had none")
    parser.add_argument("--positive", required=True, help="the group that should score high")
    parser.add_argument("--against", action="append", default=[], help="a group to compare with; default: every other")
    parser.add_argument("--tuning-part", action="append", default=[], help="a part to choose on; default: half of each")
    parser.add_argument("--test-part", action="append", default=[], help="a part to report on")
    parser.add_argument("--grids", action="store_true", help="print the AUROC of every cell as well")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all estimates here as well")
    given = parser.parse_args(arguments)
    try:
        rows = [row for run in given.runs for row in RunFolder(run).measurements()]
        question = Question(given.positive, *map(tuple, (given.against, given.tuning_part, given.test_part)))
        labels = labels_of(rows, given.truth, question)
        found = all_scores(rows, labels)
        for scores in found.values():
            check_halves(labels, next(iter(scores.cells.values())).keys())
    except MemdetectError as problem:
        parser.error(str(problem))
    counted = (given.positive, *labels.rivals)
    counts = ", ".join(f"{list(labels.groups.values()).count(name)} {name}" for name in counted)
    ids = {name for name, group in labels.groups.items() if group in counted}
    kept = [len(ids & next(iter(scores.cells.values())).keys()) for scores in found.values()]
    print(f"{counts}; left out, not finite or unreadable: {len(ids) - min(kept, default=0)}. Intervals 95 %.\n")
    print(table(found))
    print("\n`selection`: the half on which the cell was chosen, biased upwards. All else: the other half.")
    for detector, scores in found.items() if given.grids else ():
        for rival in labels.rivals:
            print(f"\n{detector}: AUROC of {given.positive} against {rival}, reporting half\n\n{grid(scores, rival)}")
    if given.json:
        given.json.write_text(json.dumps(document(found), indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
