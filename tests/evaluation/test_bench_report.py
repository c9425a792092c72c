"""What a bench says beside its rows: the text control, the dose-response curve, the pictures."""

from dataclasses import replace

import numpy as np
import pytest
from bench_labels import ASKED, labelled
from scipy import stats

from memdetect.evaluation.bench.asked import Asked, Comparison
from memdetect.evaluation.bench.choosing import Cell, Place, choose
from memdetect.evaluation.bench.plots import level_of, numbers_of, places_of, plot_costs, plot_dose
from memdetect.evaluation.bench.report import counts_of, dose_of, text_of

COUNTS = {"famous": 20, "plain": 20, "fresh": 40}


def chosen(labels, scores):
    """A detector of one place with these scores."""
    return choose([Cell("own", Place(), "own", scores)], labels)


def test_the_curve_counts_what_lies_above_the_threshold_of_the_clean_prompts():
    """Of 40 clean prompts two may pass: the third highest, 38, is the threshold."""
    labels = labelled(COUNTS, Asked(ASKED.compared, ASKED.clean, dose=("famous",)))
    ids = labels.ids(["famous"], "test")
    shown = {name: float(1 if i < 8 else 576) for i, name in enumerate(ids)}
    labels = replace(labels, exposures=shown)
    clean = {name: float(k + 1) for split in ("tuning", "test") for k, name in enumerate(labels.ids(["fresh"], split))}
    scores = {name: 39.0 if i in (2, 9, 10, 11) else 38.0 for i, name in enumerate(ids)}
    own = dict.fromkeys(labels.ids(["famous"], "tuning"), 99.0) | dict.fromkeys(labels.ids(["plain"], "tuning"), 0.0)
    points = dose_of(chosen(labels, clean | scores | own), labels)
    assert [(p.exposures, p.prompts, p.share) for p in points] == [(1.0, 8, 1 / 8), (576.0, 12, 3 / 12)]
    assert points[1].low < 3 / 12 < points[1].high
    assert points[1].low == pytest.approx(stats.beta.ppf(0.025, 2.75, 9.25))
    assert dose_of(chosen(labels, clean | scores | own), replace(labels, exposures={})) == []


def test_without_clean_prompts_the_threshold_is_that_of_the_controls():
    labels = labelled({"famous": 20, "plain": 20}, Asked((Comparison("famous", "plain"),)))
    labels = replace(labels, exposures=dict.fromkeys(labels.groups, 3.0))
    scores = {name: float(own == "famous") for name, own in labels.groups.items()}
    (point,) = dose_of(chosen(labels, scores), labels)
    assert (point.prompts, point.share) == (40, 0.5)


def test_text_that_gives_a_group_away_is_found_out_and_other_text_is_not():
    labels = labelled(COUNTS)
    told = text_of(labels, "famous", ("plain",))
    assert told.auroc == 1.0, "each prompt begins with the name of its group"
    assert told.p < 0.05
    rng = np.random.default_rng(0)
    random = {name: "".join(rng.choice(list("abcdefgh "), 14)) for name in labels.groups}
    assert text_of(replace(labels, texts=random), "famous", ("plain",)).p > 0.02
    assert text_of(labelled({"famous": 4, "plain": 20}), "famous", ("plain",)) is None, "eight families are too few"


def test_counts_are_by_split_and_families_in_two_splits_are_told():
    labels = labelled(COUNTS, members=2)
    found = counts_of(labels)
    assert found["groups"]["famous"]["test"] == {"prompts": 20, "families": 10}
    assert found["families_in_two_splits"] == 0
    shared = replace(labels, families={name: name.split("-")[2][1:] for name in labels.groups})
    assert counts_of(shared)["families_in_two_splits"] == 40


def document(shares, dose):
    """What the pictures read: a row for each detector with a share, None = not resolved."""
    rows = [
        {
            "detector": name,
            "control": None,
            "clean": {
                "tpr": [{"level": 0.01, "share": None}, {"level": 0.05, "share": share, "low": None, "high": None}]
            },
        }
        for name, share in shares.items()
    ]
    every = [{"detector": name, "passes_alone": {"a": 12, "b": 12, "z": 0}.get(name, 40)} for name in shares]
    return {
        "detectors": every,
        "comparisons": [{"positive": "famous", "rows": rows}],
        "dose": dose,
        "dose_against": "clean prompts",
    }


def test_detectors_at_one_place_share_a_mark():
    found = document({"a": 0.9, "b": 0.9, "c": 0.9, "d": 0.1}, {})
    passes = {each["detector"]: each["passes_alone"] for each in found["detectors"]}
    places = places_of(found["comparisons"][0]["rows"], passes)
    assert {place: [row["detector"] for row in rows] for place, rows in places.items()} == {
        (12, 0.9): ["a", "b"],
        (40, 0.9): ["c"],
        (40, 0.1): ["d"],
    }
    assert numbers_of(found) == {"a": 1, "b": 2, "c": 3, "d": 4}
    assert level_of(found["comparisons"]) == (0.05, "clean prompts")


def test_pictures_are_drawn_where_there_is_something_to_draw(tmp_path):
    point = {"prompts": 5, "share": 0.4, "low": 0.1, "high": 0.8}
    found = document(
        {"a": 0.9, "c": None, "z": 0.2}, {"a": [{**point, "exposures": 0.0}, {**point, "exposures": 9.0}], "c": []}
    )
    plot_costs(found, tmp_path / "costs.png")
    assert plot_dose(found, tmp_path / "dose.png")
    for name in ("costs.png", "dose.png"):
        assert (tmp_path / name).read_bytes()[:4] == b"\x89PNG"
    assert not plot_dose(document({"a": 0.9}, {"a": [{**point, "exposures": 0.0}]}), tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()
