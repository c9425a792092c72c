"""The limit of a part: largest shares that agree between images and training images that are no copies of them."""

from math import log

import pytest
from PIL import Image, ImageOps
from small_pictures import texture

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
    parts.add(half(rows[1], texture(9, 160)), [0, 1, 2])
    parts.add(ImageOps.mirror(rows[2]), [2, 0])
    parts.add(None, [0])
    parts.add(Image.new("RGB", (160, 160), "red"), [0])
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
    parts = Parts(lambda _: None, CopyRule(), 7)
    for k in range(7):
        parts.add(texture(k, 64), [0])
    assert (parts.seen, len(parts.values), parts.pairs) == (7, 3, 0)


def test_an_index_tells_p_values_of_shares(index):
    values = index._agreed
    assert values == sorted(values)
    assert len(values) == index.manifest.agreement.queries > 0
    assert index.p_agreed(2.0) == 1 / (len(values) + 1)
    assert index.p_agreed(0.0) == 1
    assert not index.repeats(limit_of(index.manifest.agreement, True), True)
    assert index.repeats(1.01, True)
