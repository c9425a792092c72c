"""Two pictures of a bench: what is found against what it costs, and what is flagged against exposures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from memdetect.errors import MemdetectError

MOST = 6  # detectors whose curves one picture shows; more cannot be told apart
Record = Mapping[str, Any]


def pyplot() -> Any:
    """Matplotlib's pyplot without a display. MemdetectError without it (extra `report`)."""
    try:
        import matplotlib
    except ImportError:
        raise MemdetectError("plots need matplotlib; pip install 'memdetect[report]'") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    return plt


def plot_costs(found: Record, out: Path) -> None:
    """TPR against passes of the network for a prompt that nobody wants images of, a panel for each comparison.

    The TPR at 1 % of the clean prompts, or at 5 % where these cannot resolve it; of the controls where none are clean.
    Bars: 95 % intervals where there are some. Numbers stand for detectors, the best on the tuning split first.
    MemdetectError without matplotlib.
    """
    plt = pyplot()
    every, numbers = found["comparisons"], numbers_of(found)
    figure, panels = plt.subplots(1, len(every), figsize=(0.8 + 4.4 * len(every), 4.4), squeeze=False, sharey=True)
    passes = {each["detector"]: each["passes_alone"] for each in found["detectors"]}
    scale = "log" if min(passes.values()) else "symlog"  # what reads the prompt alone asks the network nothing
    for panel, comparison in zip(panels[0], every, strict=True):
        for (x, y), own in places_of(comparison["rows"], passes).items():
            _mark(panel, x, y, own, numbers)
        panel.set(title=comparison["positive"], xlabel="passes for a prompt, all seeds", ylim=(-0.05, 1.1))
        panel.set_xscale(scale)
        ticks = sorted(set(passes.values()))
        panel.set_xticks(_apart(ticks), [f"{tick:g}" for tick in _apart(ticks)])
        panel.minorticks_off()
        panel.grid(alpha=0.3)
    level, side = level_of(every)
    panels[0][0].set_ylabel(f"TPR at {level:.0%} of the {side}, test split")
    _listed(figure, numbers)
    _save(plt, figure, out)


def numbers_of(found: Record) -> dict[str, int]:
    """Detector -> its number in the pictures, from 1."""
    return {each["detector"]: k for k, each in enumerate(found["detectors"], 1)}


def places_of(rows: Sequence[Record], passes: Mapping[str, int]) -> dict[tuple[int, float], list[Record]]:
    """Where rows are drawn, passes and TPR; those at one place together, for their marks would hide each other."""
    found: dict[tuple[int, float], list[Record]] = {}
    for row in rows:
        if tpr := tpr_of_row(row):
            found.setdefault((passes[row["detector"]], round(tpr["share"], 3)), []).append(row)
    return found


def tpr_of_row(row: Record) -> Record | None:
    """The TPR that a row is drawn by: the first that can be resolved, of clean prompts where there are some."""
    side = row["clean"] or row["control"]
    return next((tpr for tpr in side["tpr"] if tpr["share"] is not None), None) if side else None


def level_of(every: Sequence[Record]) -> tuple[float, str]:
    """At which false-positive rate, and of which prompts, the TPR of a picture is."""
    for row in (row for comparison in every for row in comparison["rows"]):
        if tpr := tpr_of_row(row):
            return tpr["level"], "clean prompts" if row["clean"] else "controls"
    return 0.05, "clean prompts"


def _mark(panel: Any, x: int, y: float, rows: Sequence[Record], numbers: Mapping[str, int]) -> None:
    first = tpr_of_row(rows[0])
    if first and first["low"] is not None:
        bars = [[y - min(y, first["low"])], [max(y, first["high"]) - y]]
        panel.errorbar([x], [y], yerr=bars, fmt="none", ecolor="tab:gray", alpha=0.35, capsize=2)
    panel.plot([x], [y], "o", color="tab:blue", markersize=6)
    label = ",".join(str(numbers[row["detector"]]) for row in rows)
    panel.annotate(label, (x, y), textcoords="offset points", xytext=(5, 5), fontsize=8)


def _apart(ticks: Sequence[int]) -> list[int]:
    """Ticks of a logarithmic axis whose labels do not touch: each at least 1.2 times the one before."""
    kept: list[int] = []
    for tick in ticks:
        if not kept or tick >= 1.2 * kept[-1]:
            kept.append(tick)
    return kept


def plot_dose(found: Record, out: Path) -> bool:
    """Share flagged at 5 % of the clean prompts against exposures, for the six best detectors of the tuning split.

    Bars: 95 % intervals over families. False, and nothing drawn, where fewer than two numbers of exposures are known.
    MemdetectError without matplotlib.
    """
    curves = {name: points for name, points in found["dose"].items() if len(points) > 1}
    if not curves:
        return False
    plt = pyplot()
    figure, panel = plt.subplots(figsize=(7.2, 4.2))
    names = list(curves)[:MOST]
    marks = "os^vDP"
    for k, name in enumerate(names):
        points = curves[name]
        shares = [point["share"] for point in points]
        bars = [[y - min(y, p["low"]) for y, p in zip(shares, points, strict=True)]]
        bars.append([max(y, p["high"]) - y for y, p in zip(shares, points, strict=True)])
        at = [i + 0.08 * (k - (len(names) - 1) / 2) for i in range(len(points))]
        panel.errorbar(at, shares, yerr=bars, fmt=f"{marks[k]}-", capsize=2, markersize=5, linewidth=1.2, label=name)
    first = curves[names[0]]
    panel.set_xticks(range(len(first)), [f"{p['exposures']:g}\n({p['prompts']})" for p in first])
    panel.set(
        xlabel="exposures in training (prompts)",
        ylabel=f"share flagged at 5 % of the {found['dose_against']}",
        ylim=(-0.03, 1.05),
    )
    panel.grid(alpha=0.3)
    panel.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
    _save(plt, figure, out)
    return True


def _listed(figure: Any, numbers: Mapping[str, int]) -> None:
    """What the numbers stand for, at the right."""
    text = "\n".join(f"{number} {name}" for name, number in numbers.items())
    figure.tight_layout()
    figure.text(1.005, 0.5, text, fontsize=8, va="center")


def _save(plt: Any, figure: Any, out: Path) -> None:
    figure.savefig(out, dpi=120, bbox_inches="tight")
    plt.close(figure)
