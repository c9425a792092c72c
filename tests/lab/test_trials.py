"""`memdetect lab pixel-rule` and `embedder-trial`, small, on a world of eighteen plain pictures."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from memdetect.cli import run
from memdetect.lab.training.parts import make_vae
from memdetect.lab.training.pixel_rule import choose
from memdetect.lab.world import recipe
from memdetect.lab.world.labelled import Counts

NAMES = ("ball", "block", "disc", "ring", "stone", "tile", "red-box", "cone", "cube", "dome", "egg", "fir", "gem",
         "hat", "ink", "jug", "key", "log")  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    (folder / "mine").mkdir()
    for i, name in enumerate(NAMES):
        Image.new("RGBA", (40, 30 + i), (14 * i, 255 - 14 * i, 120, 255)).save(folder / "mine" / f"{name}.png")
    counts = Counts(exposures={0: 1, 3: 2}, verbatim=1, verbatim_controls=1, templates=0, clean=2)
    recipe.write_world(folder / "world", *recipe.find_world(folder / "mine", 5, counts), folder / "mine")
    return folder / "world"


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A folder with an autoencoder of random weights."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model")
    make_vae().eval().save_pretrained(folder / "vae")
    return folder


def test_thresholds_lie_between_copies_and_redraws():
    copies = [(np.full(100, 0.1), np.full(100, 0.9)), (np.full(100, 0.2), np.full(100, 0.8))]
    rule = choose(copies, (np.full(100, 0.4), np.full(100, 0.1)))
    assert (rule.tile, rule.ssim) == pytest.approx((0.3, 0.45))


def test_the_pixel_rule_is_chosen_on_the_tuning_split_and_counted_on_the_test_split(world, model, tmp_path, capsys):
    command = ["lab", "pixel-rule", str(model / "vae"), "--count", "9", "--world", str(world)]
    assert run([*command, "--plot", str(tmp_path / "rule.png")]) == 0
    out = capsys.readouterr().out
    assert re.match(r"chosen on 4 scenes: tile <= 0\.\d{3}, ssim >= -?0\.\d{3}; default CopyRule", out)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in out.splitlines()[4:]]
    assert [row[0] for row in rows[-3:]] == ["redraw", "sibling", "clip art, round trip"]
    assert [int(row[1]) for row in rows[:-1]] == [5] * 9
    assert (tmp_path / "rule.png").stat().st_size > 1000


def test_embedders_are_tried_on_fresh_scenes(world, model, capsys):
    command = ["lab", "embedder-trial", str(model), str(model), "--indexed", "12", "--queries", "3", "--strangers", "4"]
    assert run([*command, "pixels", "pdq", "--world", str(world)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("index of 12 scenes\n\n| embedder | what |")
    lines = out.splitlines()[4:]
    assert len(lines) == 22  # for each embedder the threshold, eight kinds of damage, redraws and siblings
    assert re.match(r"\| pixels \| threshold at 0\.001 \| 4 \| \d\.\d{3} \| \|", lines[0])


def test_a_folder_without_an_autoencoder_is_refused(world, tmp_path, capsys):
    assert run(["lab", "pixel-rule", str(tmp_path), "--world", str(world)]) == 2
    assert "holds no autoencoder" in capsys.readouterr().err


def test_too_few_scenes_are_refused(world, model, capsys):
    assert run(["lab", "pixel-rule", str(model / "vae"), "--count", "3", "--world", str(world)]) == 2
    assert "give 4 or more" in capsys.readouterr().err
