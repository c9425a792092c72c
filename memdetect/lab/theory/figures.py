"""The figures of the theory lab, drawn from the numbers in its JSON files and from nothing else."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from memdetect.errors import MemdetectError
from memdetect.lab.theory.presets import REGIMES
from memdetect.lab.theory.results import Panel, RegimeResult, SamplingResult, TransitionResult, read_result

COLOURS = {"training": "tab:red", "duplicated": "tab:red", "fresh": "tab:blue"}
DPI = 100
TIGHT = {"wspace": 0.12, "hspace": 0.4}


def pyplot() -> Any:
    """Matplotlib's pyplot without a display. Raises MemdetectError when the `report` extra is not installed."""
    try:
        import matplotlib
    except ImportError:
        raise MemdetectError("figures need the `report` extra: pip install 'memdetect[report]'") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    return plt


def draw(folder: Path) -> list[Path]:
    """Draw every figure whose numbers are in the folder, as PNG beside them; the files written."""
    regimes = [
        read_result(folder / f"{name}.json", RegimeResult) for name in REGIMES if (folder / f"{name}.json").exists()
    ]
    drawn = [
        read_result(path, SamplingResult)
        for path in (folder / "sampling-memorize.json", folder / "sampling-generalize.json")
        if path.exists()
    ]
    written: list[Path] = []
    if regimes:
        for name, figure in _FIGURES.items():
            written.append(_save(figure(regimes), folder / f"{name}.png"))
        written += [_save(_hybrid(one), folder / "hybrid.png") for one in regimes if one.regime == "hybrid"]
    if drawn:
        written.append(_save(_sampling(drawn), folder / "sampling.png"))
    if (folder / "transition.json").exists():
        moved = read_result(folder / "transition.json", TransitionResult)
        written.append(_save(_transition(moved), folder / "transition.png"))
    return written


def _save(figure: Any, path: Path) -> Path:
    figure.savefig(path, dpi=DPI, bbox_inches="tight", metadata={"Software": None})
    pyplot().close(figure)
    return path


def _show(axes: Any, panel: Panel, colour: str = "0.2") -> None:
    """A panel as a grey picture, or as bars where it has no side."""
    if panel.side:
        pixels = np.asarray(panel.values).reshape(panel.side, panel.side)
        reach = max(float(np.abs(pixels).max()), 1e-9)
        axes.imshow(pixels, cmap="gray", vmin=-reach, vmax=reach)
        axes.set_xticks([])
        axes.set_yticks([])
    else:
        axes.fill_between(np.arange(len(panel.values)), panel.values, step="mid", color=colour)  # one shape, not many
        axes.tick_params(labelsize=5)
    axes.set_title(panel.title.replace(": ", "\n"), fontsize=7)


def _grid(rows: Sequence[Sequence[Panel]], names: Sequence[str]) -> Any:
    """Panels in rows, each row with a name at its left."""
    columns = max([1, *map(len, rows)])
    figure, axes = pyplot().subplots(
        len(rows), columns, squeeze=False, figsize=(1.5 * columns, 1.7 * len(rows)), gridspec_kw=TIGHT
    )
    for row, panels, name in zip(axes, rows, names, strict=True):
        for place in row[len(panels) :]:
            place.axis("off")
        for place, panel in zip(row, panels, strict=False):
            _show(place, panel)
        row[0].set_ylabel(name, fontsize=8)
    return figure


def _weights(regimes: Sequence[RegimeResult]) -> Any:
    """Units of largest norm, trained and predicted."""
    rows: list[list[Panel]] = []
    names: list[str] = []
    for one in regimes:
        for panels, which in ((one.trained_units, "trained"), (one.predicted_units, "predicted")):
            if panels:
                rows.append(panels)
                names.append(f"{one.regime}\n{which}")
    return _grid(rows, names)


def _representations(regimes: Sequence[RegimeResult]) -> Any:
    """Hidden layers as bars, one row a regime: spiky beside balanced."""
    columns = max(len(one.bars) for one in regimes)
    figure, axes = pyplot().subplots(
        len(regimes), columns, squeeze=False, figsize=(3.6 * columns, 1.9 * len(regimes)), layout="constrained"
    )
    for row, one in zip(axes, regimes, strict=True):
        for place in row[len(one.bars) :]:
            place.axis("off")
        for place, panel in zip(row, one.bars, strict=False):
            _show(place, panel, COLOURS.get(panel.title.partition(":")[0], "0.3"))
        row[0].set_ylabel(f"{one.regime}: h", fontsize=8)
    return figure


def _hybrid(one: RegimeResult) -> Any:
    """Units of the duplicates and of the rest, then the hidden layers that they give."""
    return _grid([one.trained_units, one.predicted_units, one.bars], ["trained", "predicted", "h"])


def _denoising(regimes: Sequence[RegimeResult]) -> Any:
    rows = [(row, one.regime) for one in regimes for row in one.denoised]
    return _grid([row for row, _ in rows], [name for _, name in rows])


def _spectrum(regimes: Sequence[RegimeResult]) -> Any:
    """Singular values of the Jacobian, and repeated denoising as a power method."""
    figure, axes = pyplot().subplots(
        1, len(regimes) + 1, squeeze=False, figsize=(3.2 * (len(regimes) + 1), 2.6), layout="constrained"
    )
    for place, one in zip(axes[0], regimes, strict=False):
        for name, spectra in one.jacobian.items():
            label = f"{name}: rank {spectra.rank:.1f}, along {spectra.along:.2f}"
            place.plot(np.arange(1, len(spectra.values) + 1), spectra.values, marker=".", label=label)
        place.set_title(f"{one.regime}: singular values of the Jacobian", fontsize=7)
        place.legend(fontsize=6)
    for one in regimes:
        axes[0, -1].plot(one.power, label=one.regime)
    axes[0, -1].set(xlabel="denoisings", ylabel="cosine", ylim=(0, 1.05))
    axes[0, -1].set_title("cosine with the nearest training sample", fontsize=7)
    axes[0, -1].legend(fontsize=6)
    return figure


def _sampling(drawn: Sequence[SamplingResult]) -> Any:
    rows = [(row, one.regime) for one in drawn for row in one.rows]
    return _grid([row for row, _ in rows], [name for _, name in rows])


def _transition(moved: TransitionResult) -> Any:
    """Tables as heat maps: samples down, units across."""
    tables = {
        "0 = empirical, 1 = true denoiser": moved.between,
        "error on fresh / on training samples": (np.asarray(moved.unseen) / np.asarray(moved.seen)).tolist(),
        "rank of the Jacobian": moved.rank,
    }
    figure, axes = pyplot().subplots(1, len(tables), figsize=(3.4 * len(tables), 2.9), layout="constrained")
    for place, (title, table) in zip(axes, tables.items(), strict=True):
        values = np.asarray(table)
        place.imshow(np.log(values) if "error" in title else values, cmap="viridis", aspect="auto")
        for (i, j), value in np.ndenumerate(values):
            place.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=6, color="white")
        place.set_xticks(range(len(moved.units)), moved.units)
        place.set_yticks(range(len(moved.samples)), moved.samples)
        place.set_xlabel("hidden units", fontsize=7)
        place.set_ylabel("training samples", fontsize=7)
        place.set_title(title, fontsize=7)
    return figure


_FIGURES: dict[str, Callable[[Sequence[RegimeResult]], Any]] = {
    "weights": _weights,
    "representations": _representations,
    "denoising": _denoising,
    "spectrum": _spectrum,
}
