"""Columns of values, for as many items as there may be: numbers in arrays, texts in one, equal values once."""

from array import array
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from math import isnan, nan
from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")
U = TypeVar("U")
N = TypeVar("N", int, float)
H = TypeVar("H", bound=Hashable)
PIECE = 16_384  # values of a column that are in one piece of memory
PARTS = 64  # in which many values are counted, so that the distinct ones of a part alone are in memory as objects


class Pieces(Generic[T]):
    """Values in their order, in pieces of `PIECE`: nothing large is moved as they grow, which would leave holes.

    new: an empty piece, an array or a list.
    """

    def __init__(self, new: Callable[[], Any]) -> None:
        self._new, self._pieces = new, [new()]

    def append(self, value: T) -> None:
        """Add the next value."""
        last = self._pieces[-1]
        if len(last) == PIECE:
            last = self._new()
            self._pieces.append(last)
        last.append(value)

    def __iter__(self) -> Iterator[T]:
        return chain.from_iterable(self._pieces)

    def __len__(self) -> int:
        return PIECE * (len(self._pieces) - 1) + len(self._pieces[-1])

    def __getitem__(self, index: int) -> T:
        index += len(self) if index < 0 else 0
        return self._pieces[index // PIECE][index % PIECE]


class _Text(Sequence[str | None]):
    """A piece of texts, or None: their bytes and 5 more each; 9 where they take more than 4 GB."""

    def __init__(self) -> None:
        self._data, self._ends, self._there = bytearray(), array("I"), bytearray()

    def append(self, text: str | None) -> None:
        self._data += b"" if text is None else text.encode("utf-8", "surrogatepass")
        try:
            self._ends.append(len(self._data))
        except OverflowError:
            self._ends = array("Q", [*self._ends, len(self._data)])
        self._there.append(text is not None)

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> str | None: ...
    @overload
    def __getitem__(self, index: slice) -> list[str | None]: ...
    def __getitem__(self, index: int | slice) -> str | list[str | None] | None:
        if isinstance(index, slice):
            return [self[place] for place in range(len(self))[index]]
        if not self._there[index]:
            return None
        start = self._ends[index - 1] if index else 0
        return self._data[start : self._ends[index]].decode("utf-8", "surrogatepass")


class Texts(Pieces[str | None]):
    """Texts, or None, in their order: their bytes and 5 more each."""

    def __init__(self) -> None:
        super().__init__(_Text)


class Numbers(Sequence[float | None]):
    """Finite numbers, or None, in their order: 8 bytes each."""

    def __init__(self, values: Iterable[float | None] = ()) -> None:
        self._held = Pieces[float](partial(array, "d"))
        for value in values:
            self.append(value)

    def append(self, value: float | None) -> None:
        """Add the next number."""
        self._held.append(nan if value is None else value)

    def __iter__(self) -> Iterator[float | None]:
        return (None if value != value else value for value in self._held)

    def __len__(self) -> int:
        return len(self._held)

    @overload
    def __getitem__(self, index: int) -> float | None: ...
    @overload
    def __getitem__(self, index: slice) -> list[float | None]: ...
    def __getitem__(self, index: int | slice) -> float | list[float | None] | None:
        if isinstance(index, slice):
            return [self[place] for place in range(len(self))[index]]
        return None if isnan(value := self._held[index]) else value


class Codes(Generic[H]):
    """Values of which many are equal, in their order: 4 bytes each, and every distinct one once."""

    def __init__(self, values: Iterable[H] = ()) -> None:
        self._numbers, self._values, self._codes = dict[H, int](), list[H](), Pieces[int](partial(array, "I"))
        for value in values:
            self.append(value)

    def append(self, value: H) -> None:
        """Add the next value."""
        number = self._numbers.setdefault(value, len(self._values))
        if number == len(self._values):
            self._values.append(value)
        self._codes.append(number)

    @property
    def distinct(self) -> Sequence[H]:
        """Every value once, in the order in which they came first."""
        return self._values

    def mapped(self, made: Sequence[U]) -> Iterator[U]:
        """What is made of each value, of what is made of each distinct one."""
        return map(made.__getitem__, self._codes)

    def __iter__(self) -> Iterator[H]:
        return map(self._values.__getitem__, self._codes)

    def __len__(self) -> int:
        return len(self._codes)

    def __getitem__(self, index: int) -> H:
        return self._values[self._codes[index]]


@dataclass(frozen=True, slots=True)
class Filtered(Generic[T]):
    """Those of some items that a condition holds for, found anew each time that they are gone through."""

    items: Iterable[T]
    holds: Callable[[T], bool]

    def __iter__(self) -> Iterator[T]:
        return (item for item in self.items if self.holds(item))

    def __len__(self) -> int:
        return sum(1 for _ in self)


@dataclass(slots=True)
class Shared(Generic[T]):
    """Keeps one object for the same parts, and those alive: of the first `most` that are asked for."""

    most: int = 4096
    _held: dict[tuple[int, ...], T] = field(default_factory=dict[tuple[int, ...], T])

    def of(self, value: T, *parts: object) -> T:
        """The object kept for these very parts, or `value`, which has to hold them."""
        key = tuple(map(id, parts))
        if len(self._held) >= self.most:
            return self._held.get(key, value)
        return self._held.setdefault(key, value)


def distinct(texts: Callable[[], Iterable[str]]) -> int:
    """How many texts are distinct; of each 8 bytes are in memory, its hash.

    Where two hashes of a part are equal, the texts of that part are gone through anew: unequal ones may have one hash.
    """
    count = 0
    for part, hashes in enumerate(parted("q", map(hash, texts()))):
        found = len(set(hashes))
        if found < len(hashes):
            found = len({text for text in texts() if _part(hash(text)) == part})
        count += found
    return count


def parted(code: str, values: Iterable[N], by: Callable[[N], Hashable] | None = None) -> Sequence[Sequence[N]]:
    """Numbers in parts, equal ones in one; code: their type as an array names it; by: what has to be in one part."""
    parts = [array(code) for _ in range(PARTS)]
    for value in values:
        parts[_part(by(value) if by else value)].append(value)
    return parts


def _part(value: Hashable) -> int:
    return hash(value) % PARTS
