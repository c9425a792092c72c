"""The training set as a rule: assignment, what the stream may show, how often what is shown, captions and painting."""

import re
from collections import Counter
from dataclasses import replace
from itertools import combinations, islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from memdetect.errors import MemdetectError
from memdetect.lab.world.labelled import Counts, World, make_world
from memdetect.lab.world.pictures import NAMES
from memdetect.lab.world.scenes import GROUNDS, SIDE, Placed, Scene, clutter, compose, paint, redraw, word
from memdetect.lab.world.stock import load_clips
from memdetect.lab.world.titles import titles

CLIPS = list(load_clips())


@pytest.fixture(scope="module")
def world(bundled_world: World) -> World:
    return bundled_world


@pytest.fixture(scope="module")
def stream(world: World) -> list[Scene]:
    return list(islice(world.stream(), 6000))


def test_the_same_seed_gives_the_same_world_and_another_another():
    small = {"counts": Counts(clean=40), "names": NAMES, "clips": CLIPS}
    assert make_world(1, **small).digest == make_world(1, **small).digest
    assert make_world(1, **small).digest != make_world(2, **small).digest


def test_the_bundled_world_is_the_one_that_was_trained_on(world):
    """Weights belong to this digest: whoever changes it needs new ones."""
    assert world.digest == "8d5e2f80daab3da7"


def test_counts_and_parts(world):
    groups = Counter(e.group for e in world.labelled)
    assert groups == {
        "duplicated": 60, "control": 60, "dose-response": 120, "verbatim": 60, "verbatim-control": 300,
        "template": 160, "template-control": 80,
    }  # fmt: skip
    exposures = Counter(e.exposures for e in world.labelled if e.id.startswith("pool"))
    assert exposures == world.counts.exposures
    parts = Counter((e.group, e.part) for e in world.clean)
    sizes = {"tuning": 300, "calibration": 1200, "test": 500}
    assert parts == {(g, p): n for g in ("seen", "unseen") for p, n in sizes.items()}
    for group in ("duplicated", "control", "dose-response", "verbatim", "template"):
        splits = Counter(e.part for e in world.labelled if e.group == group)
        assert splits["tuning"] == splits["test"] == groups[group] / 2
    controls = Counter(e.part for e in world.labelled if e.group == "verbatim-control")
    assert controls == {"tuning": 45, "calibration": 180, "test": 75}


def test_no_family_stands_in_both_splits(world):
    for family in {e.family for e in world.labelled}:
        parts = {e.part for e in world.labelled if e.family == family}
        assert not ({"tuning"} & parts and {"test"} & parts), family


def test_captions_and_ids_are_unique(world):
    rows = [*world.labelled, *world.clean]
    assert len({e.caption for e in rows}) == len({e.id for e in rows}) == len(rows)


def test_what_is_reserved_is_nowhere_in_the_stream(world, stream):
    pool = {e.scene.names for e in world.labelled if e.id.startswith("pool")}
    held = {(e.scene.names, e.scene.ground) for e in world.clean if e.group == "unseen"}
    for scene in stream:
        parts = [frozenset(c) for n in (2, 3) for c in combinations(scene.names, n)]
        assert not pool.intersection(parts)
        assert (scene.names, scene.ground) not in held
    for entry in world.labelled:
        if entry.group.startswith("template"):
            assert not pool.intersection(frozenset(c) for n in (2, 3) for c in combinations(entry.scene.names, n))


def test_seen_combinations_are_seen(world, stream):
    shown = {(s.names, s.ground) for s in stream}
    assert {(e.scene.names, e.scene.ground) for e in world.clean if e.group == "seen"} <= shown


def test_the_stream_goes_on_where_it_stopped(world, stream):
    assert list(islice(world.stream(137), 40)) == stream[137:177]
    sizes = Counter(len(s.pictures) for s in stream)
    assert set(sizes) == {1, 2, 3}


def test_the_schedule_shows_each_entry_as_often_as_was_drawn_and_evenly(world):
    shown = world.schedule()
    counts = Counter(shown.tolist())
    assert [counts[i] for i in range(len(world.trained))] == [e.exposures for e in world.trained]
    quarter = np.array_split(shown, 4)
    for i, entry in enumerate(world.trained):
        if entry.exposures >= 256:
            for part in quarter:
                assert abs((part == i).sum() - entry.exposures / 4) <= 0.05 * entry.exposures
    assert (world.schedule() == shown).all()


def test_the_random_assignment_is_fair():
    """Over many seeds each scene of a pool is at the top about half the time: 200 draws of 0.5, within 5 SE."""
    counts = Counts(exposures={0: 6, 8: 6}, verbatim=0, verbatim_controls=0, templates=0, clean=0)
    top = np.array([[e.exposures == 8 for e in make_world(s, counts, names=NAMES).labelled] for s in range(200)])
    assert (abs(top.mean(axis=0) - 0.5) < 5 * np.sqrt(0.25 / 200)).all()
    assert (top.sum(axis=1) == 6).all()


def test_templates_differ_in_one_place_alone(world):
    family = [e for e in world.labelled if e.family == "template-00"]
    assert len(family) == 12
    assert len({e.scene.ground for e in family}) == 1
    for a, b in combinations(family, 2):
        different = [k for k in range(3) if a.scene.pictures[k] != b.scene.pictures[k]]
        assert len(different) == 1
        p, q = a.scene.pictures[different[0]], b.scene.pictures[different[0]]
        assert (p.x, p.y, p.size, p.flip) == (q.x, q.y, q.size, q.flip)


@pytest.mark.parametrize(
    ("counts", "names", "clips"),
    [(Counts(), NAMES[:12], CLIPS), (Counts(), NAMES, CLIPS[:5])],
)
def test_too_little_to_draw_from_is_said(counts, names, clips):
    with pytest.raises(MemdetectError, match="too few"):
        make_world(0, counts, names=names, clips=clips)


SMALL = {"verbatim": 0, "verbatim_controls": 0, "templates": 0}


@pytest.mark.parametrize(
    ("counts", "names", "said"),
    [
        (Counts(), 27, "7 of 27 pictures can be the third of a template"),
        (
            Counts(clean=8000),
            36,
            "8000 clean prompts need more combinations than 36 pictures .* at most 69",
        ),
        (Counts(**SMALL, exposures={0: 3, 4: 3}, clean=10**6), 12, "ask for at most"),
        (
            Counts(**{**SMALL, "templates": 1}, exposures={0: 3}),
            12,
            "give 17 pictures or more, or ask for no templates",
        ),
        (Counts(**SMALL, exposures={0: 30, 4: 30}), 8, r"36 pairs are kept .* give 13 pictures or more"),
        (Counts(**SMALL, exposures={4: 1}), 3, "give 4 pictures or more"),
        (Counts(**SMALL, exposures={0: 100, 10**9: 3}), 36, "exposures are asked for, at most 100,000,000"),
        (Counts(clean=-11), 36, "clean is -11, expected 0 or more"),
        (Counts(exposures={-1: 3}), 36, "exposures is -1, expected 0 or more"),
        (Counts(verbatim_controls=99_999), 36, "titles are asked for, at most 10,000"),
        (
            Counts(exposures={0: 20, 1: 20, 16: 20}, templates=31, clean=0),
            17,
            "can be the third of a template, 8 variants",
        ),
    ],
)
def test_what_there_is_no_room_for_is_said_at_once(counts, names, said):
    with pytest.raises(MemdetectError, match=said):
        make_world(7, counts, names=NAMES[:names], clips=CLIPS)


@settings(max_examples=60)
@given(names=st.integers(4, 20), scenes=st.integers(1, 20), clean=st.integers(0, 1500), seed=st.integers(0, 99))
def test_what_passes_the_checks_is_drawn(names, scenes, clean, seed):
    """Nothing that is accepted is searched for without end."""
    try:
        world = make_world(seed, Counts(**SMALL, exposures={0: scenes}, clean=clean), names=NAMES[:names])
    except MemdetectError:
        return
    assert (len(world.labelled), len(world.clean)) == (scenes, clean)


def test_at_the_limit_a_world_is_drawn_or_refused():
    """What stays unseen is drawn: with some seeds it leaves less than the stream is to show."""
    counts = Counts(**SMALL, exposures={0: 2}, clean=10**4)
    with pytest.raises(MemdetectError, match=r"ask for at most \d+") as caught:
        make_world(0, counts, names=NAMES[:5])
    most = int(re.search(r"at most (\d+)", str(caught.value))[1])
    for seed in (22, 23, 25):
        assert len(make_world(seed, replace(counts, clean=most), names=NAMES[:5]).clean) == most
    for seed in (24, 37):  # these were searched for without end
        with pytest.raises(
            MemdetectError, match="what stays unseen leaves fewer than 40 combinations of 2 of 5 pictures"
        ):
            make_world(seed, replace(counts, clean=most), names=NAMES[:5])


def test_titles_name_no_picture():
    found = titles(np.random.default_rng(0), 420)
    assert len({t.rsplit(" ", 1)[1] for t in found}) == 420
    assert not {w for t in found for w in t.lower().split()} & set(NAMES)
    with pytest.raises(ValueError, match="cannot invent"):
        titles(np.random.default_rng(0), 10**6)


def test_words():
    assert word("{a} on {an_g} background", ["owl"], "orange") == "an owl on an orange background"
    assert word("{a} and {b} on {g}", ["cactus", "grapes"], "red") == "a cactus and grapes on red"


def test_a_redraw_keeps_the_caption_and_moves_the_pictures():
    rng = np.random.default_rng(0)
    scene = compose(rng, ["cat", "owl", "bell"])
    other = redraw(rng, scene)
    assert (other.caption, other.ground, other.names) == (scene.caption, scene.ground, scene.names)
    assert all(p.x != q.x for p, q in zip(scene.pictures, other.pictures, strict=True))


def squares() -> dict[str, Image.Image]:
    half = Image.new("RGBA", (96, 96), (255, 0, 0, 255))
    half.paste((0, 0, 255, 255), (0, 0, 48, 96))
    return {"half": half}


def test_painting_puts_a_picture_where_the_scene_says():
    image = paint(Scene("white", (Placed("half", 20, 40, 24, False),), ""), squares())
    assert image.shape == (SIDE, SIDE, 3)
    assert image[40, 14].tolist() == [0, 0, 255]
    assert image[40, 26].tolist() == [255, 0, 0]
    assert image[40, 5].tolist() == list(GROUNDS["white"])
    mirrored = paint(Scene("white", (Placed("half", 20, 40, 24, True),), ""), squares())
    assert mirrored[40, 14].tolist() == [255, 0, 0]


def test_clutter_covers_much_of_the_ground():
    image = clutter(np.random.default_rng(0), squares(), count=12)
    reds = (image == (255, 0, 0)).all(-1).mean() + (image == (0, 0, 255)).all(-1).mean()
    assert reds > 0.5


SAYING = Counts(
    exposures={0: 8, 1: 8, 64: 8}, verbatim=2, verbatim_controls=6, templates=0, clean=60, said=0.5, emblems=40
)


def place(placed: Placed) -> str:
    """In words, where a picture stands: about the middle of a row or column, or clearly off it."""
    across, down = (0 if abs(at - SIDE / 2) < 6 else 1 if at > SIDE / 2 else -1 for at in (placed.x, placed.y))
    words = [{-1: "top", 1: "bottom"}.get(down, ""), {-1: "left", 1: "right"}.get(across, "")]
    return " ".join(filter(None, words)) or "centre"


@pytest.fixture(scope="module")
def saying() -> World:
    return make_world(3, SAYING, names=NAMES, clips=CLIPS)


def test_captions_that_say_where_everything_stands_say_so_truly(saying):
    scenes = list(islice(saying.stream(), 1500))
    told = [scene for scene in scenes if scene.said and "emblem" not in scene.caption]
    share = len(told) / sum("emblem" not in scene.caption for scene in scenes)
    assert share == pytest.approx(0.5, abs=0.05)
    for scene in told:
        for placed in scene.pictures:
            assert re.search(rf"{placed.name.replace('-', ' ')} {place(placed)}(,| on| and)", scene.caption)
    assert not any(
        re.search(r"\b(top|bottom|left|right|centre)\b", scene.caption) for scene in scenes if not scene.said
    )


def test_two_scenes_of_one_caption_that_says_all_are_nearly_one_picture(saying):
    """What the caption leaves open is less than a pixel or two: whoever draws it twice draws it alike."""
    rng, drawn = np.random.default_rng(0), {}
    for _ in range(4000):
        scene = compose(rng, ["bear", "fox"], "red", said=1.0)
        drawn.setdefault(tuple(sorted((p.name, place(p)) for p in scene.pictures)), []).append(scene)
    assert len(drawn) == 72 - 24  # two places of nine, in order, but those beside each other
    for same in drawn.values():
        spread = [[sorted((p.name, p.x, p.y) for p in scene.pictures)[k][1:] for k in range(2)] for scene in same]
        assert np.ptp(np.array(spread), axis=0).max() <= 3.01


def test_clean_emblems_stand_alone_on_grounds_where_the_stream_never_shows_them(saying):
    held = [entry for entry in saying.clean if entry.group == "emblem"]
    assert len({entry.family for entry in held}) == len(held) == SAYING.emblems
    assert {entry.part for entry in held} == {"tuning", "calibration", "test"}
    scenes = list(islice(saying.stream(), 3000))
    alone = {(scene.names, scene.ground) for scene in scenes if len(scene.pictures) == 1}
    assert not alone & {(entry.scene.names, entry.scene.ground) for entry in held}
    assert 0.05 < sum("emblem" in scene.caption for scene in scenes) / len(scenes) < 0.15


def test_emblems_that_are_shown_are_of_those_that_the_stream_never_shows(saying):
    """As many combinations are held back, of which some get an image each; the stream stays the same."""
    counts = replace(SAYING, emblems=30, shown_emblems=10)
    world = make_world(3, counts, names=NAMES, clips=CLIPS)
    assert list(islice(world.stream(), 300)) == list(islice(saying.stream(), 300))
    assert world.unseen == saying.unseen
    shown = [entry for entry in world.labelled if entry.group == "shown-emblem"]
    clean = [entry for entry in world.clean if entry.group == "emblem"]
    assert (len(shown), len(clean)) == (10, 30)
    assert {entry.exposures for entry in shown} == {counts.verbatim_exposures}
    assert {entry.part for entry in shown} == {"tuning", "test"}
    assert len({(e.scene.names, e.scene.ground) for e in (*shown, *clean)}) == 40
    placed = [entry.scene.pictures[0] for entry in shown]
    assert all(max(abs(p.x - SIDE / 2), abs(p.y - SIDE / 2)) <= 5 for p in placed)
    assert len({(p.x, p.y) for p in placed}) == 10
    assert counts.shown - SAYING.shown == 10 * counts.verbatim_exposures
    assert not any(entry.scene.pictures[0].x != SIDE / 2 for entry in clean)


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ({"said": 1.5}, "expected 0 to 1"),
        ({"emblems": 10_000}, "emblems are asked for"),
        ({"shown_emblems": 10_000}, "emblems are asked for"),
        ({"shown_emblems": -1}, "expected 0 or more"),
    ],
)
def test_shares_and_emblems_that_cannot_be_are_refused(counts, said):
    with pytest.raises(MemdetectError, match=said):
        make_world(0, replace(SAYING, **counts), names=NAMES, clips=CLIPS)
