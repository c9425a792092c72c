"""The tuning split chooses; what it chooses is reported on the test split, where chance does not pay."""

import numpy as np
import pytest
from bench_labels import ASKED, cells, labelled, noise
from scipy import stats

from memdetect.evaluation.bench import resampling
from memdetect.evaluation.bench.asked import Asked, Comparison
from memdetect.evaluation.bench.choosing import choose, objective
from memdetect.evaluation.bench.reporting import behind_best, found_of, one_a_family, ordered, rows_of
from memdetect.judging.statistics.auroc import auroc

COUNTS = {"famous": 20, "plain": 20, "fresh": 40}


def test_what_is_chosen_by_is_the_mean_of_two_numbers_of_the_tuning_split():
    """Four positives at 1, 2, 3, 3, controls at 1 and 2, of 20 clean prompts one at 2.5 and the others at 0."""
    labels = labelled({"famous": 4, "plain": 2, "fresh": 20})
    values = {"famous": [1.0, 2.0, 3.0, 3.0], "plain": [1.0, 2.0], "fresh": [2.5] + [0.0] * 19}
    scores = {f"{g}-tuning-{i:03d}": v for g, own in values.items() for i, v in enumerate(own)}
    scores |= {f"{g}-test-{i:03d}": -9.0 for g in values for i in range(2)}
    area = (0.5 + 1.5 + 2 + 2) / 8  # ties count half
    assert auroc(values["famous"], values["plain"]) == area
    assert objective(scores, labels) == pytest.approx((area + 4 / 4) / 2), "at 5 %: one of 20 may pass"
    scores["fresh-tuning-001"] = 2.5
    assert objective(scores, labels) == pytest.approx((area + 2 / 4) / 2)
    assert objective({k: v for k, v in scores.items() if "plain" not in k}, labels) is None
    only = labelled({"famous": 4, "plain": 2}, Asked((Comparison("famous", "plain"),)))
    assert objective(scores, only) == area, "without clean prompts the area alone"


def test_step_and_sign_are_those_of_the_tuning_split():
    rng, labels = np.random.default_rng(0), labelled(COUNTS)
    places = [noise(labels, rng) for _ in range(6)]
    places[3] = noise(labels, rng, shift=-3.0)
    found = choose(cells("gap", places), labels)
    assert (found.cell.place.step, found.turned, found.tried) == ("step 4", True, 12)
    assert str(found) == "-step 4"
    assert found.scores["famous-test-000"] == -places[3]["famous-test-000"]
    for name in places[0]:  # turned about on the test split alone: nothing of it counts
        if "-test-" in name:
            places[0][name] = 99.0 if name.startswith("famous") else -99.0
    assert choose(cells("gap", places), labels).cell.place.step == "step 4"


def test_of_equals_the_first_is_chosen_unturned():
    labels = labelled(COUNTS)
    flat = dict.fromkeys(labels.groups, 1.0)
    found = choose(cells("flat", [flat, flat]), labels)
    assert (str(found), found.tuning) == ("step 1", 0.25), "no positive passes where all are equal"
    assert choose(cells("none", [{}]), labels) is None


def test_a_useless_detector_is_told_from_nothing_and_never_the_best(monkeypatch):
    """The best of 24 variants of noise: on the test split its area covers one half, and it beats nobody."""
    monkeypatch.setattr(resampling, "DRAWS", 200)
    rng, covered, picked = np.random.default_rng(7), 0, []
    for _ in range(16):
        labels = labelled(COUNTS)
        useless = choose(cells("useless", [noise(labels, rng) for _ in range(12)]), labels)
        useful = choose(cells("useful", [noise(labels, rng, shift=2.0)]), labels)
        order = ordered([useless, useful])
        assert order[0].detector == "useful"
        row = next(row for row in rows_of(order, labels) if row.detector == "useless")
        covered += row.control.area.low <= 0.5 <= row.control.area.high
        covered += row.clean.area.low <= 0.5 <= row.clean.area.high
        assert row.control.behind.low < 0
        assert not (row.control.behind.shown and row.control.behind.value > 0)
        picked.append(useless.tuning)
    assert covered >= 27  # of 32; at 95 % 26 or fewer have a probability of 1 in 1,700, and the intervals are wider
    assert np.mean(picked) > 0.4, "where it was chosen the best of many looks better than the .275 of one"


def test_the_best_has_no_difference_and_another_of_its_scores_has_none_to_speak_of():
    rng, labels = np.random.default_rng(1), labelled(COUNTS)
    best = choose(cells("best", [noise(labels, rng, 2.0)]), labels)
    twin = choose(cells("twin", [{name: 3 * value for name, value in best.scores.items()}]), labels)
    first, second = rows_of([best, twin], labels)
    assert (first.control.behind, first.clean.behind) == (None, None)
    for side in (second.control, second.clean):
        assert (side.behind.value, side.behind.low, side.behind.high) == (0.0, None, None)


def test_a_difference_is_of_the_prompts_that_both_have():
    rng, labels = np.random.default_rng(2), labelled(COUNTS)
    scores = noise(labels, rng, 2.0)
    fewer = {k: v for i, (k, v) in enumerate(scores.items()) if i % 10}
    found = behind_best(fewer, scores, ("famous", ["plain"]), labels)
    assert (found.value, found.low, found.high) == (0.0, None, None)
    few = {k: v for k, v in scores.items() if "famous-test" not in k or k < "famous-test-009"}
    assert behind_best(few, scores, ("famous", ["plain"]), labels) is None, "nine families tell nothing"


@pytest.mark.parametrize("seed", range(5))
def test_what_is_found_at_a_false_discovery_rate_is_that_of_scipy(seed):
    rng = np.random.default_rng(seed)
    labels = labelled({"famous": 40, "plain": 4, "fresh": 200})
    scores = {name: round(value, 1) for name, value in noise(labels, rng, 4.0).items()}
    found = found_of(scores, "famous", labels)
    reference = [scores[i] for i in labels.ids(["fresh"], "calibration")]
    tested = [*labels.ids(["famous"], "test"), *labels.ids(["fresh"], "test")]
    p = [(1 + sum(r >= scores[i] for r in reference)) / 201 for i in tested]
    rejected = stats.false_discovery_control(p) <= 0.05 + 1e-12
    assert (found.found, found.false) == (rejected[:40].sum(), rejected[40:].sum())
    assert found.found > 20
    assert (found.m, found.n, found.positives) == (240, 200, 40)
    assert found.needed == 24  # the least r with 240 / 201 <= r * 0.05


def test_a_prompt_without_a_score_counts_as_not_found():
    labels = labelled({"famous": 20, "plain": 4, "fresh": 200})
    scores = {name: 9.0 if own == "famous" else 0.0 for name, own in labels.groups.items()}
    scores |= dict.fromkeys(labels.ids(["fresh"], "test"), -9.0)
    assert found_of(scores, "famous", labels).found == 0, "20 of 220 are below the 22 that are needed"
    more = labelled({"famous": 24, "plain": 4, "fresh": 200})
    scores |= dict.fromkeys(more.ids(["famous"], "test"), 9.0)
    assert found_of(scores, "famous", more).found == 24
    del scores["famous-test-000"], scores["famous-test-001"]
    assert found_of(scores, "famous", more).found == 0, "22 of 24 have a score, and all of 224 prompts count"


def test_clean_prompts_count_once_a_family():
    labels = labelled({"famous": 4, "plain": 4, "fresh": 30}, members=3)
    scores = dict.fromkeys(labels.groups, 0.0)
    ids = labels.ids(["fresh"], "calibration")
    assert len(one_a_family(scores, ids, labels.families)) == 10
    assert found_of(scores, "famous", labels).n == 10


def test_style_is_the_controls_against_clean_prompts_or_the_groups_that_are_named():
    labels = labelled(COUNTS)
    scores = {name: float(own != "fresh") for name, own in labels.groups.items()}
    best = choose(cells("style", [scores]), labels)
    (row,) = rows_of([best], labels)
    assert (row.style.auroc, row.clean.area.auroc, row.control.area.auroc) == (1.0, 1.0, 0.5)
    named = labelled({**COUNTS, "odd": 20}, Asked(ASKED.compared, ASKED.clean, style=("odd",)))
    scores = {name: float(own not in ("fresh", "odd")) for name, own in named.groups.items()}
    (row,) = rows_of([choose(cells("style", [scores]), named)], named)
    assert row.style.auroc == 0.5
