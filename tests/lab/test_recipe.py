"""world.json and truth.jsonl: what is written can be made again and checked, and any change is seen."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from memdetect.cli import run
from memdetect.copies.index.sources import listed
from memdetect.errors import MemdetectError
from memdetect.lab.world import recipe
from memdetect.lab.world.labelled import Counts
from memdetect.lab.world.pictures import read_pictures
from memdetect.lab.world.verifying import differences

COUNTS = Counts(exposures={0: 2, 3: 2}, verbatim=2, verbatim_controls=2, templates=1, variants=2, siblings=1,
                template_exposures=4, verbatim_exposures=2, clean=4)  # fmt: skip


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    folder.mkdir()
    for i, name in enumerate(("ball", "block", "disc", "ring", "stone", "tile", "red-box", "cone", "cube", "dome")):
        colour = (25 * i, 255 - 25 * i, 120, 255)
        Image.new("RGBA", (40, 30 + i), colour).save(folder / f"{name}.png")
    return folder


@pytest.fixture
def made(tmp_path: Path, pictures: Path) -> Path:
    world, stock = recipe.find_world(pictures, 5, COUNTS)
    recipe.write_world(tmp_path / "world", world, stock, pictures)
    recipe.write_training(tmp_path / "world", world, stock, 6)
    return tmp_path / "world"


def test_a_world_is_made_again_from_its_folder(made, pictures):
    assert list(differences(made)) == []
    assert recipe.read_world(made)[0] == recipe.find_world(pictures, 5, COUNTS)[0]
    rows = recipe.read_truth(made)
    assert {r.group for r in rows} == {
        "duplicated", "control", "verbatim", "verbatim-control", "template", "template-control"
    }  # fmt: skip
    assert all((made / r.image).exists() for r in rows if r.image)
    assert {r.licence for r in rows if r.group == "verbatim"} == {"public domain"}


def test_the_training_set_shows_each_entry_as_often_as_truth_says(made):
    lines = [json.loads(x) for x in (made / "train" / "metadata.jsonl").read_text().splitlines()]
    truth = {r.caption: r for r in recipe.read_truth(made)}
    for caption, row in truth.items():
        assert sum(x["text"] == caption for x in lines) == row.exposures, row.id
    assert len(lines) == 6 + sum(r.exposures for r in truth.values())
    for line in lines:
        assert (made / "train" / line["file_name"]).exists()


def test_what_was_trained_is_listed_for_an_index(made):
    found = {entry.key: entry for entry in listed([made / "trained.jsonl"])}
    rows = recipe.read_truth(made)
    assert set(found) == {row.id for row in rows if row.exposures}
    for row in rows:
        if row.exposures:
            assert found[row.id].path == made / row.image
            assert found[row.id].caption == row.caption


@pytest.mark.parametrize("change", ["pixel", "caption", "missing", "extra", "twice", "file"])
def test_any_change_of_truth_is_seen(made, change):
    rows = recipe.read_truth(made)
    file = made / rows[0].image
    if change == "pixel":
        pixels = np.asarray(Image.open(file)).copy()
        pixels[3, 4, 1] ^= 1
        Image.fromarray(pixels).save(file)
    elif change == "caption":
        rows[0] = rows[0].model_copy(update={"caption": "another"})
    elif change == "missing":
        rows = rows[1:]
    elif change == "extra":
        rows.append(rows[0].model_copy(update={"id": "pool-999"}))
    elif change == "twice":
        rows.insert(0, rows[0].model_copy(update={"exposures": 99}))
    else:
        file.write_bytes(b"not an image")
    recipe.write_truth(made, rows)
    assert len(list(differences(made))) == 1


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("pictures.jsonl", '"sha256": "', '"sha256": "0'),
        ("trained.jsonl", '"key"', '"name"'),
        ("world.json", '"red-box"', '"box"'),
        ("world.json", '"schema_version": 2', '"schema_version": 9'),
        ("train/metadata.jsonl", "file_name", "name"),
    ],
)
def test_any_change_of_another_file_is_seen(made, name, old, new):
    path = made / name
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    assert [line.partition(":")[0] for line in differences(made)] == [name.partition("/")[0]]


def test_a_training_set_that_shows_less_is_seen(made):
    path = made / "train" / "metadata.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    dropped = next(line for line in lines if "pool" in line)
    path.write_text("".join(line for line in lines if line != dropped))
    next((made / "train").glob("stream-*.png")).unlink()
    name = json.loads(dropped)["file_name"].rpartition("-")[0]
    assert list(differences(made)) == [
        f"train: 1 of {len(lines) - 1} files are missing",
        f"train: {name} is shown 2 times, expected 3",
    ]


def test_every_showing_is_a_file(made):
    """Loaders that count files, as imagefolder did before datasets 3.4, show as much as those that read the lines."""
    rows = [json.loads(line) for line in (made / "train" / "metadata.jsonl").read_text().splitlines()]
    files = sorted(path.name for path in (made / "train").glob("*.png"))
    assert files == sorted(row["file_name"] for row in rows)
    assert len(set(files)) == len(files)
    for row in recipe.read_truth(made):
        own = [made / "train" / r["file_name"] for r in rows if r["text"] == row.caption]
        assert {recipe.pixel_digest(np.asarray(Image.open(path))) for path in own} == ({row.sha256} if own else set())


def test_copies_where_there_are_no_hard_links(tmp_path, pictures, monkeypatch):
    def refused(*_):
        raise OSError("no such links here")

    monkeypatch.setattr(Path, "hardlink_to", refused)
    world, stock = recipe.find_world(pictures, 5, COUNTS)
    recipe.write_world(tmp_path / "other", world, stock, pictures)
    recipe.write_training(tmp_path / "other", world, stock, 1)
    assert list(differences(tmp_path / "other")) == []


def test_a_world_is_written_into_a_new_folder_only(tmp_path, pictures, made):
    recipe.check_new(tmp_path / "new")
    (tmp_path / "w").mkdir()
    recipe.check_new(tmp_path / "w")
    pictures.rename(tmp_path / "w" / "pictures")
    recipe.check_new(tmp_path / "w", tmp_path / "w" / "pictures")
    with pytest.raises(MemdetectError, match="is not empty, it holds 'pictures'"):
        recipe.check_new(tmp_path / "w")
    with pytest.raises(MemdetectError, match="is not empty"):
        recipe.check_new(made)
    (tmp_path / "f").write_text("x")
    with pytest.raises(MemdetectError, match="is a file"):
        recipe.check_new(tmp_path / "f")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("world.json", b"\xff{}", "byte 0 is not UTF-8"),
        ("world.json", b'{"seed": -5}', "seed: Input should be greater than or equal to 0"),
        ("truth.jsonl", b'{"id": "a"}\n', r"truth\.jsonl:1: group: Field required"),
        ("truth.jsonl", b"\xff\n", r"truth\.jsonl:1: byte 0 is not UTF-8"),
    ],
)
def test_damaged_files_are_named_with_the_field(made, name, content, said):
    (made / name).write_bytes(content)
    with pytest.raises(MemdetectError, match=said):
        list(differences(made))


def test_every_picture_is_listed_with_its_source_and_the_digest_of_its_pixels(made):
    world, stock = recipe.read_world(made)
    rows = [json.loads(line) for line in (made / "pictures.jsonl").read_text().splitlines()]
    assert [row["name"] for row in rows] == list(world.names)
    for row in rows:
        pixels = np.asarray(stock.pictures[row["name"]])
        assert pixels.shape == (96, 96, 4)
        assert row["sha256"] == hashlib.sha256(pixels.tobytes()).hexdigest()
        assert row["source"] == "pictures/"


def test_what_was_judged_is_no_difference(made):
    rows = [r.model_copy(update={"seeds": 8, "reproduced": 0.5}) for r in recipe.read_truth(made)]
    recipe.write_truth(made, rows)
    assert list(differences(made)) == []


def test_another_seed_in_world_json_is_refused(made):
    path = made / "world.json"
    path.write_text(path.read_text().replace('"seed": 5', '"seed": 6'))
    with pytest.raises(MemdetectError, match="digest"):
        recipe.read_world(made)


def test_folders_that_are_no_world(tmp_path, made):
    with pytest.raises(MemdetectError, match=r"no world\.json"):
        recipe.read_world(tmp_path)
    with pytest.raises(MemdetectError, match=r"no truth\.jsonl"):
        recipe.read_truth(tmp_path)
    (made / "world.json").write_text("{}")
    with pytest.raises(MemdetectError, match="not a recipe"):
        recipe.read_world(made)
    (made / "truth.jsonl").write_text("{}\n")
    with pytest.raises(MemdetectError, match=r"truth\.jsonl:1"):
        recipe.read_truth(made)


def test_exposures():
    assert recipe.parse_exposures("0:30,1024:120") == {0: 30, 1024: 120}
    for text in ("", "0", "0:1,", "0:1,0:2", "a:b", "0:1;2:3", "-1:4", "5:0", "\u0665:1", f"{10**12}:3"):
        with pytest.raises(MemdetectError, match="no exposures"):
            recipe.parse_exposures(text)


def test_own_pictures_that_cannot_be_used(tmp_path, pictures):
    with pytest.raises(MemdetectError, match=r"no \.png files"):
        recipe.find_world(tmp_path / "nothing", 0, COUNTS)
    (pictures / "Two Words.png").write_bytes((pictures / "ball.png").read_bytes())
    with pytest.raises(MemdetectError, match="no name for a caption"):
        recipe.find_world(pictures, 0, COUNTS)
    (pictures / "Two Words.png").unlink()
    (pictures / "broken.png").write_bytes(b"no")
    with pytest.raises(MemdetectError, match="broken"):
        recipe.find_world(pictures, 0, COUNTS)
    Image.new("RGBA", (9, 9)).save(pictures / "broken.png")
    with pytest.raises(MemdetectError, match=r"broken\.png is transparent all over"):
        recipe.find_world(pictures, 0, COUNTS)
    (pictures / "broken.png").write_bytes((pictures / "ball.png").read_bytes())
    with pytest.raises(MemdetectError, match=r"ball\.png and broken\.png show the same"):
        recipe.find_world(pictures, 0, COUNTS)
    (pictures / "broken.png").rename(pictures / "other.JPG")
    with pytest.raises(MemdetectError, match=r"other\.JPG would be left out"):
        recipe.find_world(pictures, 0, COUNTS)


def test_own_pictures_are_read_upright_and_in_eight_bits(tmp_path):
    ramp = np.linspace(0, 65535, 96).astype(np.uint16)
    Image.fromarray(np.broadcast_to(ramp, (96, 96)).copy()).save(tmp_path / "ramp.png")
    turned = Image.new("RGB", (96, 96), "white")
    turned.paste((0, 0, 0), (0, 0, 96, 48))
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    turned.save(tmp_path / "turned.png", exif=exif)
    half = Image.new("RGBA", (96, 48), (200, 10, 10, 128))
    half.save(tmp_path / "half.png")
    found = read_pictures(tmp_path, 96)
    assert np.asarray(found["ramp"])[0, :, 0].tolist() == pytest.approx(np.linspace(0, 255, 96), abs=1)
    assert found["turned"].getpixel((5, 5)) == (255, 255, 255, 255)
    assert found["half"].getpixel((50, 50)) == (200, 10, 10, 128)
    assert found["half"].getpixel((50, 5))[3] == 0


def test_a_world_of_the_first_pictures():
    assert recipe.first(("a", "b", "c"), 2) == ("a", "b")
    assert recipe.first(("a", "b", "c"), None) == ("a", "b", "c")
    with pytest.raises(MemdetectError, match="4 pictures are asked for, the set has 3; ask for 3 or fewer"):
        recipe.first(("a", "b", "c"), 4)


@pytest.mark.parametrize("given", [["--names", "5"], ["--other-pictures"]])
def test_pictures_of_ones_own_are_not_chosen_among(tmp_path, pictures, given, capsys):
    assert run(["lab", "world", "--out", str(tmp_path / "w"), "--pictures", str(pictures), *given]) == 2
    assert "choose among the package's pictures" in capsys.readouterr().err
    assert not (tmp_path / "w").exists()
