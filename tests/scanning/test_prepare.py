"""Which detectors decide, and how they become one: what would be ignored is refused in one line."""

from typing import Any

import pytest

from memdetect.adapters import Card, load
from memdetect.detectors import find
from memdetect.errors import Exit, MemdetectError
from memdetect.inputs.options import Probing, Sampling
from memdetect.scanning.prepare import Options, deciding, prepare

MEASURED = find(("spikiness", "agreement"))
BOTH = ("spikiness", "agreement")


@pytest.mark.parametrize(
    ("card", "probing", "expected"),
    [
        ((), {}, ["spikiness"]),
        ((), {"combine": BOTH, "by": "sum"}, list(BOTH)),
        (BOTH, {"by": "sum"}, list(BOTH)),
        (BOTH, {"detectors": BOTH}, ["spikiness"]),
    ],
)
def test_who_decides(card: tuple[str, ...], probing: dict[str, Any], expected: list[str]) -> None:
    assert deciding(Card(combine=card), Options(probing=Probing(**probing)), MEASURED) == expected


@pytest.mark.parametrize("probing", [{}, {"combine": ("agreement",)}, {"detectors": BOTH}])
def test_a_sum_of_one_is_refused(probing: dict[str, Any]) -> None:
    """It would be recorded in the plan and change nothing."""
    with pytest.raises(MemdetectError, match=r"combine-by is 'sum', and '\w+' alone decides; give --combine") as caught:
        deciding(Card(), Options(probing=Probing(**probing, by="sum")), MEASURED)
    assert (caught.value.exit, "\n" in str(caught.value)) == (Exit.USAGE, False)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"steps": 1001}, "fails before its first step"),
        ({"steps": 10**9}, "steps is 1000000000, expected at most 1,000,000"),
        ({"num_seeds": 10**6}, "num_seeds is 1000000, expected at most 65,536"),
        ({"call": {"height": 33, "width": 33}}, "fails with the arguments height, width of --call"),
    ],
    ids=["steps", "many steps", "seeds", "size"],
)
def test_settings_that_no_run_can_have_are_refused_at_the_door(pipe, asked, said):
    """With one image a prompt only detectors of finished images are usual: the run itself is tried all the same."""
    sampling = Sampling(**{"num_seeds": 1, "steps": 2, **asked})
    with pytest.raises(MemdetectError, match=said) as refused:
        prepare(load(pipe), Options(sampling=sampling))
    assert refused.value.exit == 2
