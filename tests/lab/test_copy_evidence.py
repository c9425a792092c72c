"""The figures of what an index finds: counted by hand on a world of eight images."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from synthetic_runs import plan_of

from memdetect.cli import run as memdetect
from memdetect.copies.match import Match
from memdetect.files import write_atomic
from memdetect.lab.world import copy_evidence, recipe
from memdetect.lab.world.labelled import Counts
from memdetect.runs.folder import RunFolder
from memdetect.runs.header import Header
from memdetect.runs.records import Measurement

COUNTS = Counts(exposures={0: 1, 3: 2}, verbatim=0, verbatim_controls=1, templates=0, clean=2)
NAMES = ("ball", "block", "disc", "ring", "stone", "tile", "red-box", "cone", "cube", "dome", "egg", "fir", "gem",
         "hat", "ink", "jug", "key", "log")  # fmt: skip


@pytest.fixture
def world(tmp_path: Path) -> Path:
    pictures = tmp_path / "mine"
    pictures.mkdir()
    for i, name in enumerate(NAMES):
        Image.new("RGBA", (40, 30 + i), (14 * i, 255 - 14 * i, 120, 255)).save(pictures / f"{name}.png")
    made, stock = recipe.find_world(pictures, 5, COUNTS)
    recipe.write_world(tmp_path / "world", made, stock, pictures)
    return tmp_path / "world"


PLAN = {
    **{"inputs": "", "model": "m", "dtype": "fp32", "seed": 0, "num_seeds": 1, "steps": 1, "guidance_scale": 1.0},
    **{"detectors": ["spikiness"], "layers": ["up"], "timesteps": [50]},
}


def match(seed: int, key: str, copied: bool, similar: bool, rank: int = 1) -> Match:
    return Match(seed=seed, rank=rank, key=key, similarity=0.9, similar=similar, copy_found=copied)


def make_run(folder: Path, items, index: dict) -> Path:
    """A finished run: id -> images, matches."""
    run = RunFolder(folder)
    (folder / "shards").mkdir(parents=True)
    (folder / "images").mkdir()
    rows = []
    for i, (name, images, matches) in enumerate(items):
        files = [f"images/{i:07d}-{k}.png" for k in range(len(images))]
        for file, image in zip(files, images, strict=True):
            Image.fromarray(image).save(folder / file)
        rows.append(Measurement(index=i, id=name, prompt="a", source="p", files=files, matches=matches))
    run.write_shard(0, rows)
    header = Header(
        memdetect="0", created="", model="m", versions={}, plan=plan_of(**PLAN), planned=len(rows), index=index
    )
    write_atomic(folder / "run.json", header.model_dump_json())
    return folder


@pytest.fixture
def run(world, tmp_path) -> Path:
    made, stock = recipe.read_world(world)
    one, two = (e for e in made.labelled if e.group == "duplicated")
    control = next(e for e in made.labelled if e.group == "control")
    clean = made.clean[0]
    blank = np.zeros((64, 64, 3), np.uint8)
    items = [
        # reproduced and found; reproduced but the wrong original; none, but called a copy; none
        (one.id, [stock.image(one), stock.image(one), blank, blank],
         [match(0, one.id, True, True), match(1, two.id, True, True), match(2, two.id, True, True),
          match(3, two.id, False, True)]),
        # reproduced, but the right original only at rank 2
        (two.id, [stock.image(two)], [match(0, one.id, False, True), match(0, two.id, True, True, rank=2)]),
        # never trained: its own rendering is no copy of anything that was
        (control.id, [stock.image(control), blank], [match(0, one.id, False, False)]),
        (clean.id, [blank, blank], [match(0, one.id, True, True), match(1, one.id, False, True)]),
    ]  # fmt: skip
    return make_run(tmp_path / "run", items, {"digest": "x", "rows": 3})


def test_hand_counts(world, run):
    groups = copy_evidence.count(world, [run])
    duplicated = {
        "all": 5,
        "reproduced": 3,
        "found": 1,
        "named": 2,
        "called": 4,
        "called, not reproduced": 1,
        "parts": 0,
        "similar": 5,
    }
    assert groups["duplicated"].images == duplicated
    assert groups["duplicated"].prompts == {
        **dict.fromkeys(duplicated, 2),
        "found": 1,
        "called, not reproduced": 1,
        "parts": 0,
    }
    none = dict.fromkeys(duplicated, 0)
    assert groups["control"].images == {**none, "all": 2}
    assert groups["seen"].images == {**none, "all": 2, "called": 1, "called, not reproduced": 1, "similar": 2}


def test_the_table(world, run, capsys):
    assert memdetect(["lab", "copy-evidence", str(world), str(run)]) == 0
    out = capsys.readouterr().out
    assert "| duplicated | images | 3 of 5 (0.600) [0.147, 0.947] | 1 of 3 (0.333) [0.008, 0.906] |" in out
    assert "| control | images | 0 of 2 (0.000) [0.000, 0.842] | none |" in out
    assert "none of their own original: 2 of 5." in out


def test_runs_that_say_nothing_of_an_index_are_refused(world, run, tmp_path, capsys):
    blank = np.zeros((64, 64, 3), np.uint8)
    without = make_run(tmp_path / "without", [("x", [blank], [])], {})
    other = make_run(tmp_path / "other", [("x", [blank], [])], {"digest": "x", "rows": 3})
    for folder, reason in ((without, "no index was searched"), (other, "no prompt of this world")):
        assert memdetect(["lab", "copy-evidence", str(world), str(folder)]) == 2
        assert reason in capsys.readouterr().err
