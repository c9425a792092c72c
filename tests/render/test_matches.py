"""Images looked up in an index: what each format says of a copy, of a part, and of what is only near."""

import csv
import json
from io import StringIO
from typing import Any

import pytest
from synthetic_runs import match, part

from memdetect.copies.align import SMALL
from memdetect.copies.index import part as part_limit
from memdetect.copies.match import Looked
from memdetect.render import matches
from memdetect.render.matches import COLUMNS, matches_csv, matches_json, matches_summary, matches_table, threshold_lines

INDEX: dict[str, Any] = {
    "pictures": 40,
    "rows": 40,
    "coverage": None,
    "training_set": None,
    "as_trained": "",
    "training_set_by": "",
    "skipped": {},
    "planted": {"images": 0},
    "geometry": {},
    "threshold": {
        "similarity": 0.8,
        "level": 0.01,
        "shown": True,
        "attainable": 0.01,
        "source": "held-out",
        "queries": 99,
        "rows": 40,
    },
    "agreement": {
        "agreed": 0.2,
        "shown": True,
        "source": "held-out",
        "queries": 99,
        "pairs": 990,
        "duplicates": 9,
    },
}
LOOKED = [
    Looked(image="a.png", outcome="copy", matches=[match()]),
    Looked(image="b.png", outcome="partial-copy", reason="a part of train-7", matches=[part()]),
    Looked(image="c.png", outcome="clear", matches=[match(False)]),
]


def test_the_table_names_parts_and_what_of_them_agrees() -> None:
    lines = [line.split() for line in matches_table(LOOKED, INDEX).splitlines()]
    assert ["copy", "a.png", "a", "copy", "of", "train-7", "0.970", "-", "-", "-", "-"] in lines
    assert ["partial-copy", "b.png", "in", "part", "train-7", "0.600", "-", "0.400", "0.300", "31%"] in lines
    assert "31mpartial-copy" in matches_table(LOOKED, INDEX, colour=True)


def test_parts_are_counted() -> None:
    assert "1 copy, 1 partial-copy, 0 similar, 1 clear, 0 inconclusive." in matches_summary(LOOKED, INDEX)[1]


def test_json_and_csv_have_all_that_was_measured() -> None:
    held = json.loads(matches_json(LOOKED, INDEX))["images"][1]
    assert Looked.model_validate_json(json.dumps(held)) == LOOKED[1]
    table = list(csv.DictReader(StringIO(matches_csv(LOOKED, INDEX))))
    assert set(table[1]) == set(COLUMNS)
    assert (table[1]["partial_found"], table[1]["agreed"], table[1]["p_agreed"]) == ("True", "0.31", "0.001")
    assert json.loads(table[1]["affine"]) == [-1, 0, 1, 0, 1, 0]
    assert json.loads(table[1]["region"]) == [0.1, 0.2, 0.6, 0.8]
    assert (table[0]["partial_found"], table[0]["affine"]) == ("False", "")


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        (
            {"agreed": 0.2},
            "Part found = more than 20% of a training image agrees, a fifth beyond the",
        ),
        ({"agreed": 0.2, "shown": False}, "Part found = more than the usual share agrees, and more than 20%"),
        ({"agreed": None, "shown": False}, "Part found = more than the usual share agrees of 99"),
        ({"agreed": 1.08}, "No part is found: by 99 held-out images"),
        (
            {"agreed": 0.2, "large": 99},
            "Part found = more than 20% of a training image agrees, a fifth beyond the largest share by chance of 99 "
            "held-out images, each aligned with the training images near it, 990 pairs. For images up to 96 pixels "
            "more than 50%: too few of them were small.",
        ),
    ],
)
def test_the_limit_of_a_part_is_said(limit, said):
    lines = threshold_lines({**INDEX, "agreement": {**INDEX["agreement"], **limit}})
    assert [line for line in lines if line.startswith(said)]


def test_what_is_said_of_small_images_is_what_decides():
    assert (matches.ENOUGH, matches.USUAL_SMALL, SMALL) == (part_limit.ENOUGH, part_limit.USUAL_SMALL, 96)


def test_the_pixels_of_a_copy_are_said_with_the_pairs_that_they_rest_on():
    def line(**changes):
        lines = threshold_lines({**INDEX, "agreement": {**INDEX["agreement"], **changes}})
        return next(each for each in lines if each.startswith("Pixels alike = worst tile at most 0.2 apart"))

    assert "0 of these 300 pairs [0.00%, 1.22%]" in line(pairs=300, duplicates=0)  # 1 - 0.025 ** (1 / 300)
    assert line(pairs=0, duplicates=0).endswith("; no pair was tried.")
