"""What the damages of the bench of evidence do, against facts worked out by hand."""

import numpy as np
import pytest
from PIL import Image

from memdetect.lab.evidence.damages import DAMAGES, GROUPS, content, geometry, sized
from memdetect.lab.evidence.damages.make import alone, chain


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def picture():
    blocks = rng(1).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    return Image.fromarray(blocks).resize((288, 192), Image.Resampling.BICUBIC)


OTHER = Image.new("RGB", (200, 150), (0, 0, 255))
LIGHT = [name for name in DAMAGES if name != "autoencoder"]


def test_the_table_has_each_name_and_group_once():
    assert len(DAMAGES) >= 40
    assert {damage.group for damage in DAMAGES.values()} == set(GROUPS)


@pytest.mark.parametrize("name", LIGHT)
def test_a_damage_depends_on_its_seed_alone(name, picture):
    first, again = (DAMAGES[name](picture, rng(7), OTHER) for _ in range(2))
    assert first.mode == "RGB"
    assert first.tobytes() == again.tobytes()
    if name not in ("only resized", "mirrored", "greyscale", "square, centre", "small 64", "small 32"):
        assert first.tobytes() != DAMAGES[name](picture, rng(8), OTHER).tobytes()


@pytest.mark.parametrize("name", [n for n in LIGHT if n.startswith(("zoomed", "shifted", "rotated", "25", "45"))])
def test_what_moves_or_hides_keeps_the_size(name, picture):
    done = DAMAGES[name](picture, rng(3), OTHER)
    assert done.size == picture.size
    assert done.tobytes() != picture.tobytes()


def test_mirrored_twice_is_the_picture(picture):
    twice = chain(alone(geometry.mirrored), alone(geometry.mirrored))(picture, rng(), OTHER)
    assert twice.tobytes() == picture.tobytes()
    assert np.array_equal(np.asarray(geometry.mirrored(picture, rng())), np.asarray(picture)[:, ::-1])


@pytest.mark.parametrize("share", [0.95, 0.75])
def test_a_zoom_spreads_a_ramp(share):
    """A ramp over the whole width: a zoom of share s shows s of its range."""
    ramp = Image.fromarray(np.tile(np.linspace(0, 255, 256).astype(np.uint8)[None, :, None], (64, 1, 3)))
    shown = np.asarray(geometry.zoomed(share, True)(ramp, rng()), float)
    assert np.ptp(shown) / 255 == pytest.approx(share, abs=0.03)
    assert shown.mean() == pytest.approx(127.5, abs=1.5)


@pytest.mark.parametrize("by", [(5, 3), (-4, 2), (0, -6)])
def test_a_shift_moves_pixels_and_fills_what_is_bare(by, picture):
    pixels = np.asarray(picture)
    rows, columns = (slice(max(0, n), picture.size[k] + min(0, n)) for k, n in ((1, by[1]), (0, by[0])))
    came = pixels[max(0, -by[1]) : 192 - max(0, by[1]), max(0, -by[0]) : 288 - max(0, by[0])]
    for fill in ("edge", "reflect", None):
        assert np.array_equal(geometry.moved(picture, by, fill, OTHER)[rows, columns], came)
    corner = (0 if by[1] > 0 else -1, 0 if by[0] > 0 else -1)
    assert list(geometry.moved(picture, by, None, OTHER)[corner]) == [0, 0, 255]
    if by[1] > 0:
        edge = geometry.moved(picture, by, "edge", OTHER)
        assert np.array_equal(edge[0], edge[by[1]])


@pytest.mark.parametrize("share", [0.25, 0.45])
@pytest.mark.parametrize("middle", [True, False])
def test_as_much_of_the_area_is_replaced_as_said(share, middle):
    white = Image.new("RGB", (400, 300), "white")
    done = np.asarray(content.replaced(share, middle, "other")(white, rng(2), OTHER))
    blue = (done == (0, 0, 255)).all(2)
    assert blue.mean() == pytest.approx(share, rel=0.07)
    if middle:
        assert blue[150, 200]
        assert [np.mean(places) for places in np.nonzero(blue)] == pytest.approx([149.5, 199.5], abs=0.5)


def test_a_smooth_filling_knows_only_what_is_around_it():
    """Left black, right white, anything in the box: the filling rises from left to right, whatever was there."""
    sides = np.zeros((256, 256, 3), np.uint8)
    sides[:, 128:] = 255
    spoiled = sides.copy()
    spoiled[72:184, 72:184] = (255, 0, 0)
    fill = content.replaced(0.25, True, "smooth")
    first, second = (np.asarray(fill(Image.fromarray(x), rng(1), OTHER)) for x in (sides, spoiled))
    assert np.array_equal(first[80:176, 80:176], second[80:176, 80:176])
    assert first[128, 80].mean() < 110 < 150 < first[128, 175].mean()


def test_a_rotation_stays_inside():
    """White all over: a corner from outside would be black."""
    white = Image.new("RGB", (300, 170), "white")
    for seed in range(6):
        assert (
            np.asarray(
                geometry.rotated(4)(
                    white,
                    rng(seed),
                )
            )[1:-1, 1:-1].min()
            == 255
        )


def test_sizes(picture):
    assert sized(64)(picture, rng()).size == (64, 43)
    assert sized(288)(picture, rng()) is picture
    assert DAMAGES["square, centre"](picture, rng(), OTHER).size == (192, 192)
    assert not DAMAGES["square, centre"].fits((200, 190))
    wide, high = DAMAGES["enlarged"](picture, rng(), OTHER).size
    assert wide / high == pytest.approx(1.5, abs=0.02)
    assert DAMAGES["beside another"](picture, rng(), OTHER).size == (288 + 256, 192)
    boxed = DAMAGES["letterboxed"](picture, rng(1), OTHER)
    assert 1 / 0.9 <= boxed.width * boxed.height / (288 * 192) <= 1 / 0.75 + 0.01


def test_the_autoencoder_draws_a_picture_again():
    flat = Image.fromarray(np.tile(np.linspace(40, 215, 96).astype(np.uint8)[None, :, None], (64, 1, 3)))
    done = DAMAGES["autoencoder"](flat, rng(), OTHER)
    assert done.size == flat.size
    assert np.corrcoef(np.asarray(done, float).ravel(), np.asarray(flat, float).ravel())[0, 1] > 0.9
