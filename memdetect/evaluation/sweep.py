"""Which statistic, layer and timestep separate best: chosen on tuning, reported on test, chance counted in."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import stats

from memdetect.errors import MemdetectError
from memdetect.evaluation.cells import Key, Scores
from memdetect.evaluation.estimates import LEVEL, Estimate, shuffle
from memdetect.evaluation.groups import check_splits

SHUFFLES = 500
DRAWS = 1000

Table = Float[np.ndarray, "cell item"]
Mask = Bool[np.ndarray, " item"]
Place = tuple[str, str, str]  # detector, layer, timestep


@dataclass(frozen=True, slots=True)
class Choice:
    """The best cell and how far to believe it.

    tried: combinations of detector, layer and timestep. chance: share of shuffled labels under which the best of all
    combinations is at least as good on the tuning split. gain: AUROC of the best less that of the default on the
    test split, with its 95 % interval over families; None where the default was not scanned or is the best.
    """

    place: Place
    tried: int
    selected: float
    chance: float
    reported: Mapping[str, Estimate]
    gain: tuple[float, float, float] | None

    @property
    def noise(self) -> str:
        """Why the choice may be noise, in one line; empty when nothing speaks for that."""
        if self.chance > 1 - LEVEL:
            return f"the best of {self.tried} cells is what shuffled labels give in {self.chance:.0%} of cases: noise"
        if self.gain is not None and self.gain[1] <= 0 <= self.gain[2]:
            return "no better than the default on the test split: the difference may be noise"
        return ""


def areas_of(table: Table, positive: Mask) -> Float[np.ndarray, " cell"]:
    """AUROC of every cell at once, from ranks; ties count split."""
    ranks = stats.rankdata(table, axis=1)
    count = int(positive.sum())
    above = ranks[:, positive].sum(axis=1) - count * (count + 1) / 2
    return above / (count * (positive.size - count))


def choose(all_scores: Mapping[str, Scores], default: Place | None = None, seed: int = 0) -> Choice:
    """The cell with the highest AUROC against the first rival among all detectors, on the tuning split.

    Raises MemdetectError when a split has fewer than two items of either group.
    """
    labels = next(iter(all_scores.values())).labels
    places = [(name, *key) for name, scores in all_scores.items() for key in scores.cells]
    first, second = (_split(all_scores, places, labels.rivals[0], k) for k in (0, 1))
    areas = areas_of(first.table, first.positive)
    best = int(areas.argmax())
    rng = np.random.default_rng(seed)
    dealt = [shuffle(rng, first.positive, first.families) for _ in range(SHUFFLES)]
    chance = (1 + sum(areas_of(first.table, other).max() >= areas[best] for other in dealt)) / (1 + SHUFFLES)
    name, *key = places[best]
    scores = all_scores[name]
    reported = scores.estimates((key[0], key[1]), scores.splits()[1])
    compared = default in places and default != places[best]
    gain = _gain(second, best, places.index(default), rng) if default and compared else None
    return Choice(places[best], len(places), float(areas[best]), chance, reported, gain)


@dataclass(frozen=True, slots=True)
class _Split:
    """One split: scores by cell and item, which items are positive, and the number of each one's family."""

    table: Table
    positive: Mask
    families: Int[np.ndarray, " item"]


def _split(all_scores: Mapping[str, Scores], places: list[Place], rival: str, which: int) -> _Split:
    """The positive group and its first rival in the tuning (0) or the test split (1)."""
    some = next(iter(all_scores.values()))
    labels, ids = some.labels, some.splits()[which]
    shared = set.intersection(*(set(s.cells[key]) for s in all_scores.values() for key in s.cells))
    kept = sorted(i for i in ids & shared if labels.groups[i] in (labels.positive, rival))
    positive = np.array([labels.groups[i] == labels.positive for i in kept], bool)
    check_splits(labels, shared)
    table = np.array([[all_scores[name].cells[layer, t][i] for i in kept] for name, layer, t in places])
    return _Split(table, positive, np.unique([labels.families[i] for i in kept], return_inverse=True)[1])


def _gain(split: _Split, best: int, default: int, rng: np.random.Generator) -> tuple[float, float, float]:
    """Difference of two cells' AUROC and its bootstrap interval.

    Families are drawn anew among those that hold the same kinds of items, so that no draw lacks one.
    """
    table = split.table[[best, default]]
    members = [np.flatnonzero(split.families == f) for f in np.unique(split.families)]
    kinds = np.array([2 * split.positive[rows].any() + (~split.positive[rows]).any() for rows in members])
    strata = [np.flatnonzero(kinds == kind) for kind in np.unique(kinds)]
    differences: list[float] = []
    for _ in range(DRAWS):
        chosen = np.concatenate([rng.choice(stratum, stratum.size) for stratum in strata])
        rows = np.concatenate([members[f] for f in chosen])
        first, second = areas_of(table[:, rows], split.positive[rows])
        differences.append(first - second)
    low, high = np.quantile(differences, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    first, second = areas_of(table, split.positive)
    return float(first - second), float(low), float(high)


def ranking(all_scores: Mapping[str, Scores], count: int = 12) -> Iterator[tuple[Place, float, Mapping[str, Estimate]]]:
    """The best cells by the tuning split: place, AUROC there, and estimates on the test split."""
    rows: list[tuple[float, Place]] = []
    for name, scores in all_scores.items():
        tuning, _ = scores.splits()
        rows += [(scores.area(key, tuning), (name, *key)) for key in scores.cells]
    for area, place in sorted(rows, key=lambda row: -row[0])[:count]:
        scores, key = all_scores[place[0]], (place[1], place[2])
        yield place, area, scores.estimates(key, scores.splits()[1])


def render(all_scores: Mapping[str, Scores], choice: Choice) -> str:
    """The ranking in Markdown, and what may be believed of it."""
    rivals = next(iter(all_scores.values())).labels.rivals
    title = ["detector", "layer", "t", f"AUROC, {rivals[0]}, tuning split", *(f"AUROC, {r}" for r in rivals)]
    lines = [f"| {' | '.join(title)} |", "|---" * len(title) + "|"]
    for place, area, found in ranking(all_scores):
        lines.append(f"| {' | '.join([*place, f'{area:.3f}', *(str(found.get(r, '')) for r in rivals)])} |")
    lines += ["", f"{choice.tried} combinations tried; the best of shuffled labels is as good in {choice.chance:.1%}."]
    if choice.gain is not None:
        gain, low, high = choice.gain
        lines.append(f"Over the default, on the test split: {gain:+.3f} [{low:+.3f}, {high:+.3f}].")
    return "\n".join([*lines, *([choice.noise] if choice.noise else [])]) + "\n"


def heat_map(all_scores: Mapping[str, Scores], out: Path) -> None:
    """AUROC on the test split by layer and timestep, one panel for each detector, as PNG or SVG.

    Needs matplotlib (extra `report`). Raises MemdetectError without it.
    """
    try:
        import matplotlib
    except ImportError:
        raise MemdetectError("a heat map needs matplotlib; pip install 'memdetect[report]'") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    layers, times = _axes(next(iter(all_scores.values())))
    columns = min(4, len(all_scores))
    rows = -(-len(all_scores) // columns)
    size = (1.5 + columns * (0.42 * len(times) + 0.6), rows * (0.22 * len(layers) + 1.0))
    figure, panels = pyplot.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained", sharey=True)
    image = None
    for panel, (name, scores) in zip(panels.flat, all_scores.items(), strict=False):
        ids = scores.splits()[1]
        grid = np.array([[scores.area((layer, t), ids) for t in times] for layer in layers])
        image = panel.imshow(grid, vmin=0, vmax=1, cmap="RdBu_r", aspect="auto")
        panel.set_title(name, fontsize=9)
        panel.set_xticks(range(len(times)), times, fontsize=7)
        panel.set_yticks(range(len(layers)), layers, fontsize=7)
    for panel in panels.flat[len(all_scores) :]:
        panel.set_axis_off()
    if image is not None:
        figure.colorbar(image, ax=panels, label="AUROC, test split", shrink=0.8)
    figure.savefig(out, dpi=120)
    pyplot.close(figure)


def _axes(scores: Scores) -> tuple[list[str], list[str]]:
    keys: list[Key] = list(scores.cells)
    return list(dict.fromkeys(layer for layer, _ in keys)), list(dict.fromkeys(t for _, t in keys))
