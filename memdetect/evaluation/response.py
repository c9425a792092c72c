"""Memorized prompts against their rivals under steering: curves with intervals, and steerability as a detector."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from memdetect.evaluation.cells import Scores, scores_of
from memdetect.evaluation.estimates import FEWEST, Estimate
from memdetect.evaluation.groups import Labels
from memdetect.judging.statistics.bootstrap import Group, mean_difference_interval
from memdetect.runs.records import Measurement


@dataclass(frozen=True, slots=True)
class Mean:
    """A group's mean, its 95 % bootstrap interval over families (None for fewer than ten), and how many items."""

    mean: float
    low: float | None
    high: float | None
    items: int

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"{self.mean:.3f} (too few)"
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True, slots=True)
class Contrast:
    """One number of the responses: each group's mean, and the positive group's less each rival's."""

    groups: Mapping[str, Mean]
    differences: Mapping[str, Mean]


def contrasts(rows: Sequence[Measurement], labels: Labels, names: Iterable[str]) -> dict[str, dict[str, Contrast]]:
    """For each named score and each of its cells (a strength above 0, or `all`): the groups compared.

    Items without the number are left out.
    """
    found: dict[str, dict[str, Contrast]] = {}
    for name in names:
        scores = scores_of(rows, labels, name)
        cells = {
            t: values for (layer, t), values in scores.cells.items() if not layer.startswith("mean of") and t != "0"
        }
        cells = {t: contrast for t, values in cells.items() if (contrast := _contrast(values, labels))}
        if cells:
            found[name] = cells
    return found


def _contrast(values: Mapping[str, float], labels: Labels) -> Contrast | None:
    def group(name: str) -> Group:
        ids = [i for i in values if labels.groups[i] == name]
        return [values[i] for i in ids], [labels.families[i] for i in ids]

    positive = group(labels.positive)
    rivals = {name: found for name in labels.rivals if (found := group(name))[0]}
    if not positive[0] or not rivals:
        return None
    groups = {name: _mean(found) for name, found in {labels.positive: positive, **rivals}.items()}
    return Contrast(groups, {name: _mean(positive, found) for name, found in rivals.items()})


def _mean(first: Group, second: Group | None = None) -> Mean:
    sides = [first] if second is None else [first, second]
    means = [sum(values) / len(values) for values, _ in sides]
    few = any(len(set(families)) < FEWEST for _, families in sides)
    low, high = (None, None) if few else mean_difference_interval(first, second)
    return Mean(means[0] - sum(means[1:]), low, high, len(first[0]))


def separations(rows: Sequence[Measurement], labels: Labels, names: Iterable[str]) -> dict[str, dict[str, Estimate]]:
    """AUROC of each detector against each rival, over all items: nothing was chosen on them."""
    found: dict[str, dict[str, Estimate]] = {}
    for name in names:
        scores: Scores = scores_of(rows, labels, name)
        key = next((key for key in scores.cells if not key[0].startswith("mean of")), None)
        if key and labels.positive in {labels.groups[i] for i in scores.cells[key]}:
            found[name] = scores.estimates(key, set(scores.cells[key]))
    return found


def render(compared: Mapping[str, Mapping[str, Contrast]], areas: Mapping[str, Mapping[str, Estimate]]) -> str:
    """Markdown: a table of means by strength, one of detectors."""
    groups = list(dict.fromkeys(g for cells in compared.values() for c in cells.values() for g in c.groups))
    rivals = list(dict.fromkeys(r for cells in compared.values() for c in cells.values() for r in c.differences))
    title = ["number", "strength", *groups, *(f"{groups[0]} less {r}" for r in rivals)] if groups else []
    lines = [f"| {' | '.join(title)} |", "|---" * len(title) + "|"] if groups else ["nothing could be compared"]
    for name, cells in compared.items():
        for strength, found in cells.items():
            means = [str(found.groups.get(g, "")) for g in groups] + [str(found.differences.get(r, "")) for r in rivals]
            lines.append(f"| {' | '.join([name, strength, *means])} |")
    against = list(dict.fromkeys(r for found in areas.values() for r in found))
    lines += [
        "",
        f"| {' | '.join(['detector', *(f'AUROC, {r}' for r in against)])} |",
        "|---" * (1 + len(against)) + "|",
    ]
    lines += [f"| {' | '.join([name, *(str(found.get(r, '')) for r in against)])} |" for name, found in areas.items()]
    return "\n".join(lines) + "\n"


def as_data(
    compared: Mapping[str, Mapping[str, Contrast]], areas: Mapping[str, Mapping[str, Estimate]]
) -> dict[str, Any]:
    """The same as plain data."""
    return {
        "responses": {name: {t: asdict(found) for t, found in cells.items()} for name, cells in compared.items()},
        "detectors": {name: {r: asdict(e) for r, e in found.items()} for name, found in areas.items()},
    }
