"""The limit of a part: largest shares that agree between images and training images that are no copies of them."""

from math import log

import pytest
from PIL import Image, ImageOps
from small_pictures import candidates, texture

from memdetect.copies.index import part
from memdetect.copies.index.manifest import Agreement
from memdetect.copies.index.part import LEAST, MARGIN, USUAL, USUAL_SMALL, Parts, limit_of
from memdetect.copies.pixels import CopyRule


def limit(agreed: float | None, shown: bool) -> Agreement:
    facts = {"queries": 199, "pairs": 1990, "duplicates": 0, "beyond": 0}
    return Agreement(agreed=agreed, shown=shown, source="leave-one-out", **facts)


def half(picture: Image.Image, other: Image.Image) -> Image.Image:
    both = picture.copy()
    both.paste(other.crop((0, 0, other.width // 2, other.height)), (0, 0))
    return both


@pytest.mark.parametrize(
    ("agreed", "shown", "small", "expected"),
    [
        (0.3, True, False, 0.3),
        (0.01, True, False, LEAST),
        (0.01, True, True, LEAST),
        (0.01, False, False, USUAL),
        (0.01, False, True, USUAL_SMALL),
        (0.7, False, True, 0.7),
        (None, False, False, USUAL),
    ],
)
def test_the_limit_rests_on_what_was_seen_or_is_the_usual_one(agreed, shown, small, expected):
    assert limit_of(limit(agreed, shown), small) == expected


def test_the_largest_share_of_an_image_counts_and_copies_do_not():
    rows = [texture(k, 160) for k in range(3)]
    parts = Parts(rows.__getitem__, CopyRule(), 2)
    parts.add(half(rows[1], texture(9, 160)), candidates(0, 1, 2))
    parts.add(ImageOps.mirror(rows[2]), candidates(2, 0))
    parts.add(None, candidates(0))
    parts.add(Image.new("RGB", (160, 160), "red"), candidates(0))
    assert len(parts.values) == 2
    assert 0.35 < parts.values[0] < 0.6
    assert parts.values[1] < 0.1
    assert (parts.copies, parts.pairs) == (1, 5)
    found = parts.agreement(held_out=True)
    assert (found.agreed, found.queries, found.source) == (MARGIN * parts.values[0], 2, "held-out")
    assert not found.shown


def test_rows_that_share_parts_do_not_raise_the_limit():
    """A thousand shares of an exponential tail, and thirty of rows that share parts: the limit is that of the tail."""
    parts = Parts(lambda _: None, CopyRule(), 1)
    chance = [0.02 - 0.03 * log(1 - (k + 0.5) / 1000) for k in range(1000)]
    parts.values = [*chance, *[0.7] * 30]
    bulk, all_of_them = parts.agreement(held_out=False), parts.agreement(held_out=True)
    largest = 0.02 + 0.03 * log(2000)
    assert bulk.agreed == pytest.approx(MARGIN * largest, rel=0.12)
    assert (bulk.beyond, bulk.shown) == (30, True)
    assert all_of_them.agreed == MARGIN * 0.7
    parts.values = chance
    assert parts.agreement(held_out=False).agreed == pytest.approx(MARGIN * largest, rel=0.12)
    parts.values = []
    assert parts.agreement(held_out=False).agreed is None


def test_of_many_images_some_are_laid(monkeypatch):
    monkeypatch.setattr(part, "MOST", 3)
    parts = Parts(lambda row: texture(100 + row, 64), CopyRule(), 7)
    for k in range(7):
        parts.add(texture(k, 64), candidates(0))
    assert (parts.seen, len(parts.values), parts.pairs) == (7, 3, 3)


def test_what_could_not_be_laid_does_not_count():
    """Values of 0.0 would bring the limit down to the least of all."""
    parts = Parts(lambda row: texture(row, 64) if row else None, CopyRule(), 1)
    for near in ([], candidates(0)):
        parts.add(texture(9, 64), near)
    assert (parts.values, parts.seen) == ([], 2)
    parts.add(texture(9, 64), candidates(0, 1))
    assert (len(parts.values), parts.pairs) == (1, 1)


@pytest.mark.parametrize(("side", "large"), [(None, 1), (64, 0), (300, 1)])
def test_images_are_laid_at_the_size_that_training_had(side, large):
    """A model of 64 pixels makes small images, of which more agrees by chance, whatever the size of its files."""
    parts = Parts(lambda row: texture(row, 200), CopyRule(), 1, side=side)
    parts.add(texture(9, 200).crop((0, 0, 200, 160)), candidates(1, 2))
    assert parts.agreement(held_out=True).large == parts.large == large
    assert {sizes.small for _, sizes in parts._kept} == {not large}


@pytest.mark.parametrize(
    ("large", "small", "expected"),
    [(0, True, 0.3), (199, True, USUAL_SMALL), (100, True, USUAL_SMALL), (99, True, 0.3), (199, False, 0.3)],
)
def test_large_images_tell_nothing_of_the_limit_of_small_ones(large, small, expected):
    found = limit(0.3, True).model_copy(update={"large": large})
    assert limit_of(found, small) == expected
    assert limit_of(found.model_copy(update={"agreed": 0.7}), small) == 0.7


def test_an_index_tells_p_values_of_shares(index):
    values = index._agreed
    assert values == sorted(values)
    assert len(values) == index.manifest.agreement.queries > 0
    assert index.p_agreed(2.0) == 1 / (len(values) + 1)
    assert index.p_agreed(0.0) == 1
    assert not index.repeats(limit_of(index.manifest.agreement, True), True)
    assert index.repeats(1.01, True)
