"""Columns of values, for as many items as there may be: numbers in arrays, texts in one, equal values once."""

from array import array
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import isnan, nan
from typing import Generic, TypeVar, overload

T = TypeVar("T")
U = TypeVar("U")
N = TypeVar("N", int, float)
H = TypeVar("H", bound=Hashable)
PARTS = 64  # in which many values are counted, so that the distinct ones of a part alone are in memory as objects


class Texts:
    """Texts, or None, in their order: their bytes and 9 more each."""

    def __init__(self) -> None:
        self._data, self._ends, self._there = bytearray(), array("Q"), bytearray()

    def append(self, text: str | None) -> None:
        """Add the next text."""
        self._data += b"" if text is None else text.encode("utf-8", "surrogatepass")
        self._ends.append(len(self._data))
        self._there.append(text is not None)

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: int) -> str | None:
        if not self._there[index]:
            return None
        start = self._ends[index - 1] if index else 0
        return self._data[start : self._ends[index]].decode("utf-8", "surrogatepass")


class Numbers(Sequence[float | None]):
    """Finite numbers, or None, in their order: 8 bytes each."""

    def __init__(self, values: Iterable[float | None] = ()) -> None:
        self._held = array("d", (nan if value is None else value for value in values))

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
            return [None if value != value else value for value in self._held[index]]
        return None if isnan(value := self._held[index]) else value


class Codes(Generic[H]):
    """Values of which many are equal, in their order: 4 bytes each, and every distinct one once."""

    def __init__(self, values: Iterable[H] = ()) -> None:
        self._numbers, self._values, self._codes = dict[H, int](), list[H](), array("I")
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
