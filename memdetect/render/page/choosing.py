"""Which items a page shows, of however many there are: so many findings, the worst first, and so many of the others."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice

from memdetect.render.shown import ALL, CLEAR, INCONCLUSIVE, Told, told, worst
from memdetect.runs.records import Result

SHOWN = 500  # findings, and inconclusive items, that are shown in full
LINES = 10_000  # further findings, and clear items, that stand in a table
LIMITS = f"a page holds at most {SHOWN} in full, {LINES:,} in a table, and 20 MB; {ALL}"


@dataclass(frozen=True, slots=True)
class Chosen:
    """Places of the items that a page shows at most, in its order; counts: of all findings, inconclusive and clear.

    found: findings that are shown in full; more: those that stand in a table.
    """

    found: Sequence[int]
    more: Sequence[int]
    unsure: Sequence[int]
    clear: Sequence[int]
    counts: tuple[int, int, int]


def chosen(results: Sequence[Result]) -> Chosen:
    """What a page may show of these results."""

    def first(wanted: Callable[[Told], bool], most: int) -> list[int]:
        return list(islice((place for place, one in enumerate(told(results)) if wanted(one)), most))

    found = worst(results, SHOWN + LINES, lambda one: one.found)
    unsure = first(lambda one: one.order == INCONCLUSIVE and not one.screened, SHOWN)
    left = first(lambda one: one.order == INCONCLUSIVE and one.screened, SHOWN - len(unsure))
    clear = first(lambda one: one.order == CLEAR, LINES)
    counts = [0, 0, 0]
    for one in told(results):
        counts[0 if one.found else 1 if one.order == INCONCLUSIVE else 2] += 1
    return Chosen(found[:SHOWN], found[SHOWN:], sorted([*unsure, *left]), clear, (counts[0], counts[1], counts[2]))
