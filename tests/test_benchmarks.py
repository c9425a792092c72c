"""What the benchmarks compute: ratios, and the statistics of separation."""

import importlib.util
import json
import math
import sys
from itertools import count
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from memdetect.records import Measurement, RunFolder, Score


def script(name: str) -> ModuleType:
    path = Path(__file__).parents[1] / "benchmarks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"benchmarks_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


startup, separation, embedders = script("startup"), script("separation"), script("embedders")


def samples(seed: int, positives: int = 17, negatives: int = 23, ties: int = 12) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    both = rng.integers(0, ties, positives + negatives).astype(float)
    both[:positives] += rng.integers(0, 4, positives)
    return both[:positives], both[positives:]


# Ratios


def test_a_ratio_pairs_neighbours_and_takes_turns():
    now, order = [0.0], []

    def work(name, seconds):
        def run():
            order.append(name)
            now[0] += seconds * (1 + len(order) // 2)  # a machine that gets slower and slower

        return run

    ratio = startup.compare(work("a", 3.0), work("b", 2.0), rounds=4, clock=lambda: now[0])
    assert order == ["a", "b", "a", "b", "b", "a", "a", "b", "b", "a"]
    assert len(ratio.values) == 4
    assert 1.0 < ratio.median < 2.2


def test_a_report_has_the_spread_and_the_bar():
    line = startup.Ratio((1.0, 1.1, 1.2, 1.3, 9.0)).report("A over B", 1.15)
    assert line == "A over B: 1.200 (quartiles 1.100 to 1.300, range 1.000 to 9.000, 5 rounds; bar 1.15: missed)"
    assert "bar 1.20: met" in startup.Ratio((1.2,)).report("A over B", 1.2)


# AUROC


@pytest.mark.parametrize("seed", range(25))
def test_auroc_is_that_of_sklearn_with_ties(seed):
    positive, negative = samples(seed)
    labels = [1] * len(positive) + [0] * len(negative)
    expected = roc_auc_score(labels, np.concatenate([positive, negative]))
    assert separation.auroc(positive, negative) == pytest.approx(expected, abs=1e-12)


def test_auroc_has_one_direction():
    assert separation.auroc(np.array([3.0, 4.0]), np.array([1.0, 2.0])) == 1
    assert separation.auroc(np.array([1.0, 2.0]), np.array([3.0, 4.0])) == 0
    assert separation.auroc(np.array([1.0]), np.array([1.0])) == 0.5


@pytest.mark.parametrize("seed", range(10))
def test_delong_variance_is_that_of_all_pairs(seed):
    positive, negative = samples(seed, 9, 13)
    psi = np.array([[1.0 if x > y else 0.5 if x == y else 0.0 for y in negative] for x in positive])
    m, n = psi.shape
    area = psi.mean()
    s10 = sum((psi[i].mean() - area) ** 2 for i in range(m)) / (m - 1)
    s01 = sum((psi[:, j].mean() - area) ** 2 for j in range(n)) / (n - 1)
    assert separation.delong_variances(positive, negative) == pytest.approx((s10 / m, s01 / n), abs=1e-12)


@pytest.mark.parametrize("area", [0.0, 0.03, 0.5, 0.8, 0.97, 1.0])
@pytest.mark.parametrize(("positives", "negatives"), [(10, 10), (20, 80), (40, 15)])
def test_score_interval_is_the_set_of_values_not_rejected(area, positives, negatives):
    low, high = separation.score_interval(area, positives, negatives)
    z = 1.959963984540054
    for true in np.linspace(0.001, 0.999, 999):
        a = float(true)
        spread = a * (1 - a) * (1 + (positives - 1) * (1 - a) / (2 - a) + (negatives - 1) * a / (1 + a))
        kept = abs(area - a) <= z * math.sqrt(spread / (positives * negatives))
        if min(abs(a - low), abs(a - high)) > 1e-6:
            assert kept == (low < a < high), a


def test_hanley_mcneil_variance_of_ten_and_ten():
    # By hand: Q1 = a/(2-a), Q2 = 2a^2/(1+a), [a(1-a) + 9(Q1-a^2) + 9(Q2-a^2)] / 100 at a = 0.8.
    q1, q2 = 0.8 / 1.2, 2 * 0.64 / 1.8
    expected = (0.16 + 9 * (q1 - 0.64) + 9 * (q2 - 0.64)) / 100
    assert separation.hanley_mcneil_variance(0.8, 10, 10) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(10))
def test_the_interval_is_the_hull_of_both_and_mirrors(seed):
    positive, negative = samples(seed)
    low, high = separation.auroc_interval(positive, negative)
    logit = separation.logit_interval(positive, negative)
    score = separation.score_interval(separation.auroc(positive, negative), len(positive), len(negative))
    assert (low, high) == (min(logit[0], score[0]), max(logit[1], score[1]))
    assert 0 <= low < separation.auroc(positive, negative) < high <= 1
    assert separation.auroc_interval(-positive, -negative) == pytest.approx((1 - high, 1 - low), abs=1e-6)
    wider = separation.auroc_interval(positive, negative, level=0.99)
    assert wider[0] < low
    assert wider[1] > high


def test_a_perfect_score_still_has_an_interval():
    positive, negative = np.arange(40) + 100.0, np.arange(60) * 1.0
    low, high = separation.auroc_interval(positive, negative)
    assert low <= 0.025 ** (1 / 40)
    assert high == 1
    low, high = separation.auroc_interval(negative, positive)
    assert low == 0
    assert high >= 1 - 0.025 ** (1 / 40)


def test_equal_scores_have_an_interval_around_one_half():
    low, high = separation.auroc_interval(np.ones(20), np.ones(20))
    assert low == pytest.approx(1 - high, abs=1e-9)
    assert 0.25 < low < 0.4


@pytest.mark.parametrize(("shift", "true"), [(0.0, 0.5), (1.2, 0.80193), (2.4, 0.95513)])
def test_the_interval_covers_the_true_value(shift, true):
    # 400 draws at 95 %: 20 misses expected at most, 45 or more have a probability below 1e-6.
    rng = np.random.default_rng(7)
    draws = [(rng.normal(shift, 1, 20), rng.normal(0, 1, 40)) for _ in range(400)]
    intervals = [separation.auroc_interval(positive, negative) for positive, negative in draws]
    missed = sum(not low <= true <= high for low, high in intervals)
    assert missed < 45
    assert np.mean([high - low for low, high in intervals]) < 0.4


# Counts at a fixed share of false flags


@pytest.mark.parametrize("seed", range(15))
@pytest.mark.parametrize("rate", [0.0, 0.05, 0.3, 1.0])
def test_caught_is_the_best_over_all_thresholds(seed, rate):
    positive, negative = samples(seed, 11, 20, ties=6)
    best = max(
        (int((positive > t).sum()), int((negative > t).sum()))
        for t in [-1.0, *positive, *negative]
        if (negative > t).sum() <= rate * len(negative) + 1e-9
    )
    found = separation.caught(positive, negative, rate)
    assert found[0] == best[0]
    assert found[1] <= rate * len(negative) + 1e-9


# Halves


def labelled(**sizes: int) -> dict[str, str]:
    number = count()
    return {f"{group}-{next(number):03d}": group for group, size in sizes.items() for _ in range(size)}


def test_halves_cut_every_group_and_forget_the_order():
    groups = labelled(duplicated=40, control=40, seen=21, held=2)
    choosing, reporting = separation.halves(groups)
    assert choosing | reporting == set(groups)
    assert not choosing & reporting
    sizes = {g: sum(groups[i] == g for i in choosing) for g in groups.values()}
    assert sizes == {"duplicated": 20, "control": 20, "seen": 10, "held": 1}
    assert separation.halves(dict(reversed(groups.items()))) == (choosing, reporting)
    first = [i for i in groups if groups[i] == "duplicated"][:20]
    assert choosing & set(first) != set(first), "the halves follow the order of the ids"


# A run


def measurement(index: int, group: str, values: dict[str, dict[str, list[float | None]]]) -> Measurement:
    scores = {"spikiness": Score(score=0.0, cells=values)}
    return Measurement(
        index=index, id=f"{group}-{index:03d}", prompt="a", source="p", meta={"group": group}, scores=scores
    )


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """One layer that tells duplicated prompts from all others at t = 10 only, one that tells nothing."""
    rng = np.random.default_rng(0)
    rows = []
    for i, group in enumerate(["duplicated"] * 40 + ["control"] * 40 + ["seen"] * 30 + ["held-out"] * 30):
        shift = 5.0 if group == "duplicated" else 0.0
        noise = iter(rng.normal(0, 1, 8).tolist())
        good = {"10": [shift + next(noise), shift + next(noise)], "50": [next(noise), next(noise)]}
        bad = {"10": [next(noise), next(noise)], "50": [next(noise), next(noise)]}
        rows.append(measurement(i, group, {"up_blocks.0.resnets.0": good, "mid_block": bad}))
    rows.append(measurement(999, "seen", {"up_blocks.0.resnets.0": {"10": [None], "50": [1.0]}}))
    folder = RunFolder(tmp_path / "run")
    (folder.path / "shards").mkdir(parents=True)
    folder.write_shard(rows)
    return folder.path


def test_a_run_becomes_tables(run, capsys, tmp_path):
    assert separation.main([str(run), "--json", str(tmp_path / "all.json")]) == 0
    out = capsys.readouterr().out
    assert "40 duplicated, 40 control, 31 seen, 30 held-out; left out, not finite or unreadable: 1." in out
    table = json.loads((tmp_path / "all.json").read_text())["spikiness"]["table"]
    by_cell = {row["cell"]: row for row in table}
    best = by_cell["chosen"]
    assert (best["layer"], best["timestep"]) == ("up_blocks.0.resnets.0", "10")
    assert best["clean"]["auroc"] > 0.99
    assert best["clean"]["positives"] == 20
    assert best["clean"]["negatives"] == 50
    assert best["control"]["negatives"] == 20
    assert best["clean"]["caught"] == 20
    default = by_cell["default"]
    assert (default["layer"], default["timestep"]) == ("mean of up_blocks.0.resnets.*", "50")
    assert default["clean"]["low"] < 0.5 < default["clean"]["high"]
    assert "| chosen (selection) | up_blocks.0.resnets.0 | 10 |" in out


def test_a_mean_of_layers_is_the_mean_of_their_seed_means(run):
    rows = list(RunFolder(run).measurements())
    scores = separation.scores_of(rows, separation.groups_of(rows, None), "spikiness")
    cells = rows[3].scores["spikiness"].cells
    expected = np.mean([cells[layer]["50"] for layer in cells])
    assert scores.cells["mean of all 2", "50"][rows[3].id] == pytest.approx(expected)


def test_groups_come_from_the_truth_file_where_there_is_one(run, tmp_path):
    rows = list(RunFolder(run).measurements())
    truth = tmp_path / "truth.jsonl"
    truth.write_text(json.dumps({"id": rows[0].id, "group": "held-out"}) + "\n", encoding="utf-8")
    assert separation.groups_of(rows, truth)[rows[0].id] == "held-out"
    assert separation.groups_of(rows, None)[rows[0].id] == "duplicated"


def test_an_unlabelled_run_is_refused(tmp_path, capsys):
    folder = RunFolder(tmp_path / "run")
    (folder.path / "shards").mkdir(parents=True)
    folder.write_shard([Measurement(index=0, id="x", prompt="a", source="p")])
    with pytest.raises(SystemExit) as stopped:
        separation.main([str(folder.path)])
    assert stopped.value.code == 2
    assert "item x has the group None" in capsys.readouterr().err


# Embedders


def test_clopper_pearson_by_its_definition():
    """At the ends of the interval the tail that holds the count has 2.5 %; none and all are in closed form."""
    low, high = embedders.interval(7, 40)
    assert sum(math.comb(40, k) * low**k * (1 - low) ** (40 - k) for k in range(7, 41)) == pytest.approx(0.025)
    assert sum(math.comb(40, k) * high**k * (1 - high) ** (40 - k) for k in range(8)) == pytest.approx(0.025)
    assert embedders.interval(0, 50) == pytest.approx((0, 1 - 0.025 ** (1 / 50)))
    assert embedders.interval(50, 50) == pytest.approx((0.025 ** (1 / 50), 1))


@pytest.mark.parametrize("count", [10, 999, 1000, 2000])
def test_at_most_the_level_of_non_copies_lies_above_the_threshold(count):
    nearest = np.random.default_rng(count).random(count)
    limit = embedders.threshold(nearest)
    assert limit in nearest
    assert (nearest > limit).sum() <= 1e-3 * count
    assert (nearest >= limit).sum() > 1e-3 * (count - 1)


def test_a_table_of_embedders_counts_what_is_found(tmp_path):
    """Images that are their own vectors: exact copies are found, others are not, and one stranger sets the limit."""

    class Fake:
        name = "fake"

        def embed(self, images):
            flat = np.stack([np.asarray(x, np.float32).ravel() for x in images])
            return flat / np.linalg.norm(flat, axis=1, keepdims=True)

    rng = np.random.default_rng(0)
    index = rng.integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    strangers = rng.integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    queries = {"same": index[:4], "wrong": index[1:5], "redraw": strangers[:2]}
    lines = list(embedders.table(Fake(), index, queries, strangers))
    assert "| same | 4 | 1.000 [0.398, 1.000] | 1.000 |" in lines[1]
    assert "| wrong | 4 | 0.000 [0.000, 0.602] | 0.000 |" in lines[2]
    assert "| redraw: above | 2 | 0.000" in lines[3]
