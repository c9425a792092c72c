"""Which keys are there twice, and which rows are of one picture: by digests in arrays of 8 and 16 bytes."""

import hashlib
from array import array
from collections.abc import Iterable

import numpy as np
from jaxtyping import Int64

from memdetect.copies.index.rows import Row


class Keys:
    """The keys of an index's rows, in their order; 8 bytes of memory each, and 8 more while they are compared."""

    def __init__(self) -> None:
        self._digests = array("Q")
        self._listing = hashlib.sha256()

    def __len__(self) -> int:
        return len(self._digests)

    def add(self, key: str) -> None:
        """Note the next key."""
        self._digests.frombytes(hashlib.blake2b(_bytes(key), digest_size=8).digest())

    def note(self, key: str) -> None:
        """Take a key into the digest of the list."""
        data = _bytes(key)
        self._listing.update(len(data).to_bytes(8, "little") + data)

    @property
    def listing(self) -> str:
        """sha256 of all keys that were noted, in their order."""
        return self._listing.hexdigest()

    def suspects(self) -> list[int]:
        """Places of keys whose digest another one has, ascending: equal keys are among them, and hardly any others."""
        found = np.frombuffer(self._digests, np.uint64)
        order = np.argsort(found, kind="stable")
        same = found[order[1:]] == found[order[:-1]]
        return np.unique(np.concatenate([order[1:][same], order[:-1][same]])).tolist()


def _bytes(key: str) -> bytes:
    return key.encode(errors="surrogatepass")


def twice(keys: Keys, names: Iterable[str]) -> tuple[tuple[int, int], str] | None:
    """The first key that is there for the second time, with both places; names: all of them once more."""
    wanted = keys.suspects()
    if not wanted:
        return None
    first: dict[str, int] = {}
    places = iter(wanted)
    due = next(places)
    for place, name in enumerate(names):
        if place == due:
            if first.setdefault(name, place) != place:
                return (first[name], place), name
            if (due := next(places, -1)) < 0:
                break
    return None


class Pictures:
    """The pictures that rows are of, by their files' digests, 16 bytes of memory a row."""

    def __init__(self) -> None:
        self._files = array("Q")
        self._others: list[tuple[int, str]] = []  # row and way of further decodings
        self._checked = 0

    def __len__(self) -> int:
        return len(self._files) // 2

    def count(self, rows: Iterable[Row]) -> None:
        """Note the next rows of the index."""
        for row in rows:
            if row.decoded != "white":
                self._others.append((len(self), row.decoded))
            self._files.frombytes(bytes.fromhex(row.sha256[:32]))

    def more_than(self, size: int) -> int:
        """How many distinct pictures there are, if they are more than `size`; else 0. Counts only when they may be."""
        if len(self) <= max(size, self._checked):
            return 0
        found = len(self.first())
        self._checked = len(self) + size - found  # so many rows can be of that many pictures in any case
        return found if found > size else 0

    def first(self) -> Int64[np.ndarray, " picture"]:
        """The first row of each picture, ascending."""
        order, new = self._sorted()
        return np.sort(order[new])

    def ways(self) -> dict[int, list[int]]:
        """First rows of further decodings, by the first row of their picture."""
        if not self._others:
            return {}
        order, new = self._sorted()
        owner = np.empty(len(order), np.int64)
        owner[order] = order[new][np.cumsum(new) - 1]
        found: dict[int, dict[str, int]] = {}
        for row, way in self._others:
            found.setdefault(int(owner[row]), {}).setdefault(way, row)
        return {first: list(rows.values()) for first, rows in found.items()}

    def _sorted(self) -> tuple[Int64[np.ndarray, " row"], np.ndarray]:
        """Rows by picture, each picture's in their order; and where a picture begins."""
        pairs = np.frombuffer(self._files, np.uint64).reshape(-1, 2)
        order = np.lexsort((pairs[:, 1], pairs[:, 0]))
        new = np.ones(len(order), bool)
        new[1:] = (pairs[order[1:]] != pairs[order[:-1]]).any(axis=1)
        return order, new
