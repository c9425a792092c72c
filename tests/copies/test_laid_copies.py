"""Copies that are mirrored, cut, moved or replaced in part, looked up in an index of pictures with detail."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps
from small_pictures import texture

from memdetect.copies.agreement import Laid
from memdetect.copies.candidates import Opener, compared, of_picture
from memdetect.copies.compared import plain
from memdetect.copies.embedders import load_embedder
from memdetect.copies.index import BuildOptions, Index, Row, build_index, open_index
from memdetect.copies.match import CHANGED, GONE, ONE_COLOUR, Match
from memdetect.copies.matching import decide, evidence, look_up_files
from memdetect.copies.overlap import placed

EMBEDDER = load_embedder("pdq-tiles")
SIDE = 160


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("laid")
    (folder / "images").mkdir()
    for seed in range(30):
        texture(seed, SIDE).save(folder / "images" / f"{seed:02d}.png")
    Image.new("RGB", (SIDE, SIDE), "white").save(folder / "images" / "white.png")
    build_index([folder / "images"], EMBEDDER, folder / "i", BuildOptions(level=0.05, planted=0))
    return folder


@pytest.fixture
def index(folder: Path) -> Index:
    return open_index(folder / "i")


def zoomed(picture: Image.Image, share: float, across: float, down: float) -> Image.Image:
    x, y = picture.width * (1 - share) * across, picture.height * (1 - share) * down
    box = (x, y, x + picture.width * share, y + picture.height * share)
    return picture.resize(picture.size, Image.Resampling.LANCZOS, box=box)


def looked(images: list[Image.Image], index: Index) -> list[tuple[str, str]]:
    found = evidence(images, index, EMBEDDER, 1)
    own = [[match for match in found if match.seed == k] for k in range(len(images))]
    outcomes = [decide(matches, index)[0] for matches in own]
    named = [next((m.key for m in matches if m.copy_found or m.partial_found), "") for matches in own]
    return [(outcome, Path(key).stem) for outcome, key in zip(outcomes, named, strict=True)]


def test_changed_copies_are_copies_of_their_originals(index):
    seven = texture(7, SIDE)
    wide = Image.new("RGB", (2 * SIDE, SIDE), "white")
    wide.paste(seven, (SIDE // 2, 0))
    images = [
        seven,
        ImageOps.mirror(seven),
        zoomed(seven, 0.8, 0.2, 0.9),
        ImageOps.mirror(zoomed(seven, 0.9, 1, 0)),
        seven.rotate(0, translate=(12, -9)),
        seven.convert("L").convert("RGB"),
        ImageEnhance.Contrast(seven).enhance(0.5),
        wide,
    ]
    assert looked(images, index) == [("copy", "07")] * len(images)


def test_what_the_first_of_several_frames_repeats_stands(index, tmp_path):
    """Whole or in part; only where it repeats nothing may a later frame be the copy."""
    part, other = texture(7, SIDE), texture(99, SIDE)
    part.paste(other.crop((0, 0, SIDE // 2, SIDE)), (0, 0))
    paths = [tmp_path / f"{name}.webp" for name in ("whole", "part", "new")]
    for path, first in zip(paths, (texture(7, SIDE), part, other), strict=True):
        first.save(path, lossless=True, save_all=True, append_images=[first.rotate(90)])
    assert [each.outcome for each in look_up_files(paths, index, EMBEDDER)] == ["copy", "partial-copy", "inconclusive"]


def test_a_part_that_comes_back_is_a_partial_copy_and_is_shown(index):
    other, image = texture(99, SIDE), texture(7, SIDE)
    image.paste(other.crop((0, 0, SIDE // 2, SIDE)), (0, 0))
    assert looked([image, ImageOps.mirror(image)], index) == [("partial-copy", "07")] * 2
    straight, mirrored = (
        next(m for m in evidence([one], index, EMBEDDER, 1) if m.partial_found)
        for one in (image, ImageOps.mirror(image))
    )
    for match, sign in ((straight, 1), (mirrored, -1)):
        assert match.region == pytest.approx((0.5, 0, 1, 1), abs=0.08)
        assert match.affine is not None
        assert match.affine[0] == pytest.approx(sign, abs=0.02)
        assert match.p_agreed == pytest.approx(1 / (len(index._agreed) + 1))


def test_the_structure_of_a_part_in_other_colours_all_over_is_none(index):
    """A light that changes is borne with; colours that are others in each window are not."""
    image = texture(7, SIDE)
    image.paste(texture(99, SIDE).crop((0, 0, SIDE // 2, SIDE)), (0, 0))
    darker = Image.eval(image, lambda value: max(0, value - 40))
    assert looked([darker], index) == [("partial-copy", "07")]
    red, green, blue = image.split()
    light = ImageOps.invert(image.convert("L"))
    assert (
        looked([Image.merge("RGB", (light, light, light)), Image.merge("RGB", (blue, red, green))], index)
        != [("partial-copy", "07")] * 2
    )


def test_a_picture_of_little_contrast_that_came_back_whole_is_a_copy(tmp_path, folder):
    """A sixth of it has contrast. Where all of that agrees, the pixels are enough, whatever the embedder says."""
    sky = Image.linear_gradient("L").resize((SIDE, SIDE)).point(lambda value: 150 + value // 8).convert("RGB")
    detail, other = texture(90, 44), texture(91, 44)

    def shown(*parts: Image.Image) -> Image.Image:
        made = sky.copy()
        for k, part in enumerate(parts):
            made.paste(part.crop((22 * k, 0, 44, 44)), (40 + 22 * k, 60))
        return made

    shutil.copytree(folder / "images", tmp_path / "images")
    shown(detail).save(tmp_path / "images" / "sky.png")
    index = build_index([tmp_path / "images"], EMBEDDER, tmp_path / "i", BuildOptions(level=0.05, planted=0))
    row = next(k for k in range(len(index)) if index.row(k).key.endswith("sky.png"))
    for view, expected in ((shown(detail), True), (shown(detail, other), False), (shown(other), False), (sky, False)):
        match = Match(rank=1, row=row, key="sky", path=index.row(row).seen_from(str(index.folder)), similarity=0.1)
        (found,) = compared([ImageOps.mirror(view)], [match], Opener(index))
        assert (found.copy_found, found.partial_found) == (expected, False)


def test_other_pictures_are_clear(index):
    assert looked([texture(k, SIDE) for k in (100, 101, 102)], index) == [("clear", "")] * 3


@pytest.mark.parametrize("size", [(SIDE, SIDE), (1, 300), (300, 1)])
def test_one_colour_is_no_copy_of_one_colour(index, size):
    for colour in ("white", "red"):
        found = evidence([Image.new("RGB", size, colour)], index, EMBEDDER, 2)
        assert not any(match.copy_found or match.partial_found or match.similar for match in found)
        assert decide(found, index) == ("clear", ONE_COLOUR)


def test_fine_detail_and_small_things_are_more_than_one_colour():
    fine = Image.fromarray((np.indices((128, 128)).sum(0) % 2 * 255).astype(np.uint8)).convert("RGB")
    dot = Image.new("RGB", (512, 512), "white")
    dot.paste("black", (250, 250, 253, 253))
    noise = np.random.default_rng(0).normal(200, 1, (64, 64, 3)).astype(np.uint8)
    assert [plain(image) for image in (fine, dot, Image.fromarray(noise))] == [False, False, True]


def test_a_white_picture_on_a_transparent_ground_is_found(tmp_path):
    """On white it has one colour; as trainers stored it, it is a picture."""
    images = tmp_path / "images"
    images.mkdir()
    for seed in range(8):
        texture(seed, 64).save(images / f"{seed}.png")
    logo = Image.new("RGBA", (64, 64), (255, 255, 255, 0))
    logo.putalpha(texture(60, 64).convert("L").point(lambda value: 255 if value > 127 else 0))
    logo.save(images / "logo.png")
    index = build_index([images], EMBEDDER, tmp_path / "i", BuildOptions(level=0.2, planted=0))
    (row,) = look_up_files([images / "logo.png"], index, EMBEDDER, 1)
    assert row.outcome == "copy"


def found(match: Match) -> bool:
    return match.copy_found or match.partial_found


def test_how_many_are_shown_decides_nothing(index):
    images = [texture(7, SIDE), texture(100, SIDE)]
    images[1].paste(texture(3, SIDE).crop((0, 0, SIDE * 3 // 4, SIDE)), (0, 0))
    one, ten = (
        [(m.seed, m.key, m.copy_found, m.agreed) for m in evidence(images, index, EMBEDDER, k) if found(m)]
        for k in (1, 10)
    )
    assert one == ten
    assert len(one) >= 2


def test_any_proportions_end_without_a_false_copy(index):
    for size in ((1, 300), (2000, 40), (33, 31)):
        outcomes = {outcome for outcome, _ in looked([texture(100, SIDE).resize(size)], index)}
        allowed = {"inconclusive"} if size == (1, 300) else {"clear", "similar"}  # a line has no code
        assert outcomes <= allowed


def test_a_neighbour_that_is_gone_or_changed_leaves_a_part_possible(tmp_path, folder):
    images = tmp_path / "images"
    images.mkdir()
    for seed in range(8):
        texture(seed, 64).save(images / f"{seed}.png")
    index = build_index([images], EMBEDDER, tmp_path / "i", BuildOptions(level=0.2, planted=0))
    assert looked([texture(100, 64)], index)[0][0] == "clear"
    for broken, note in ((lambda p: texture(50, 64).save(p), CHANGED), (lambda p: p.unlink(), GONE)):
        broken(images / "3.png")
        found = evidence([texture(100, 64)], open_index(tmp_path / "i"), EMBEDDER, 1)
        assert decide(found, index) == ("inconclusive", f"may repeat a part of one: {note}")
        assert [match.note for match in found if match.unseen] == [note]


def test_a_crop_tells_its_place_in_the_whole_picture():
    row = Row(key="k", path="p", sha256="0" * 64, width=400, height=200, crop=(100, 0, 300, 200))
    affine, region = of_picture(Laid((1, 0, 0, 0, 1, 0), 0.5, 0.5, 0.6, (0, 0.5, 1, 1)), row)
    assert placed(affine, 0.25, 0) == (0, 0)
    assert placed(affine, 0.75, 1) == (1, 1)
    assert region == (0.25, 0.5, 0.75, 1)
