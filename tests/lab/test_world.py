"""The training set as a rule: the lot, the stream, captions and painting."""

import re
from collections.abc import Mapping
from itertools import islice

import numpy as np
import pytest
from PIL import Image

from memdetect.lab.pictures import NAMES
from memdetect.lab.world import (
    GROUNDS,
    SIDE,
    WORDINGS_ONE,
    WORDINGS_TWO,
    Placed,
    Scene,
    World,
    clean_captions,
    make_world,
    paint,
)

PLURAL = ("cherries", "grapes", "scissors")


def noun(name: str) -> str:
    if name in PLURAL:
        return name
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"


NOUNS = {noun(name): name for name in NAMES}


def said(caption: str) -> tuple[str, list[str]]:
    """Ground and names that a caption speaks of, in its order."""
    group = "|".join(map(re.escape, NOUNS))
    for wording in (*WORDINGS_TWO, *WORDINGS_ONE):
        pattern = re.escape(wording).replace(r"\{a\}", f"(?P<a>{group})").replace(r"\{b\}", f"(?P<b>{group})")
        found = re.fullmatch(pattern.replace(r"\{g\}", f"(?P<g>{'|'.join(GROUNDS)})"), caption)
        if found:
            return found["g"], [NOUNS[noun] for key, noun in sorted(found.groupdict().items()) if key != "g"]
    raise AssertionError(f"no wording gives {caption!r}")


def pair(scene: Scene) -> frozenset[str]:
    return frozenset(p.name for p in scene.pictures)


@pytest.fixture(scope="module")
def world() -> World:
    return make_world()


@pytest.fixture(scope="module")
def stream(world: World) -> list[Scene]:
    return list(islice(world.stream(), 3000))


# Determinism


def test_the_same_seed_gives_the_same_world(world, stream):
    assert make_world() == world
    assert list(islice(make_world().stream(), 50)) == stream[:50]


def test_another_seed_gives_another_world(world, stream):
    other = make_world(1)
    assert not {s.id for s in world.duplicated} & {s.id for s in (*other.duplicated, *other.controls)}
    assert not {s.id for s in islice(other.stream(), 500)} & {s.id for s in stream[:500]}


def test_the_stream_goes_on_where_it_stopped(world, stream):
    assert list(islice(world.stream(137), 40)) == stream[137:177]


def test_scenes_of_the_stream_differ(stream):
    assert len({s.id for s in stream}) == len(stream)


# The lot


def test_the_lot_splits_one_pool(world):
    assert (len(world.duplicated), len(world.controls), len(world.held_out)) == (40, 40, 200)
    pool = [*world.duplicated, *world.controls]
    assert len({s.id for s in pool}) == 80
    assert len({pair(s) for s in pool}) == 80
    # The pool is drawn before the lot: however many are duplicated, the 80 scenes are the same.
    few = make_world(duplicated=10)
    assert {s.id for s in (*few.duplicated, *few.controls)} == {s.id for s in pool}
    assert len(few.duplicated) == 10


def test_every_place_in_the_pool_has_the_same_chance():
    worlds = 120
    drawn = np.zeros(12)
    for seed in range(worlds):
        pool = make_world(seed, pool=12, duplicated=12, held_out=0).duplicated  # all of them, in the pool's order
        chosen = {s.id for s in make_world(seed, pool=12, duplicated=6, held_out=0).duplicated}
        drawn += [scene.id in chosen for scene in pool]
    # Half of the worlds each, standard deviation 5.5; five of them leave 12 places alone with probability 1 - 7e-6.
    assert np.abs(drawn - worlds / 2).max() < 5 * (worlds / 4) ** 0.5


def test_pairs_of_the_pool_and_held_out_pairs_are_in_no_other_scene(world, stream):
    kept = {pair(s) for s in (*world.duplicated, *world.controls)} | {frozenset(p) for p in world.held_out}
    assert len(kept) == 280
    assert world.reserved == kept
    assert not kept & {pair(s) for s in stream}


def test_the_stream_shows_every_name_alone_and_with_others(stream):
    alone = sum(len(s.pictures) == 1 for s in stream) / len(stream)
    assert 0.30 < alone < 0.40
    assert {p.name for s in stream if len(s.pictures) == 1 for p in s.pictures} == set(NAMES)
    assert {p.name for s in stream if len(s.pictures) == 2 for p in s.pictures} == set(NAMES)


# Captions


def test_captions_name_exactly_what_is_shown(world, stream):
    for scene in (*world.duplicated, *world.controls, *stream):
        assert said(scene.caption) == (scene.ground, [p.name for p in scene.pictures])
        assert len(set(pair(scene))) == len(scene.pictures)


def test_either_picture_may_be_named_first(stream):
    first = [p[0].name < p[1].name for p in (s.pictures for s in stream) if len(p) == 2]
    assert 0.45 < np.mean(first) < 0.55


def test_clean_captions_are_distinct_and_not_of_the_pool(world):
    captions = clean_captions(world, 1000)
    assert len(set(captions)) == 1000
    pool = (*world.duplicated, *world.controls)
    assert not set(captions) & {s.caption for s in pool}
    pairs = [frozenset(said(c)[1]) for c in captions]
    assert not set(pairs) & {pair(s) for s in pool}
    held_out = {frozenset(p) for p in world.held_out}
    assert all((p in held_out) == bool(i % 2) for i, p in enumerate(pairs))


def test_clean_captions_depend_on_their_seed_and_grow_by_appending(world):
    assert clean_captions(world, 20) == clean_captions(world, 60)[:20]
    assert not set(clean_captions(world, 20, seed=1)) & set(clean_captions(world, 20))


# Places


def test_pictures_stay_inside_the_frame(world, stream):
    for scene in (*world.duplicated, *world.controls, *stream):
        for p in scene.pictures:
            assert 24 <= p.size <= (46 if len(scene.pictures) == 1 else 36)
            # Centre and size are kept to a hundredth of a pixel.
            assert p.size / 2 - 0.02 <= min(p.x, p.y)
            assert max(p.x, p.y) <= SIDE - p.size / 2 + 0.02


def test_two_pictures_overlap_by_little(stream):
    for a, b in (s.pictures for s in stream if len(s.pictures) == 2):
        assert np.hypot(a.x - b.x, a.y - b.y) > 0.9 * (a.size + b.size) / 2 - 0.05


# Painting


@pytest.fixture(scope="module")
def pictures() -> Mapping[str, Image.Image]:
    """A red disc in the middle, and a mark in the upper left quarter only; 96 pixels each."""
    y, x = np.mgrid[:96, :96] + 0.5
    disc = np.zeros((96, 96, 4), np.uint8)
    disc[np.hypot(x - 48, y - 48) < 30] = (255, 0, 0, 255)
    mark = np.zeros((96, 96, 4), np.uint8)
    mark[8:40, 8:40] = (0, 0, 255, 255)
    return {"disc": Image.fromarray(disc), "mark": Image.fromarray(mark)}


def scene(*placed: Placed, ground: str = "white") -> Scene:
    return Scene(ground, placed, "a caption")


def centre_of_mass(image: np.ndarray, ground: str) -> tuple[float, float]:
    """x and y of the mean position of what differs from the ground, weighted by the difference."""
    weight = np.abs(image.astype(float) - GROUNDS[ground]).sum(axis=2)
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    return float((x * weight).sum() / weight.sum()), float((y * weight).sum() / weight.sum())


@pytest.mark.parametrize("ground", GROUNDS)
def test_paint_gives_a_picture_on_its_ground(pictures, ground):
    image = paint(scene(Placed("disc", 40.0, 40.0, 30.0, False), ground=ground), pictures)
    assert image.dtype == np.uint8
    assert image.shape == (64, 64, 3)
    assert tuple(image[0, 0]) == GROUNDS[ground]
    assert tuple(image[63, 0]) == GROUNDS[ground]
    assert tuple(image[40, 40]) == (255, 0, 0)


@pytest.mark.parametrize(
    ("x", "y", "size"), [(20.3, 31.7, 24.0), (33.25, 40.5, 31.4), (32.0, 32.0, 46.0), (18.9, 45.1, 36.0)]
)
def test_a_picture_stands_where_it_was_placed(pictures, x, y, size):
    image = paint(scene(Placed("disc", x, y, size, False)), pictures)
    assert centre_of_mass(image, "white") == pytest.approx((x, y), abs=0.06)
    area = (np.abs(image.astype(float) - GROUNDS["white"])[..., 1] / 245).sum()
    assert area == pytest.approx(np.pi * (30 / 96 * size) ** 2, rel=0.02)


def test_a_fraction_of_a_pixel_is_kept(pictures):
    def at(x: float) -> tuple[float, float]:
        return centre_of_mass(paint(scene(Placed("disc", x, 30.0, 28.0, False)), pictures), "white")

    for step in (0.25, 0.5, 0.75):
        moved = np.subtract(at(30.0 + step), at(30.0))
        assert moved == pytest.approx((step, 0), abs=0.05)


def test_flip_mirrors_a_picture_in_its_place(pictures):
    plain = paint(scene(Placed("mark", 32.0, 32.0, 32.0, False)), pictures)
    mirrored = paint(scene(Placed("mark", 32.0, 32.0, 32.0, True)), pictures)
    assert centre_of_mass(plain, "white")[0] < 32 < centre_of_mass(mirrored, "white")[0]
    np.testing.assert_array_equal(plain[:, ::-1], mirrored)


def test_every_picture_of_a_scene_is_painted(pictures):
    both = paint(scene(Placed("disc", 18.0, 18.0, 24.0, False), Placed("mark", 46.0, 46.0, 24.0, False)), pictures)
    assert tuple(both[18, 18]) == (255, 0, 0)
    assert tuple(both[40, 40]) == (0, 0, 255)
