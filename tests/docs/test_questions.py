"""Detectors are grouped by the same questions, in the same words, wherever a page groups them."""

import re

import pytest
from pages import DOCS, ROOT

from memdetect.detectors import BUILT_IN

REFERENCE = DOCS / "reference" / "detectors.md"
OTHERS = [ROOT / "README.md", DOCS / "explanation" / "detectors-compared.md"]


def questions(text):
    """What is asked about -> (question, last cell), of the table of a page whose head begins with "asks about"."""
    table = text.split("\n| asks about |")[1].split("\n\n")[0]
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines()[2:]]
    return {name: (question, last) for name, question, last in rows}


LISTED = questions(REFERENCE.read_text("utf-8"))


def test_every_detector_asks_one_question():
    named = [name for _, cell in LISTED.values() for name in re.findall(r"`([^`]+)`", cell)]
    assert sorted(named) == sorted(detector.name for detector in BUILT_IN)


@pytest.mark.parametrize("path", OTHERS, ids=lambda path: path.name)
def test_a_page_has_the_same_questions(path):
    told = questions(path.read_text("utf-8"))
    assert {name: question for name, (question, _) in told.items()} == {
        name: question for name, (question, _) in LISTED.items()
    }


def test_the_readme_counts_those_of_each_question():
    for name, (_, cell) in questions(OTHERS[0].read_text("utf-8")).items():
        shown = re.findall(r"`([^`]+)`", cell)
        (more,) = re.findall(r"(\d+) others", cell) or ["0"]
        members = re.findall(r"`([^`]+)`", LISTED[name][1])
        assert set(shown) <= set(members)
        assert len(shown) + int(more) == len(members)


def test_the_number_of_detectors_is_told_right():
    assert f"\n{len(BUILT_IN)} detectors are built in." in OTHERS[1].read_text("utf-8")
