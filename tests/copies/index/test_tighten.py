"""The copy rule of an index of its own, by held-out images that are surely no copies."""

import io
from dataclasses import replace
from math import inf
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter
from scipy import ndimage
from small_pictures import QUICK, candidates, fill

from memdetect.cli import run
from memdetect.copies.agreement import Laid, lay
from memdetect.copies.align import Asking, Prepared
from memdetect.copies.candidates import Opener, compared
from memdetect.copies.compared import Beside, compare, room
from memdetect.copies.embedders import load_embedder
from memdetect.copies.index import as_queries, build_index, open_index, read_manifest
from memdetect.copies.index.part import Parts
from memdetect.copies.index.tighten import BELOW, LEAST, Rooms
from memdetect.copies.matching import evidence
from memdetect.copies.pixels import CopyRule
from memdetect.errors import MemdetectError

SIDE = 64
RULE = CopyRule()
GREY = np.ones(3) * 0.9


def smooth(seed: int, width: float) -> np.ndarray:
    """A smooth random field of unit deviation."""
    field = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal((SIDE, SIDE)), width)
    return field / field.std()


def scan_of(seed: int) -> Image.Image:
    """One of many pictures that look alike, as X-rays do: the same chest, and a little of its own."""
    chest = 0.5 + 0.16 * smooth(0, 4) + 0.05 * smooth(1000 + seed, 3)
    return Image.fromarray((np.clip(chest, 0, 1)[..., None] * 255 * GREY).astype(np.uint8))


def saved(image: Image.Image, quality: int = 60) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def folder_of(base: Path, seeds: range) -> Path:
    base.mkdir()
    for seed in seeds:
        scan_of(seed).save(base / f"{seed:03d}.png")
    return base


@pytest.fixture(scope="module")
def chests(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen pictures in `train`, forty others in `held`."""
    base = tmp_path_factory.mktemp("chests")
    folder_of(base / "train", range(16))
    folder_of(base / "held", range(100, 140))
    return base


@pytest.fixture(scope="module")
def pixels():
    return load_embedder("pixels")


@pytest.fixture(scope="module")
def trusting(chests, pixels):
    options = replace(QUICK, planted=10, held_out=[chests / "held"], trust=True)
    return build_index([chests / "train"], pixels, chests / "own.index", options)


def pairs() -> list[Beside]:
    """Copies, recoloured ones, moved ones, look-alikes and strangers, each aligned where that is possible."""
    original = scan_of(1)
    dark = original.point(lambda value: value * 0.7)
    moved = original.crop((5, 3, 61, 60)).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    blurred = original.filter(ImageFilter.GaussianBlur(1.5))
    others = [saved(original, 40), dark, moved, blurred, scan_of(2), scan_of(3), Image.effect_noise((SIDE, SIDE), 60)]
    found: list[Beside] = []
    for other in (each.convert("RGB") for each in others):
        asking = Asking(other)
        (laid,) = lay(asking, [Prepared.of(original, asking.sizes)], [True])
        found += [Beside([other], original, laid), Beside([other], original)]
    return found


def test_a_pair_is_a_copy_by_a_stricter_rule_exactly_where_its_room_allows_it():
    rooms = [(pair, room(pair, RULE)) for pair in pairs()]
    assert min(value for _, value in rooms) < 0.3 < 1 < max(value for _, value in rooms)
    for pair, value in rooms:
        for share in (1.0, 0.8, 0.5, 0.3, 0.1, value * 1.001, value * 0.999):
            if 0 < share <= 1:
                assert compare([pair], RULE.strict(share))[0].whole == (value <= share)


def test_what_lies_on_each_other_by_a_corner_alone_takes_up_no_part_of_the_room():
    """The pixels of the corner agree, and no rule calls so little of a picture a copy."""
    moved = Image.new("RGB", (SIDE, SIDE), "white")
    moved.paste(scan_of(1), (38, 38))
    corner = Laid((1, 0, 38 / SIDE, 0, 1, 38 / SIDE), 0.1, 0.1, 0.1)
    assert not compare([Beside([moved], scan_of(1), corner)], RULE)[0].whole
    assert room(Beside([moved], scan_of(1), corner), RULE) == room(Beside([moved], scan_of(1)), RULE) > 1


def test_equal_pixels_take_up_no_room():
    assert room(Beside([scan_of(1)], scan_of(1)), RULE) == 0


def test_room_by_hand():
    """Two even greys, 0.1 apart in every tile: of 0.2 that is a half; the structure is the same."""
    one, other = (Image.new("RGB", (SIDE, SIDE), (level,) * 3) for level in (100, 125))
    pair = Beside([one], other)
    ssim = compare([pair], RULE)[0].ssim
    assert room(pair, RULE) == pytest.approx(max(25 / 255 / 0.2, (1 - ssim) / 0.3), rel=1e-5)


def rooms(values: list[float]) -> Rooms:
    made = Rooms(Parts(lambda _: None, RULE, 1, trusted=True))
    made.values = values
    return made


@pytest.mark.parametrize(
    ("values", "level", "share", "shown", "beyond"),
    [
        ([k / 100 for k in range(10, 109)], 0.1, 0.19 * BELOW, True, 9),  # 10th smallest of 99 is not reached
        ([k / 100 for k in range(10, 109)], 0.001, 0.1 * BELOW, False, 0),
        ([2.0] * 50, 0.1, 1.0, True, 0),
        ([inf, inf], 0.1, 1.0, False, 0),
        ([], 0.1, 1.0, False, 0),
        ([0.0] * 99, 0.1, LEAST, True, 99),
    ],
)
def test_the_share_is_a_conformal_quantile_of_the_rooms(values, level, share, shown, beyond):
    found = rooms(values).tightened(level)
    assert found.share == pytest.approx(share)
    assert (found.shown, found.queries, found.beyond) == (shown, len(values), beyond)
    assert found.within == sum(value <= 1 for value in values)


def test_of_several_training_images_the_one_with_the_nearest_pixels_counts():
    """It is second by the embedder."""
    opened = {0: Image.effect_noise((SIDE, SIDE), 60).convert("RGB"), 1: saved(scan_of(1), 40)}
    made = Rooms(Parts(opened.get, RULE, 1, trusted=True))
    made.add(scan_of(1), candidates(0, 1))
    made.add(scan_of(1), candidates(0))
    assert made.values[0] < 0.3
    assert made.values[1] > 1


def test_a_search_goes_by_the_rule_of_its_index(trusting, pixels):
    """Images that the embedder calls similar: the usual rule calls all of them copies, the index's own hardly one."""
    fresh = [scan_of(seed) for seed in range(300, 312)]
    near = trusting.nearest(as_queries(fresh, pixels), 3)
    similar = [[match.model_copy(update={"similar": True}) for match in own] for own in near]

    def called(rule):
        found = zip(fresh, similar, strict=True)
        return sum(any(m.copy_found for m in compared([one], own, Opener(trusting), rule)) for one, own in found)

    assert called(None) <= 4
    assert called(RULE) >= 10


def test_the_usual_rule_takes_look_alikes_for_copies_and_a_trusting_index_does_not(chests, pixels, trusting):
    """Fresh pictures of the same kind: all copies by the usual rule, at most 5 % and chance by the index's own."""
    options = replace(QUICK, planted=0, held_out=[chests / "held"])
    usual = build_index([chests / "train"], pixels, chests / "usual.index", options)
    fresh = [scan_of(seed) for seed in range(300, 324)]
    called = [sum(m.copy_found for m in evidence([image], trusting, pixels)) > 0 for image in fresh]
    before = [sum(m.copy_found for m in evidence([image], usual, pixels)) > 0 for image in fresh]
    own = trusting.manifest.tightened
    assert (own.queries, own.shown) == (40, True)
    assert own.beyond <= 2 < 35 < own.within
    assert usual.manifest.threshold.queries == 40 - usual.manifest.threshold.duplicates < 10
    assert sum(called) <= 6  # 24 at 2/41 and chance: more than 6 has a chance of 0.003
    assert usual.manifest.threshold.similarity is None or sum(before) > 16


def test_copies_are_found_by_the_stricter_rule(chests, pixels, trusting):
    copies = [saved(scan_of(seed)) for seed in range(10)]
    found = [{m.key for m in evidence([copy], trusting, pixels) if m.copy_found} for copy in copies]
    assert sum(any(key.endswith(f"train/{seed:03d}.png") for key in keys) for seed, keys in enumerate(found)) >= 9
    assert trusting.manifest.planted.copies >= 0.8


def test_an_image_that_is_in_the_index_is_left_out_however_sure(chests, pixels, tmp_path):
    held = folder_of(tmp_path / "held", range(14, 24))
    options = replace(QUICK, planted=0, held_out=[held], trust=True)
    made = build_index([chests / "train"], pixels, tmp_path / "i", options).manifest
    assert made.threshold.duplicates == 2
    assert made.tightened.queries == made.threshold.queries == 8


def test_the_rule_stays_the_usual_one_where_no_held_out_image_is_within_it(tiny, tmp_path):
    pictures, held = fill(tmp_path / "images", range(12)), fill(tmp_path / "held", range(100, 112))
    options = replace(QUICK, planted=0, held_out=[held], trust=True)
    made = build_index([pictures], tiny, tmp_path / "i", options)
    assert made.manifest.tightened.share == 1
    assert made.rule == RULE


def test_the_manifest_keeps_the_rule_and_others_stay_as_they_were(chests, pixels, trusting, tmp_path):
    read = read_manifest(trusting.folder)
    assert (read.schema_version, read.tightened) == (4, trusting.manifest.tightened)
    assert open_index(trusting.folder, pixels).rule == RULE.strict(read.tightened.share)
    plain = build_index([chests / "train"], pixels, tmp_path / "i", replace(QUICK, planted=0, null_queries=8))
    assert (plain.manifest.schema_version, plain.rule) == (3, RULE)
    assert "tightened" not in (plain.folder / "manifest.json").read_text()


def test_appending_needs_the_trust_again(chests, pixels, tmp_path):
    options = replace(QUICK, planted=0, held_out=[folder_of(tmp_path / "held", range(100, 106))], trust=True)
    home = build_index([chests / "train"], pixels, tmp_path / "i", options).folder
    more, before = folder_of(tmp_path / "more", range(40, 43)), (home / "manifest.json").read_bytes()
    with pytest.raises(MemdetectError, match="rests on held-out images that were trusted; give --trust-held-out again"):
        build_index([more], pixels, home, replace(options, trust=False, append=True))
    assert (home / "manifest.json").read_bytes() == before
    assert build_index([more], pixels, home, replace(options, append=True)).manifest.tightened


def test_trust_without_held_out_images_is_refused(chests, tmp_path, capsys):
    given = ["index", "build", str(chests / "train"), "--embedder", "pixels", "--out", str(tmp_path / "i")]
    assert run([*given, "--trust-held-out"]) == 2
    assert "none are given; give them" in capsys.readouterr().err
    assert not (tmp_path / "i").exists()


def test_info_says_what_the_rule_rests_on(trusting, capsys):
    assert run(["index", "info", str(trusting.folder)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    own = trusting.manifest.tightened
    assert f"of 40 held-out images that are surely no copies the usual rule calls {own.within} copies" in said
    assert f"{own.share:.0%} of what is usual" in said


def test_planted_copies_go_by_the_rule_of_the_index(tiny, tmp_path):
    """Held-out images that are copies after all leave so little room that damaged copies are none any more."""
    pictures = fill(tmp_path / "images", range(10))
    (tmp_path / "held").mkdir()
    for path in sorted(pictures.glob("*.png")):
        Image.fromarray(np.asarray(Image.open(path).convert("RGB")) // 2 * 2).save(tmp_path / "held" / path.name)
    usual = build_index([pictures], tiny, tmp_path / "a", replace(QUICK, null_queries=5)).manifest
    trusting = replace(QUICK, held_out=[tmp_path / "held"], trust=True)
    made = build_index([pictures], tiny, tmp_path / "i", trusting).manifest
    assert made.tightened.share == LEAST
    assert made.planted.copies < 0.5 < usual.planted.copies


def test_a_gate_and_a_page_say_that_the_rule_is_tighter(chests, trusting, tmp_path, capsys):
    copies = tmp_path / "given"
    copies.mkdir()
    saved(scan_of(3)).save(copies / "a.png")
    scan = ["scan", str(copies), "--model", "emoji-scenes", "--index", str(trusting.folder)]
    assert run([*scan, "--out", str(tmp_path / "run")]) == 0
    capsys.readouterr()
    assert run(["gate", str(tmp_path / "run")]) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "1 copy" in said
    assert f"only within {trusting.manifest.tightened.share:.0%} of the usual room" in said
