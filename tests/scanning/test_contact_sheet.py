"""pairs.png: output and training image beside each other, and aligned where one repeats a part of the other."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw
from synthetic_runs import INDEX, header

from memdetect.cli import run
from memdetect.copies.match import Affine, Match
from memdetect.copies.overlay import OUTSIDE, aligned
from memdetect.runs.folder import RunFolder
from memdetect.runs.records import Result
from memdetect.scanning.contact_sheet import (
    GAP,
    PART,
    SIDE,
    TEXT,
    lines_of,
    pairs_of,
    strongest_pairs,
    write_pairs,
)

# The training image is mirrored, and its left 0.75 (seen so: its right) fills the output's width.
MIRRORED: Affine = (-4 / 3, 0, 4 / 3, 0, 1, 0)
REGION = (0.3, 0.1, 0.9, 0.7)


def trained(width: int = 120, height: int = 80) -> Image.Image:
    """A training image whose quarters differ, with a disc that is off the centre."""
    image = Image.new("RGB", (width, height), (40, 90, 160))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, width // 4, height), fill=(230, 200, 60))
    draw.rectangle((width // 2, height // 2, width, height), fill=(60, 150, 80))
    draw.ellipse((width * 0.55, height * 0.1, width * 0.85, height * 0.6), fill=(220, 60, 60))
    return image


def made(image: Image.Image, affine: Affine, size: tuple[int, int]) -> Image.Image:
    """What an output shows of a training image that lies in it: pixel by pixel, the map solved for the other place."""
    a, b, c, d, e, f = affine
    out = np.full((size[1], size[0], 3), 255, np.uint8)
    pixels = np.asarray(image)
    for row in range(size[1]):
        for column in range(size[0]):
            u, v = (column + 0.5) / size[0], (row + 0.5) / size[1]
            x, y = np.linalg.solve([[a, b], [d, e]], [u - c, v - f])
            if 0 <= x < 1 and 0 <= y < 1:
                out[row, column] = pixels[int(y * image.height), int(x * image.width)]
    return Image.fromarray(out)


def item(folder: Path, name: str, output: Image.Image, original: Image.Image, **changes: Any) -> Result:
    (folder / "images").mkdir(exist_ok=True)
    output.save(folder / f"images/{name}.png")
    original.save(folder / f"{name}-train.png")
    facts = {"affine": MIRRORED, "agreed": 0.36, "region": REGION, "partial_found": True, "tile": 0.4, "ssim": 0.3}
    match = Match(rank=1, key=name, path=str(folder / f"{name}-train.png"), similarity=0.6)
    own = match.model_copy(update={**facts, **changes})
    fields = {"prompt": f"a prompt of {name}", "source": "p.txt", "seeds": [7], "outcome": "partial-copy"}
    return Result(index=0, id=name, files=[f"images/{name}.png"], matches=[own], **fields)


@pytest.mark.parametrize("size", [(96, 96), (64, 128)])
def test_an_output_is_brought_onto_its_training_image(size: tuple[int, int]) -> None:
    """Where the output holds it, the training image is there again; elsewhere all is light grey."""
    image = trained()
    shown = np.asarray(aligned(made(image, MIRRORED, size), image.size, MIRRORED)).astype(int)
    expected = np.asarray(image).astype(int)
    assert shown.shape == expected.shape
    assert np.abs(shown[:, 32:] - expected[:, 32:]).mean() < 6
    assert (shown[:, :28] == OUTSIDE).all()


def sheet(folder: Path, *rows: Result) -> Image.Image:
    path = write_pairs(folder, rows)
    assert path is not None
    return Image.open(path).convert("RGB")


def drawn(image: Image.Image, tile: int, colour: tuple[int, int, int]) -> tuple[int, int, int, int] | None:
    """The box about the pixels of a colour in a picture of the first pair."""
    left = GAP + tile * (SIDE + GAP)
    pixels = np.asarray(image.crop((left, GAP, left + SIDE, GAP + SIDE)))
    rows, columns = np.nonzero((pixels == colour).all(axis=2))
    return (columns.min(), rows.min(), columns.max(), rows.max()) if len(rows) else None


def test_a_mirrored_part_is_shown_as_it_is_and_aligned_with_its_region_in_both(tmp_path: Path) -> None:
    image = trained()
    page = sheet(tmp_path, item(tmp_path, "k", made(image, MIRRORED, (96, 96)), image))
    assert page.size == (3 * SIDE + 4 * GAP, SIDE + TEXT + 2 * GAP)
    assert drawn(page, 0, PART) is None
    # Shares of the training image as it is drawn: 128 pixels wide, 85 high.
    width, height = SIDE - 1, round(SIDE * 80 / 120) - 1
    box = (REGION[0] * width, REGION[1] * height, REGION[2] * width, REGION[3] * height)
    for tile in (1, 2):
        found = drawn(page, tile, PART)
        assert found is not None
        assert found == pytest.approx(box, abs=1)


def test_a_copy_and_what_was_not_aligned_have_no_third_picture(tmp_path: Path) -> None:
    image = trained()
    for changes in ({"affine": None}, {"affine": (0, 0, 0, 0, 1, 0)}, {"affine": (1, 0, 0, 0, 1, 0), "region": None}):
        row = item(tmp_path, "k", image, image, **changes)
        assert sheet(tmp_path, row).size[0] == 2 * SIDE + 3 * GAP
    copy = item(tmp_path, "k", image, image, copy_found=True, partial_found=False)
    page = sheet(tmp_path, copy)
    assert page.size[0] == 3 * SIDE + 4 * GAP  # it was mirrored
    assert drawn(page, 2, PART) is None


def test_copies_come_first_then_parts_by_their_size_then_the_similar(tmp_path: Path) -> None:
    image = trained(30, 20)
    changes = {
        "near": {"partial_found": False, "similarity": 0.99},
        "small": {"agreed": 0.2},
        "copy": {"copy_found": True, "partial_found": False, "similarity": 0.8},
        "large": {"agreed": 0.5},
    }
    rows = [item(tmp_path, name, image, image, **own) for name, own in changes.items()]
    assert [row.id for row, _ in strongest_pairs(rows)] == ["copy", "large", "small", "near"]


def test_every_image_of_an_item_is_shown_with_its_nearest(tmp_path: Path) -> None:
    row = item(tmp_path, "k", trained(30, 20), trained(30, 20))
    (own,) = row.matches
    near = own.model_copy(update={"key": "near", "partial_found": False, "similarity": 0.9})
    row = row.model_copy(update={"matches": [near, own, near.model_copy(update={"seed": 1})]})
    assert [(match.seed, match.key) for _, match in pairs_of(row)] == [(0, "k"), (1, "near")]


def test_explain_draws_an_item(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    RunFolder(tmp_path).open(header(1, index=INDEX))
    row = item(tmp_path, "k", made(trained(), MIRRORED, (96, 96)), trained())
    (tmp_path / "results.jsonl").write_text(row.model_dump_json() + "\n", encoding="utf-8")
    sheet = tmp_path / "k.png"
    assert run(["explain", str(tmp_path), "k", "--pairs", str(sheet)]) == 0
    out, err = capsys.readouterr()
    assert "in part k" in out
    assert "aligned: the training image is mirrored" in out
    assert f"pairs: {sheet}" in err
    with Image.open(sheet) as page:
        assert page.size == (3 * SIDE + 4 * GAP, SIDE + TEXT + 2 * GAP)
    for wrong in (sheet, tmp_path / "k.jpg", tmp_path / "nowhere" / "k.png"):
        assert run(["explain", str(tmp_path), "k", "--pairs", str(wrong)]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1


def test_what_stands_below_a_part(tmp_path: Path) -> None:
    image = trained(30, 20)
    row = item(tmp_path, "k", image, image)
    assert lines_of(row, row.matches[0]) == [
        "part of k",
        "a prompt of k",
        "similarity 0.600, tile 0.400, MS-SSIM 0.300, 36% agrees",
        "aligned: mirrored, enlarged to 115%, cut to 25-100% of its width",
        "seed 7",
    ]


def test_a_training_image_that_is_gone_is_said_to_be(tmp_path: Path) -> None:
    image = trained(30, 20)
    row = item(tmp_path, "k", image, image)
    (tmp_path / "k-train.png").unlink()
    assert sheet(tmp_path, row).size[0] == 2 * SIDE + 3 * GAP
