"""docs/how-to/add-an-adapter.md and add-a-detector.md do what they say."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import memdetect
from memdetect.adapters import ADAPTERS, Adapter, add_adapter, load
from memdetect.errors import MemdetectError
from memdetect.probing.needs import LAST, Need

HOW_TO = Path(__file__).parents[1] / "docs" / "how-to"
TEXT = (HOW_TO / "add-an-adapter.md").read_text(encoding="utf-8")


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


def test_a_detector_is_added_as_the_page_says(pipe):
    """Its scores are those of clean estimates that are kept whole and compared outside."""

    def deviation(clean):
        return torch.from_numpy(clean.flatten(2).numpy().std(axis=2, ddof=1))

    text = (HOW_TO / "add-a-detector.md").read_text(encoding="utf-8")
    names = {"pipe": pipe}
    exec("\n".join(re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)), names)
    scores = names["scores"]
    assert list(scores) == ["agreement", "contrast"]
    assert scores["contrast"].shape == (2, 4)
    whole = Need(lambda step: step.clean, LAST)
    kept = replace(
        names["CONTRAST"], name="kept", needs=(whole,), score=lambda trace: deviation(trace.output(whole)[0])
    )
    again = memdetect.score(pipe, ["a cat on a mat", "a red dog"], detectors=[kept])
    np.testing.assert_allclose(scores["contrast"], again["kept"], rtol=1e-5)


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
