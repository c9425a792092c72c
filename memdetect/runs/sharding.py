"""How the items of a run are cut into shards: a function of the plan alone, on every machine the same."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

from memdetect.errors import MemdetectError

DIGITS = 10  # of the numbers in names of shards and images, which sort as they count up to 10^10


@dataclass(frozen=True)
class Sharding:
    """Items 0 to `items` - 1, cut into shards of `size`.

    turns: the items at which prompts turn into images or back. From the first item, and from each of these, shards of
    `size` items follow each other; the last one before a turn, and the last of all, may be shorter. Shards are
    numbered from 0 in the order of their items, so that no shard holds prompts and images.
    """

    items: int
    size: int
    turns: tuple[int, ...] = ()

    @cached_property
    def _edges(self) -> list[int]:
        return [0, *self.turns, self.items]

    @cached_property
    def _numbers(self) -> list[int]:
        """The number of the first shard of each stretch of one kind, and how many shards there are."""
        lengths = [b - a for a, b in zip(self._edges, self._edges[1:], strict=False)]
        return list(accumulate((-(-length // self.size) for length in lengths), initial=0))

    @property
    def count(self) -> int:
        """How many shards there are."""
        return self._numbers[-1]

    def span(self, number: int) -> range:
        """The items of a shard. Raises IndexError for a number that no shard has."""
        if not 0 <= number < self.count:
            raise IndexError(f"shard {number} of {self.count}")
        stretch = bisect_right(self._numbers, number) - 1
        first = self._edges[stretch] + (number - self._numbers[stretch]) * self.size
        return range(first, min(first + self.size, self._edges[stretch + 1]))

    def holding(self, item: int) -> int:
        """The number of the shard that holds an item."""
        stretch = bisect_right(self._edges, item) - 1
        return self._numbers[stretch] + (item - self._edges[stretch]) // self.size


def turns_of(images: Iterable[bool]) -> Iterator[int]:
    """The items at which prompts turn into images or back; images: of each item whether it is one."""
    before: bool | None = None
    for index, image in enumerate(images):
        if before is not None and image != before:
            yield index
        before = image


def numbered(number: int) -> str:
    """A number as names of shards and images have it."""
    return f"{number:0{DIGITS}d}"


@dataclass(frozen=True, slots=True)
class Rank:
    """One of `world` processes that share a run, counted from 0. Raises MemdetectError for a rank outside of it.

    steals: whether it takes what others have left, once its own share is measured.
    """

    rank: int = 0
    world: int = 1
    steals: bool = True

    def __post_init__(self) -> None:
        if self.world < 1 or not 0 <= self.rank < self.world:
            raise MemdetectError(f"rank {self.rank} of {self.world}, expected a rank from 0 to {self.world - 1}")

    def owns(self, number: int) -> bool:
        """Whether a shard is of its own share."""
        return number % self.world == self.rank

    def takes(self, number: int) -> bool:
        """Whether it measures a shard if nobody else does."""
        return self.steals or self.owns(number)
