"""docs/reference/models.md has a row for every adapter, docs/measured/models.md the operations that are counted."""

import re
from pathlib import Path

import pytest
import torch
from scripts import script

from memdetect.adapters import ADAPTERS, list_points
from memdetect.adapters.points import resolve
from memdetect.detectors import BUILT_IN

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "reference" / "models.md").read_text(encoding="utf-8")
MEASURED = (DOCS / "measured" / "models.md").read_text(encoding="utf-8")
adapters = script("adapters")


def test_every_adapter_and_every_detector_has_its_place():
    listed = re.findall(r"`(\w+Pipeline)`", PAGE.split("## What a detector needs")[0])
    assert set(listed) == set(ADAPTERS)
    assert all(f"`{detector.name}`" in PAGE for detector in BUILT_IN)
    for what, need in (
        ("compare with the branch without a condition", lambda detector: detector.unconditional),
        ("compare the images of one prompt", lambda detector: detector.seeds == "prompt"),
        ("compare with a bank of clean prompts", lambda detector: detector.banked),
        ("need none of these", lambda d: not (d.of_images or d.unconditional or d.banked or d.seeds == "prompt")),
    ):
        (line,) = [line for line in PAGE.splitlines() if what in line]
        assert set(re.findall(r"`([a-z-]+)`", line.split(what)[0])) == {d.name for d in BUILT_IN if need(d)}


@pytest.mark.parametrize("name", ["DiT-XL/2; 256", "DDPM-CIFAR10; 32", "SD 1.4, 1.5; 512"])
def test_the_operations_are_those_counted(name):
    (line,) = [line for line in MEASURED.splitlines() if line.startswith(f"| {name} |")]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    adapter, make = adapters.NETWORKS[name]
    with torch.device("meta"):
        net, call = make()
    points = resolve([cells[5].strip("`")], list_points(net), {})
    whole, ended = (adapters.count(net, call, points, stop=stop) for stop in (False, True))
    assert float(cells[2]) == pytest.approx(whole / 1e12, rel=5e-3)
    assert float(cells[3]) == pytest.approx(ended / 1e12, rel=5e-3)
    assert float(cells[4]) == pytest.approx(ended / whole, abs=6e-3)
    assert ADAPTERS[adapter].aliases["paper"].replace("{mid}", "14") == cells[5].strip("`")
