"""The histogram: every score is in a bin, the threshold where Benjamini-Hochberg cuts, a tick for each finding."""

from pathlib import Path

import numpy as np
import pytest
from page_runs import CLEAN, pictured
from synthetic_runs import calibration, header, row, searched, write_run

from memdetect.inputs.options import Judging
from memdetect.judging.run import judge_folders
from memdetect.render.page.chart import BINS, LEFT, WIDTH, Chart, charts
from memdetect.render.page.making import beside_of


def drawn(folder: Path) -> list[Chart]:
    found = judge_folders([folder], Judging())
    beside = beside_of(found.found.header, found.results, [folder], "none", found.found.calibration)
    return charts(found.found.header, list(found.results), found.verdict, beside)


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def test_bins_hold_every_score_and_agree_with_numpy(tmp_path: Path) -> None:
    (chart,) = drawn(pictured(tmp_path / "run"))
    assert (chart.name, chart.decides) == ("spikiness", True)
    scanned = [-1.0, -2.0, 9.0, -3.0, -4.0, -5.0, -6.0]
    clean = sorted(x for (x,) in (cell[:1] for cell in CLEAN.scores["spikiness"]["up"]["50"]))
    assert (chart.clean, chart.scanned) == (len(clean), len(scanned))
    low, high = min(*scanned, *clean), max(*scanned, *clean)
    assert [bar.clean for bar in chart.bars] == np.histogram(clean, BINS, (low, high))[0].tolist()
    assert [bar.scanned for bar in chart.bars] == np.histogram(scanned, BINS, (low, high))[0].tolist()
    assert [bar.low for bar in chart.bars] == pytest.approx(np.histogram_bin_edges([], BINS, (low, high))[:-1])


def test_bars_are_as_high_as_their_shares(tmp_path: Path) -> None:
    (chart,) = drawn(pictured(tmp_path / "run"))
    for bar in chart.bars:
        assert bar.clean_bar[1] + bar.clean_bar[3] == pytest.approx(chart.bottom, abs=0.11)
    unit = max(bar.scanned_bar[3] for bar in chart.bars) / max(bar.scanned for bar in chart.bars) * chart.scanned
    for bar in chart.bars:
        assert bar.clean_bar[3] == pytest.approx(unit * bar.clean / chart.clean, abs=0.6)


@pytest.mark.parametrize("found", [0, 1, 3])
def test_what_lies_above_the_threshold_is_what_is_suspicious(found: int, tmp_path: Path) -> None:
    scores = [*(9.0 + i for i in range(found)), *np.linspace(-3.0, 2.0, 40)]
    rows = [row(i, float(x)) for i, x in enumerate(scores)]
    clean = calibration(np.random.default_rng(5).normal(size=3999).tolist())
    folder = write_run(tmp_path / "run", header(len(rows), clean), rows, clean)
    results = judge_folders([folder], Judging()).results
    (chart,) = drawn(folder)
    assert chart.threshold is not None
    suspicious = [r.index for r in results if r.outcome == "suspicious"]
    assert len(suspicious) == found
    if found:
        assert suspicious == [r.index for r in results if r.judged["combined"] > chart.threshold[1]]
    lanes = {lane.outcome: lane for lane in chart.lanes}
    assert set(lanes) == ({"suspicious"} if found else set())
    assert all(LEFT <= x <= LEFT + WIDTH for lane in chart.lanes for x in lane.ticks)


def test_too_few_clean_prompts_have_no_threshold_and_none_have_no_bars(tmp_path: Path) -> None:
    clean = calibration(np.random.default_rng(5).normal(size=30).tolist())
    rows = searched(row(i, -3.0 - i) for i in range(20))
    (chart,) = drawn(write_run(tmp_path / "few", header(20, clean), rows, clean))
    assert chart.threshold is None
    assert "No threshold is drawn" in chart.missing
    (chart,) = drawn(write_run(tmp_path / "none", header(20), rows, None))
    assert chart.clean == 0
    assert all(bar.clean_bar[3] == 0 for bar in chart.bars)
    assert "No clean scores" in chart.missing


def test_strata_are_drawn_apart(tmp_path: Path) -> None:
    strata = ["cat" if i % 2 else "dog" for i in range(999)]
    clean = calibration((np.random.default_rng(0).normal(size=999) + 3 * (np.arange(999) % 2)).tolist(), strata=strata)
    rows = [row(i, float(i % 3), meta={"kind": "cat" if i < 3 else "dog"}) for i in range(10)]
    folder = write_run(tmp_path / "run", header(10, clean, plan={"strata": "kind"}), rows, clean)
    names = {chart.name: (chart.clean, chart.scanned) for chart in drawn(folder)}
    assert names == {"spikiness, stratum 1 of 2": (499, 3), "spikiness, stratum 2 of 2": (500, 7)}
