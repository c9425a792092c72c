"""What an index covers and finds, in words."""

import pytest

from memdetect.runs.index_facts import coverage_phrase, finds_phrase, found_by


@pytest.mark.parametrize(
    ("recall", "finds", "said"),
    [
        (1.0, {"mirrored": 0.03}, "finds copies that were recompressed [100 %]; does not find mirrored [3 %]"),
        (0.9, {}, "finds copies that were recompressed [90 %]"),
        (0.89, {"shifted": 0.999}, "finds copies that were shifted [99 %]; does not find recompressed [89 %]"),
        (
            0.95,
            {"mirrored": 0.001, "cropped": 0.0, "shifted": 0.5},
            "finds copies that were recompressed [95 %]; does not find mirrored [1 %], cropped [0 %] or shifted [50 %]",
        ),
        (0.95, {"cropped": 0.92}, "finds copies that were recompressed [95 %] and cropped [92 %]"),
        (0.0, {}, "does not find recompressed [0 %]"),
        (None, {}, "was not tried with changed copies"),
        (None, {"mirrored": 1.0}, "finds copies that were mirrored [100 %]"),
    ],
)
def test_the_phrase(recall, finds, said):
    assert finds_phrase({"recall": recall, "finds": finds}) == said


def test_a_tighter_copy_rule_is_said_wherever_the_index_is():
    """Whoever vouches for held-out images can make copies clear with them: no verdict hides it."""
    found = found_by(manifest(tightened={"share": 0.346}))
    assert found["tightened_share"] == 0.346
    said = "; calls an image a copy only within 35% of the usual room, by held-out images trusted to be none"
    assert finds_phrase(found).endswith(said)
    assert finds_phrase({"recall": None, "tightened_share": 0.5}).startswith("was not tried with changed copies; calls")
    assert "usual room" not in finds_phrase(found_by(manifest(tightened={"share": 1.0})))
    assert "tightened_share" not in found_by(manifest())


def manifest(**changes):
    held = {
        "planted": {"images": 8, "copies": 0.75},
        "geometry": {"mirrored": {"images": 8, "copies": 0.25}, "cropped square": {"images": 0, "copies": 0.0}},
        "pictures": 30,
        "training_set": 40,  # more than what is there
        "training_set_by": "--training-set",
        "skipped": {"missing": 1, "unreadable": 2},
        "as_trained": {"size": 512, "crop": "random"},
    }
    return {**held, **changes}


def test_what_a_header_says_of_a_manifest():
    assert found_by(manifest()) == {
        "recall": 0.75,
        "planted": 8,
        "finds": {"mirrored": 0.25},
        "pictures": 30,
        "coverage": 0.75,
        "stated_by": "--training-set",
        "left_out": 3,
        "as_trained": "512,random",
    }
    untried = found_by(manifest(planted={"images": 0, "copies": 0.0}, training_set=None, as_trained=None))
    assert (untried["recall"], untried["coverage"], untried["as_trained"]) == (None, None, "")


@pytest.mark.parametrize(("stated", "coverage"), [(30, 30 / 33), (33, 30 / 33), (34, 30 / 34), (None, None)])
def test_pictures_that_are_there_and_not_taken_in_are_not_covered(stated, coverage):
    """Whoever states the size: 30 in the index and 3 that could not be opened are 33 at least."""
    assert found_by(manifest(training_set=stated))["coverage"] == coverage


def test_coverage_says_who_says_so():
    said = "75.00% of the training set as --training-set states its size"
    assert coverage_phrase(found_by(manifest(skipped={}))) == said
    assert coverage_phrase(found_by(manifest())) == f"{said} (3 that are there could not be taken in)"
    assert coverage_phrase({"coverage": 0.5, "stated_by": ""}) == "50.00% of the training set"
    assert coverage_phrase({"coverage": None}) == coverage_phrase({}) == "an unknown share of the training set"
