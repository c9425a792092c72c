"""What is reported of labelled runs: the chosen cell, the default and the worst, as Markdown and as plain data."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict

from memdetect.evaluation.cells import PAPER_TIMESTEP, Key, Scores
from memdetect.evaluation.estimates import Estimate


def chosen_rows(scores: Scores) -> Iterator[tuple[str, Key, dict[str, Estimate]]]:
    """What is reported: the best cell where it was chosen, then on the test split the best, the default, the worst."""
    tuning, test = scores.splits()
    rival = scores.labels.rivals[0]
    order = sorted(scores.cells, key=lambda key: -scores.estimates(key, tuning)[rival].auroc)
    yield "chosen (selection)", order[0], scores.estimates(order[0], tuning)
    yield "chosen", order[0], scores.estimates(order[0], test)
    if (default := (scores.default, PAPER_TIMESTEP)) in scores.cells:
        yield "default", default, scores.estimates(default, test)
    yield "worst", order[-1], scores.estimates(order[-1], test)


def table(all_scores: Mapping[str, Scores]) -> str:
    """The main table in Markdown; the counts at 5 % FPR are against the first rival."""
    rivals = next(iter(all_scores.values())).labels.rivals
    titles = ["detector", "cell", "layer", "t", *(f"AUROC, {r}" for r in rivals), "TPR at 5 % FPR", "false"]
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for detector, scores in all_scores.items():
        for what, (layer, t), found in chosen_rows(scores):
            first = found[rivals[0]]
            counts = [f"{first.tpr_at_fpr}/{first.positives}", f"{first.false}/{first.negatives}"]
            areas = [_area(found[r], what) if r in found else "" for r in rivals]
            lines.append(f"| {' | '.join([detector, what, layer, t, *areas, *counts])} |")
    return "\n".join(lines)


def _area(found: Estimate, what: str) -> str:
    return f"{found.auroc:.3f}" if "selection" in what else str(found)


def grid(scores: Scores, rival: str) -> str:
    """AUROC of every cell on the test split, in Markdown."""
    _, test = scores.splits()
    times = list(dict.fromkeys(t for _, t in scores.cells))
    lines = [f"| layer | {' | '.join(f't = {t}' for t in times)} |", "|---" * (len(times) + 1) + "|"]
    for layer in dict.fromkeys(layer for layer, _ in scores.cells):
        found = [scores.estimates((layer, t), test).get(rival) for t in times]
        areas = [f"{area.auroc:.3f}" if area else "" for area in found]
        lines.append(f"| {layer} | {' | '.join(areas)} |")
    return "\n".join(lines)


def document(all_scores: Mapping[str, Scores]) -> dict[str, dict[str, list[dict[str, object]]]]:
    """All estimates as plain data: `table` as printed, `grid` = every cell on the test split with intervals."""

    def row(key: Key, found: Mapping[str, Estimate], **more: str) -> dict[str, object]:
        return {**more, "layer": key[0], "timestep": key[1], **{name: asdict(e) for name, e in found.items()}}

    return {
        detector: {
            "table": [row(key, found, cell=what) for what, key, found in chosen_rows(scores)],
            "grid": [row(key, scores.estimates(key, scores.splits()[1])) for key in scores.cells],
        }
        for detector, scores in all_scores.items()
    }
