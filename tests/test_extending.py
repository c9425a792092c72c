"""docs/how-to/add-an-adapter.md and add-a-detector.md do what they say."""

import re
import sys
import tomllib
from dataclasses import fields, replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

import memdetect
from memdetect.adapters import ADAPTERS, Adapter, add_adapter, load
from memdetect.detectors import BUILT_IN, find
from memdetect.detectors.detector import Detector, Seeds
from memdetect.errors import MemdetectError
from memdetect.judging.statistics.combine import of_seeds
from memdetect.probing.needs import LAST, Need

HOW_TO = Path(__file__).parents[1] / "docs" / "how-to"
TEXT = (HOW_TO / "add-an-adapter.md").read_text(encoding="utf-8")
DETECTOR = (HOW_TO / "add-a-detector.md").read_text(encoding="utf-8")


@pytest.fixture
def rows():
    """The rows of adapters are put back."""
    before = dict(ADAPTERS)
    yield
    ADAPTERS.clear()
    ADAPTERS.update(before)


def test_a_row_is_added_in_ten_lines(pipe, rows):
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
    lines = [line for line in code.splitlines() if line.strip()]
    assert len(lines) <= 10
    names = {"pipe": pipe}
    exec(code, names)
    assert names["model"].adapter is ADAPTERS["MyPipeline"]
    assert names["trace"].layers == ("mid_block.resnets.0", "mid_block.resnets.1")


def _blocks(language):
    """The blocks of the page on detectors in a language."""
    return re.findall(rf"```{language}\n(.*?)```", DETECTOR, flags=re.DOTALL)


def test_a_detector_is_added_as_the_page_says(pipe):
    """Its scores are those of clean estimates that are kept whole and compared outside."""

    def deviation(clean):
        return torch.from_numpy(clean.flatten(2).numpy().std(axis=2, ddof=1))

    names = {"pipe": pipe}
    exec("\n".join(_blocks("python")), names)
    scores = names["scores"]
    assert list(scores) == ["agreement", "contrast"]
    assert scores["contrast"].shape == (2, 4)
    whole = Need(lambda step: step.clean, LAST)
    kept = replace(
        names["CONTRAST"], name="kept", needs=(whole,), score=lambda trace: deviation(trace.output(whole)[0])
    )
    again = memdetect.score(pipe, ["a cat on a mat", "a red dog"], detectors=[kept])
    np.testing.assert_allclose(scores["contrast"], again["kept"], rtol=1e-5)


def test_the_package_of_the_page_is_found(tmp_path, monkeypatch):
    """What pip makes of the page's two files: the module, and the entry points beside its metadata."""
    (package,) = map(tomllib.loads, _blocks("toml"))
    (entry,) = package["project"]["entry-points"]["memdetect.detectors"].items()
    (module,) = package["tool"]["setuptools"]["py-modules"]
    (tmp_path / f"{module}.py").write_text(_blocks("python")[0], encoding="utf-8")
    about = tmp_path / f"{module}-0.1.dist-info"
    about.mkdir()
    about.joinpath("METADATA").write_text(f"Metadata-Version: 2.1\nName: {package['project']['name']}\nVersion: 0.1\n")
    about.joinpath("entry_points.txt").write_text("[memdetect.detectors]\n{} = {}\n".format(*entry))
    monkeypatch.syspath_prepend(tmp_path)
    assert module not in sys.modules
    try:
        (found,) = find([entry[0]])
        assert found is sys.modules[module].CONTRAST
        assert found.name not in {each.name for each in BUILT_IN}
    finally:
        sys.modules.pop(module, None)


def test_the_fields_of_a_detector_and_the_values_of_seeds_are_those_of_the_page():
    table, values = DETECTOR.split("| field of the record |")[1].split("\n## ")[0].split("| value |")
    listed = [
        name for row in re.findall(r"^\| (`.+?) \|", table, flags=re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    ]
    assert sorted(listed) == sorted(field.name for field in fields(Detector))
    assert re.findall(r"^\| `\"(\w+)\"`", values, flags=re.MULTILINE) == list(get_args(Seeds))
    assert [of_seeds([4.0, 1.0, 3.0, 2.0], "quartile"), of_seeds([2.0, 1.0], "quartile")] == [3.0, 1.0]


def test_scores_of_ones_own_are_ranked_as_the_page_says():
    names = {}
    exec(_blocks("python")[-1], names)
    assert names["p"] == [0.1, 0.6]
    assert names["found"] == [True, False]
    assert names["area"][0] == pytest.approx((9 + 4) / 18)


def test_the_fields_of_a_row_are_those_of_the_page():
    listed = re.findall(r"^\| `(\w+)` \|", TEXT, flags=re.MULTILINE)
    assert listed == list(Adapter.__dataclass_fields__)


def test_an_unknown_class_is_told_how_to_add_a_row(rows):
    class OtherPipeline:
        pass

    with pytest.raises(
        MemdetectError, match=r"'OtherPipeline' is not supported; .*add_adapter.*docs/how-to/add-an-adapter.md"
    ) as e:
        load(OtherPipeline())
    assert "\n" not in str(e.value)
    with pytest.raises(MemdetectError, match="'FluxPipeline' has a row already"):
        add_adapter(ADAPTERS["FluxPipeline"])
