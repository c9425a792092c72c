"""Which labelled items are compared: the group that should score high, its rivals, and on which of their items."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

from memdetect.errors import MemdetectError
from memdetect.files import read_text
from memdetect.inputs.wording import FAMILY_COLUMN

FEWEST = 2  # items of a group, below which nothing is said of it
Way = TypeVar("Way")


@runtime_checkable
class Item(Protocol):
    """What is labelled: a request before a scan, a measurement after it."""

    @property
    def id(self) -> str:
        """Its id."""
        ...

    @property
    def meta(self) -> Mapping[str, Any]:
        """The columns of its input: `group`, and where known `family` and `part`."""
        ...


@dataclass(frozen=True, slots=True)
class Question:
    """What is compared: a group that should score high, and those beside it that should not.

    rivals: () = every other group, in the order of the items; a cell is chosen against the first. tuning, test: parts
    that are the tuning and the test split; items of other parts are in neither.
    """

    positive: str
    rivals: tuple[str, ...] = ()
    tuning: tuple[str, ...] = ()
    test: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Labels:
    """Group and family of every id, the groups that are compared, and the part of ids that have one.

    Items of one family are not independent of each other: they are drawn, shuffled and counted together.
    """

    groups: Mapping[str, str]
    parts: Mapping[str, str]
    families: Mapping[str, str]
    question: Question

    @property
    def positive(self) -> str:
        """The group that should score high."""
        return self.question.positive

    @property
    def rivals(self) -> tuple[str, ...]:
        """The groups to compare with: those asked for, else every other one with enough items."""
        counts = Counter(self.groups.values())
        return self.question.rivals or tuple(g for g, n in counts.items() if g != self.positive and n >= FEWEST)

    def count(self, group: str, ids: AbstractSet[str] | None = None) -> int:
        """How many items a group has, all or among the given ids."""
        return sum(own == group and (ids is None or name in ids) for name, own in self.groups.items())

    def splits(self) -> tuple[set[str], set[str]]:
        """Ids of the tuning and of the test split, by their parts where these are asked for, else by their families."""
        if not (self.question.tuning or self.question.test):
            return splits(self.groups, self.families)
        sides = (self.question.tuning, self.question.test)
        tuning, test = ({name for name, part in self.parts.items() if part in side} for side in sides)
        return tuning, test


def splits(groups: Mapping[str, str], families: Mapping[str, str] | None = None) -> tuple[set[str], set[str]]:
    """Ids of the tuning and of the test split, from id -> group and id -> family: whole families, see `deal`.

    So the families of every group are split in two, whatever their order; of an odd number the test split has one more.
    families: None = each item is a family of its own.
    """
    named = families or {name: name for name in groups}
    held: dict[str, set[str]] = {}
    for name, group in groups.items():
        held.setdefault(named[name], set()).add(group)
    tunes = deal(held, lambda _: (False, True))
    tuning = {name for name in groups if tunes[named[name]]}
    return tuning, set(groups) - tuning


def deal(families: Mapping[str, AbstractSet[str]], ways: Callable[[tuple[str, ...]], Sequence[Way]]) -> dict[str, Way]:
    """Whole families dealt out in turn, in the order of a sha256, those of the same groups by themselves.

    families: the groups of each. ways: where those of these groups go, in turn.
    """
    dealt: dict[str, Way] = {}
    kinds = {family: tuple(sorted(groups)) for family, groups in families.items()}
    for kind in sorted(set(kinds.values())):
        own = sorted((family for family, other in kinds.items() if other == kind), key=hashed)
        turns = ways(kind)
        dealt |= {family: turns[k % len(turns)] for k, family in enumerate(own)}
    return dealt


def hashed(name: str) -> bytes:
    """The sha256 of a name: an order that nobody chose."""
    return hashlib.sha256(name.encode()).digest()


def item_family(name: str, row: Mapping[str, Any]) -> str:
    """The family of an item with these columns: that of its column, else the item itself."""
    family = row.get(FAMILY_COLUMN)
    return name if _blank(family) else str(family)


def labels_of(items: Iterable[Item], truth: Path | None, question: Question) -> Labels:
    """Group, family and part of every item: from the truth file (JSON lines with id and group), else its own columns.

    Raises MemdetectError where an item has no group, or fewer than two are of a group that is asked for.
    """
    given = _read(truth) if truth else {}
    found = {item.id: given.get(item.id, item.meta) for item in items}
    for name, row in found.items():
        if _blank(row.get("group")):
            raise MemdetectError(f"item {name} has no group; give prompts labelled by a column `group`")
    parts = {name: str(row["part"]) for name, row in found.items() if not _blank(row.get("part"))}
    families = {name: item_family(name, row) for name, row in found.items()}
    labels = Labels({name: str(row["group"]) for name, row in found.items()}, parts, families, question)
    _check_groups(labels)
    return labels


def check_splits(labels: Labels, ids: AbstractSet[str] | None = None) -> None:
    """Refuse splits with fewer than two items of the positive group or its first rival; MemdetectError.

    ids: those that were measured; None = all.
    """
    have = sorted(set(labels.parts.values()))
    if have and not (labels.question.tuning and labels.question.test):
        raise MemdetectError(
            f"the items have the parts {_listed(have)}; say which are the tuning split (--tuning-part) and "
            "which the test split (--test-part)"
        )
    pair = (labels.positive, labels.rivals[0])
    for use, own in zip(("tuning split", "test split"), labels.splits(), strict=True):
        if min(labels.count(group, own if ids is None else own & ids) for group in pair) < FEWEST:
            said = f"the {use} has fewer than two items of {pair[0]} or of {pair[1]}"
            raise MemdetectError(f"{said}; families stay whole: give items of more families")


def _check_groups(labels: Labels) -> None:
    """Refuse groups that nobody has, or almost nobody."""
    have = list(dict.fromkeys(labels.groups.values()))
    if labels.positive in labels.rivals:
        raise MemdetectError(f"{labels.positive} is compared with itself; give another --against")
    for group in (labels.positive, *labels.rivals):
        if labels.count(group) < FEWEST:
            raise MemdetectError(f"fewer than two items are of the group {group}; the groups are {_listed(have)}")
    if not labels.rivals:
        raise MemdetectError(f"no group beside {labels.positive} has two items; the groups are {_listed(have)}")


def _listed(names: Sequence[str], most: int = 10) -> str:
    return ", ".join([*names[:most], *(["..."] if len(names) > most else [])])


def _blank(value: Any) -> bool:
    return value is None or value == ""


def _read(truth: Path) -> dict[str, dict[str, Any]]:
    """Rows of a truth file by id, of those that have a group."""
    found: dict[str, dict[str, Any]] = {}
    for number, line in enumerate(read_text(truth).splitlines(), 1):
        try:
            row = json.loads(line) if line.strip() else {}
            found |= {str(row["id"]): row} if "group" in row else {}
        except (ValueError, KeyError, TypeError):
            raise MemdetectError(f"{truth}:{number} is no JSON object with an id and a group; correct it") from None
    return found
