"""An image laid on a training image: shifts, scales, mirroring and turns that are known by construction."""

import numpy as np
import pytest
from PIL import Image, ImageOps
from small_pictures import texture

from memdetect.copies.agreement import agreement, lay, near
from memdetect.copies.align import COARSE, FINE, WHOLE, Asking, Prepared, sizes_of
from memdetect.copies.overlap import overlap, placed, turn, under


def laid(image: Image.Image, other: Image.Image):
    (found,) = lay(Asking(image), [Prepared.of(other, sizes_of(image))], [True])
    assert found is not None
    return found


def zoomed(picture: Image.Image, share: float, across: float, down: float) -> Image.Image:
    x, y = picture.width * (1 - share) * across, picture.height * (1 - share) * down
    box = (x, y, x + picture.width * share, y + picture.height * share)
    return picture.resize(picture.size, Image.Resampling.LANCZOS, box=box)


def test_an_image_lies_on_itself_as_a_whole():
    for side in (64, 320):
        picture = texture(1, side)
        found = laid(picture, picture)
        assert found.affine == WHOLE
        assert found.agreed > 0.9


@pytest.mark.parametrize("side", [64, 320])
def test_what_was_cut_out_mirrored_and_moved_is_laid_where_it_came_from(side):
    picture = texture(2, side)
    for share, across, down in ((0.75, 0.0, 0.0), (0.85, 0.3, 0.9), (0.93, 1.0, 0.5)):
        for mirrored in (False, True):
            image = zoomed(picture, share, across, down)
            found = laid(ImageOps.mirror(image) if mirrored else image, picture)
            left, top = (1 - share) * across, (1 - share) * down
            a, c = 1 / share, -left / share
            expected = (-a if mirrored else a, 0, 1 - c if mirrored else c, 0, 1 / share, -top / share)
            assert found.affine == pytest.approx(expected, abs=0.02), (share, mirrored)
            assert under(found.affine) == pytest.approx((left, top, left + share, top + share), abs=0.02)
            assert found.agreed > 0.8 * share**2


def test_a_training_image_inside_a_larger_image_is_found_there():
    picture, wide = texture(3, 320), Image.new("RGB", (640, 320), "white")
    wide.paste(texture(4, 320), (0, 0))
    wide.paste(picture, (320, 0))
    found = laid(wide, picture)
    assert found.affine == pytest.approx((0.5, 0, 0.5, 0, 1, 0), abs=0.02)
    assert found.agreed > 0.8


@pytest.mark.parametrize(("wide", "at"), [(2.8, 0.2), (2.4, 0.3), (1.5, 0.45)])
@pytest.mark.parametrize("small", [False, True])
@pytest.mark.parametrize("tall", [False, True])
def test_a_part_is_found_at_the_edge_of_a_wide_picture(wide, at, small, tall):
    """The image goes on beyond the left edge of the training image, or the upper one of a tall one."""
    side = 64 if small else 240
    picture = texture(13, round(side * wide)).crop((0, 0, round(side * wide), side))
    image = texture(14, side)
    image.paste(picture.crop((0, 0, side - round(at * side), side)), (round(at * side), 0))
    if tall:
        image, picture = (each.transpose(Image.Transpose.TRANSPOSE) for each in (image, picture))
    found = laid(image, picture)
    expected = (1, 0, 0, 0, wide, at) if tall else (wide, 0, at, 0, 1, 0)
    assert found.affine == pytest.approx(expected, abs=0.06)
    assert found.agreed > 0.6 * (1 - at) / wide


def test_a_small_turn_is_undone():
    picture = texture(5, 400)
    for degrees in (-3.0, 2.5):
        turned = zoomed(picture.rotate(degrees, Image.Resampling.BICUBIC), 0.88, 0.5, 0.5)
        found = laid(turned, picture)
        assert abs(turn(found.affine, turned.size, picture.size)) == pytest.approx(abs(degrees), abs=0.4)
        over = overlap(turned, picture, found.affine)
        assert over is not None
        assert np.abs(over.image.astype(float) - over.other).mean() < 8


def test_half_a_picture_replaced_leaves_the_other_half():
    picture, image = texture(6, 320), texture(6, 320)
    image.paste(texture(7, 320).crop((0, 0, 160, 320)), (0, 0))
    found = laid(image, picture)
    assert near(found.affine, WHOLE)
    assert 0.35 < found.agreed < 0.55
    assert found.region is not None
    assert found.region == pytest.approx((0.5, 0, 1, 1), abs=0.06)


def test_strangers_agree_in_little():
    shares = [laid(texture(k, 320), texture(k + 50, 320)).agreed for k in range(8)]
    assert max(shares) < 0.1


def test_flat_parts_agree_in_nothing():
    white = Image.new("RGB", (320, 320), "white")
    one, other = white.copy(), white.copy()
    one.paste(texture(8, 60), (20, 20))
    other.paste(texture(9, 60), (240, 240))
    found = laid(one, other)
    assert found.agreed <= found.telling < 0.15
    assert laid(white, white).agreed == 0
    assert laid(white, texture(1, 320)).agreed == 0


@pytest.mark.parametrize("size", [(1, 300), (300, 1), (2, 2), (64, 2000), (31, 33)])
def test_any_proportions_are_taken(size):
    picture = texture(3, 200).resize(size)
    found = laid(picture, texture(3, 200))
    assert 0 <= found.agreed <= 1
    overlap(picture, texture(3, 200), found.affine)


def test_proportions_that_were_changed_are_found():
    picture = texture(10, 400).crop((0, 0, 400, 260))
    found = laid(picture.resize((320, 320)), picture)
    assert found.affine == pytest.approx(WHOLE, abs=0.02)
    assert found.agreed > 0.8


def test_the_share_that_agrees_by_hand():
    """Left half the same, right half of another picture: the share is that of the windows that lie left."""
    picture, other = texture(11, 128), texture(12, 128)
    both = picture.copy()
    both.paste(other.crop((64, 0, 128, 128)), (64, 0))
    found = agreement(Asking(both, FINE), Prepared.of(picture, FINE), WHOLE)
    assert 0.4 < found.agreed < 0.55
    assert found.telling == pytest.approx(1, abs=0.02)


def test_places_go_where_the_map_says():
    assert placed((2, 0, 0.5, 0, 3, -1), 0.25, 0.5) == (1.0, 0.5)
    assert under((1, 0, 0.25, 0, 1, 0)) == (0, 0, 0.75, 1)
    assert under((1, 0, 2, 0, 1, 0)) is None
    assert sizes_of(Image.new("RGB", (64, 64))) == COARSE
    assert sizes_of(Image.new("RGB", (512, 512))) == FINE
