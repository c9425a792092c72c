"""What is left of a copy that people say is none: the item as if its images were similar, with other pixels."""

from collections.abc import Mapping, Sequence

from memdetect.copies.match import Match, uncopied
from memdetect.judging.deciding import Bar, outcome_of
from memdetect.judging.results import Items, Told
from memdetect.judging.rows import Row
from memdetect.runs.records import COPIES


class Lifted(Row):
    """A row whose training images are repeated by none of its images."""

    __slots__ = ()

    @property
    def matches(self) -> Sequence[Match]:
        """The training images by which an outcome is told, those that were repeated as similar ones."""
        return uncopied(super().matches)


def beneath(items: Items, bar: Bar) -> Mapping[int, Told]:
    """What is left of copies, whole or in part, that people say are none, by the place of the item.

    Never better than `similar`: that is what the images are still.
    """
    found: dict[int, Told] = {}
    for place in items.rows.decisions:
        item = items[place]
        if item.outcome in COPIES and item.lifted:
            outcome, reason = outcome_of(Lifted(items.rows, place), item.ranked, item.p, item.rejected, bar)
            found[place] = ("similar" if outcome == "clear" else outcome, reason)
    return found
