"""Which detectors decide, and how they become one: what would be ignored is refused in one line."""

from typing import Any

import pytest

from memdetect.adapters import Card
from memdetect.detectors import find
from memdetect.errors import Exit, MemdetectError
from memdetect.inputs.options import Probing
from memdetect.scanning.prepare import Options, deciding

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
