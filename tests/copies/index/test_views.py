"""Pictures as training saw them: crops by hand, found as copies, counted once; and no size that ends a build."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from matplotlib import cbook
from PIL import Image
from small_pictures import QUICK, fill, picture

from memdetect.copies.embedders import load_embedder
from memdetect.copies.index import BuildOptions, as_trained, build_index, centre_square
from memdetect.copies.index.near import rimless
from memdetect.copies.index.pictures import row_image
from memdetect.copies.index.recall_check import GEOMETRY, damaged
from memdetect.copies.index.views import AsTrained, boxes, merged, square_at
from memdetect.copies.matching import look_up_files
from memdetect.copies.measures import measure
from memdetect.errors import MemdetectError
from memdetect.inputs.images import centred_box

sides = st.integers(1, 900)


def test_boxes_by_hand():
    assert boxes((100, 100), "random") == boxes((103, 100), "center") == []
    assert boxes((150, 100), "center") == [(25, 0, 125, 100)]
    assert boxes((100, 151), "center") == [(0, 26, 100, 126)]
    many = boxes((160, 128), "random")  # 32 pixels beyond, 4 a step
    assert [box[0] for box in many] == list(range(0, 33, 4))
    assert {(x1 - x0, y1 - y0) for x0, y0, x1, y1 in many} == {(128, 128)}
    assert len(boxes((10_000, 10), "random")) == 65


@given(sides, sides)
def test_random_crops_reach_from_end_to_end_with_the_centre_among_them(width, height):
    many, (centre,) = boxes((width, height), "random"), boxes((width, height), "center") or [None]
    if centre is None:
        assert many == []
        return
    assert centre in many
    assert many[0][:2] == (0, 0)
    assert many[-1][2:] == (width, height)
    starts = [sum(box[:2]) for box in many]
    assert starts == sorted(set(starts))
    if len(many) < 65:
        assert max(np.diff(starts)) <= min(width, height) / 32 + 1


def test_what_the_command_line_takes():
    assert as_trained("512") == as_trained("512,center") == AsTrained(size=512)
    assert as_trained("64,random").text == "64,random"
    for bad in ("", "0", "-5", "12.5", "64,left", "64,", "center", "99999", "64,center,random"):
        with pytest.raises(MemdetectError, match="expected SIZE, SIZE,center or SIZE,random"):
            as_trained(bad)


def test_views_are_merged_by_their_best():
    near = np.array([[0.9, 0.5, -np.inf], [0.7, 0.6, 0.5]])
    assert merged(near, np.array([[3, 1, -1], [1, 3, 0]]), 5) == ([0.9, 0.7, 0.5], [3, 1, 0])
    assert merged(near, np.array([[3, 1, -1], [1, 3, 0]]), 1) == ([0.9], [3])


def photographs(folder: Path) -> list[Path]:
    """Twenty-six pieces of a photograph, 3 to 2 and 2 to 3, none of which overlap."""
    whole = Image.open(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)).convert("RGB")
    folder.mkdir(parents=True)
    places = [(x, y, 90, 60) for y in range(0, 240, 60) for x in range(0, 450, 90)]
    places += [(x, 300, 100, 150) for x in range(0, 500, 100)] + [(0, 450, 225, 150)]
    files = [folder / f"{k:02d}.png" for k in range(len(places))]
    for (x, y, w, h), file in zip(places, files, strict=True):
        whole.crop((x, y, x + w, y + h)).save(file)
    return files


def trained(file: Path, out: Path, place: float = 0.5) -> Path:
    """Cropped square and scaled as trainers do, then a JPEG."""
    image = Image.open(file)
    side, (x, y) = min(image.size), ((length - min(image.size)) * place for length in image.size)
    seen = image.resize((64, 64), Image.Resampling.BICUBIC, box=(x, y, x + side, y + side))
    out.mkdir(exist_ok=True)
    seen.save(out / f"{file.stem}.jpg", quality=85)
    return out / f"{file.stem}.jpg"


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    base = tmp_path_factory.mktemp("photos")
    for file in photographs(base / "train"):
        trained(file, base / "outputs")
        trained(file, base / "anywhere", int(file.stem) / 25)
    return base


def found(folder: Path, index, embedder) -> tuple[int, int]:
    """How many files of a folder are called a copy of the picture of their name, and how many are clear."""
    rows = list(look_up_files(sorted(folder.iterdir()), index, embedder, 1))
    own = [next((m.path for m in row.matches if m.copy_found), "") for row in rows]
    right = sum(Path(path).stem == Path(row.image).stem for path, row in zip(own, rows, strict=True))
    return right, sum(row.outcome == "clear" for row in rows)


@pytest.mark.parametrize("name", ["pdq", "pixels"])
def test_photographs_cropped_as_trainers_do_are_copies(place, name, tmp_path):
    """Of whole pictures not all 26 are found; of what training saw all, and the planted copies say so beforehand."""
    embedder, options = load_embedder(name), BuildOptions(level=0.05)
    whole = build_index([place / "train"], embedder, tmp_path / "whole", options)
    assert found(place / "outputs", whole, embedder)[0] <= 22
    index = build_index([place / "train"], embedder, tmp_path / "i", replace(options, as_trained="64"))
    assert found(place / "outputs", index, embedder) == (26, 0)
    square = index.manifest.geometry["cropped square"]
    assert (square.images, square.copies) == (6, 1.0)
    assert (len(index), index.manifest.pictures) == (52, 26)
    # And the other way round: the photograph itself is given, whole.
    assert found(place / "train", index, embedder) == (26, 0)


def test_crops_from_anywhere_are_found_by_random_ones(place, tmp_path):
    embedder = load_embedder("pixels")
    options = BuildOptions(level=0.05, as_trained="64,center")
    centre = build_index([place / "train"], embedder, tmp_path / "centre", options)
    anywhere = build_index([place / "train"], embedder, tmp_path / "i", replace(options, as_trained="64,random"))
    few, many = (found(place / "anywhere", index, embedder)[0] for index in (centre, anywhere))
    assert few < many - 1
    assert many >= 23


def test_a_photograph_is_found_in_an_index_of_its_square(place, tmp_path):
    """The index holds what was cropped before; the photograph itself is looked up."""
    embedder = load_embedder("pdq")
    index = build_index([place / "outputs"], embedder, tmp_path / "i", BuildOptions(level=0.05))
    assert found(place / "train", index, embedder) == (26, 0)


def test_rows_of_crops_have_their_box_and_others_keep_their_bytes(tmp_path, tiny):
    folder = fill(tmp_path / "images", range(12))
    picture(50, (96, 64)).save(folder / "wide.png")
    options = replace(QUICK, as_trained="32,center")
    index = build_index([folder], tiny, tmp_path / "i", options)
    rows = [index.row(i) for i in range(len(index))]
    assert [row.key for row in rows[-2:]] == ["../images/wide.png#16,0,80,64", "../images/wide.png"]
    assert [row.crop for row in rows] == [None] * 12 + [(16, 0, 80, 64), None]
    lines = (tmp_path / "i" / "rows.jsonl").read_text().splitlines()
    assert [list(json.loads(line)) for line in lines[:1]] == [["key", "path", "caption", "sha256", "width", "height"]]
    assert json.loads(lines[-2])["crop"] == [16, 0, 80, 64]
    assert len({row.key for row in rows}) == len(rows)
    crop, whole = row_image(rows[-2], tmp_path / "i"), row_image(rows[-1], tmp_path / "i")
    assert (crop.size, whole.size) == ((64, 64), (96, 64))
    assert crop.tobytes() == whole.crop((16, 0, 80, 64)).tobytes()
    assert (index.manifest.pictures, index.manifest.count) == (13, 14)


def test_appending_keeps_the_squares_and_counts_pictures(tmp_path, tiny):
    folder, more = fill(tmp_path / "images", range(12)), tmp_path / "more"
    options = replace(QUICK, as_trained="32", training_set=40)
    build_index([folder], tiny, tmp_path / "i", options)
    more.mkdir()
    picture(50, (96, 64)).save(more / "wide.png")
    (more / "again.png").write_bytes((folder / "0000.png").read_bytes())
    append = replace(QUICK, append=True)
    manifest = build_index([more], tiny, tmp_path / "i", append).manifest
    assert (manifest.pictures, manifest.count) == (13, 15)
    assert (manifest.coverage, manifest.training_set_by) == (13 / 40, "--training-set")
    assert manifest.as_trained == as_trained("32,center")
    with pytest.raises(MemdetectError, match=r"made as trained at 32,center, and cannot be continued as .* 64,random"):
        build_index([more], tiny, tmp_path / "i", replace(append, as_trained="64,random"))
    with pytest.raises(MemdetectError, match="is there twice"):
        build_index([more / "wide.png"], tiny, tmp_path / "i", append)


def test_a_key_that_could_be_a_crops_is_refused(tmp_path, tiny):
    fill(tmp_path / "images", range(3))
    (tmp_path / "list.csv").write_text('path,key\nimages/0000.png,"a#0,0,5,5"\n')
    with pytest.raises(MemdetectError, match="ends as those of crops and decodings; rename it"):
        build_index([tmp_path / "list.csv"], tiny, tmp_path / "i", QUICK)


def test_coverage_counts_a_picture_once(tmp_path, tiny):
    """Thirty files of fifteen pictures: half of a training set of thirty, not all of it."""
    folder = fill(tmp_path / "images", range(15))
    for i in range(15):
        (folder / f"again-{i}.png").write_bytes((folder / f"{i:04d}.png").read_bytes())
    manifest = build_index([folder], tiny, tmp_path / "i", replace(QUICK, training_set=30)).manifest
    assert (manifest.count, manifest.pictures, manifest.coverage) == (30, 15, 0.5)
    with pytest.raises(MemdetectError, match="said to have 14 pictures, the index has 15 or more"):
        build_index([folder], tiny, tmp_path / "j", replace(QUICK, training_set=14))


@settings(max_examples=300)
@given(sides, sides, sides, sides)
@example(100, 741, 865, 413)
def test_a_centred_box_never_leaves_the_image(width, height, across, down):
    left, top, right, bottom = centred_box((width, height), (across, down))
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    assert (left, top) == pytest.approx((width - right, height - bottom), abs=1e-9)
    assert min(left, top) == 0
    assert (right - left) * down == pytest.approx((bottom - top) * across, abs=3e-6 * max(across, down))


@settings(max_examples=60)
@given(sides, sides, sides, sides)
@example(100, 741, 865, 413)
@example(1, 900, 900, 1)
def test_no_two_sizes_end_a_comparison(width, height, across, down):
    """865 x 413 beside 100 x 741 was "box offset can't be negative"."""
    one, other = Image.new("RGB", (width, height), "red"), Image.new("RGB", (across, down), "red")
    assert measure(one, other) == (pytest.approx(0, abs=1e-6), pytest.approx(1), True)


def test_narrow_pictures_do_not_end_a_build(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    sizes = [(1, 1), (1, 900), (900, 1), (100, 741), (465, 213), (2, 300), (700, 9), (44, 43), (33, 32), (64, 64)]
    rng = np.random.default_rng(0)
    for k, (w, h) in enumerate(sizes):
        Image.fromarray(rng.integers(0, 256, (h, w, 3), dtype=np.uint8)).save(folder / f"{k}.png")
    for name, squares in (("pixels", None), ("pdq", None), ("pixels", "32,random"), ("pdq", "32,center")):
        embedder = load_embedder(name)
        options = BuildOptions(as_trained=squares or None, replace=True, planted=4, null_queries=30)
        if not (tmp_path / "i").exists():
            options = replace(options, replace=False)
        index = build_index([folder], embedder, tmp_path / "i", options)
        rows = list(look_up_files(sorted(folder.iterdir()), index, embedder))
        assert len(rows) == index.manifest.pictures == len(sizes)
    for w, h in sizes:
        image = Image.new("RGB", (w, h), "red")
        changed = [rimless(image, 1 / 32), damaged(image), *(change(image) for change in GEOMETRY.values())]
        assert all(min(other.size) >= 1 for other in changed if other is not None)
    assert square_at(Image.new("RGB", (90, 30)), 1).size == centre_square(Image.new("RGB", (90, 30))).size == (30, 30)
