"""What a bench is asked: which groups are compared with which, and which prompts are of which split."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from memdetect.errors import MemdetectError
from memdetect.evaluation.estimates import Sample
from memdetect.evaluation.groups import deal, hashed
from memdetect.inputs.prompts import Request

Split = Literal["tuning", "calibration", "test"]
SPLITS: tuple[Split, ...] = ("tuning", "calibration", "test")
FEWEST = 2  # prompts of a group in a split, below which nothing is said of it


@dataclass(frozen=True, slots=True)
class Comparison:
    """A group that should score high, and its own controls, which differ from it in nothing but memorization."""

    positive: str
    control: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """Which groups are compared.

    compared: positive groups, each with its controls if there are any. clean: groups of clean prompts. style: groups of
    another kind that nobody memorized, which a detector of memorization tells no better from clean prompts than others.
    dose: groups whose prompts say how often training showed them. parts: values of the column `part` that make a split;
    without any, families are dealt out by hash. at_most: prompts of a group in a split, by group, "" = every other.
    """

    compared: tuple[Comparison, ...]
    clean: tuple[str, ...] = ()
    style: tuple[str, ...] = ()
    dose: tuple[str, ...] = ()
    parts: Mapping[Split, tuple[str, ...]] = field(default_factory=dict[Split, tuple[str, ...]])
    at_most: Mapping[str, int] = field(default_factory=dict[str, int])
    exposures: str = "exposures"

    @property
    def pairs(self) -> tuple[str, ...]:
        """Positive groups and controls."""
        return tuple(dict.fromkeys(g for each in self.compared for g in (each.positive, each.control) if g))

    @property
    def every(self) -> tuple[str, ...]:
        """All groups that are named."""
        return tuple(dict.fromkeys((*self.pairs, *self.clean, *self.style, *self.dose)))

    def check(self) -> None:
        """Refuse a positive group without anything to compare it with, and one that is its own rival."""
        if not self.compared:
            raise MemdetectError("no group is to score high; name it with --compare GROUP or GROUP=CONTROLS")
        for each in self.compared:
            if not (each.control or self.clean):
                raise MemdetectError(
                    f"the group {each.positive} is compared with nothing; give its controls as --compare "
                    f"{each.positive}=CONTROLS, or clean prompts as --clean-group GROUP"
                )
            if each.positive in (each.control, *self.clean, *self.style):
                raise MemdetectError(f"the group {each.positive} is compared with itself; name other controls")


@dataclass(frozen=True, slots=True)
class Labelled:
    """The prompts of a bench by id: group, family, split, text, and how often training showed them, where known."""

    asked: Asked
    groups: Mapping[str, str]
    families: Mapping[str, str]
    splits: Mapping[str, Split]
    texts: Mapping[str, str]
    exposures: Mapping[str, float]

    def ids(self, groups: Sequence[str], split: Split) -> list[str]:
        """Ids of groups in a split, sorted."""
        return sorted(i for i, own in self.splits.items() if own == split and self.groups[i] in groups)

    def sample(self, scores: Mapping[str, float], groups: Sequence[str], split: Split) -> Sample:
        """The scores of groups in a split, of the prompts that have one."""
        kept = [i for i in self.ids(groups, split) if i in scores]
        return Sample([scores[i] for i in kept], [self.families[i] for i in kept])


def labelled_of(items: Sequence[Request], asked: Asked) -> tuple[tuple[Request, ...], Labelled]:
    """The prompts that are needed, in their order, with their labels; `group` and `family` are among their columns.

    Raises MemdetectError where a group that is asked for has too few prompts in a split, or parts are not named.
    """
    asked.check()
    named = {item.id: str(item.meta["group"]) for item in items}
    if absent := next((group for group in asked.every if group not in named.values()), None):
        raise MemdetectError(f"no prompt is of the group {absent}; the groups are {_listed(list(named.values()))}")
    kept = [item for item in items if named[item.id] in asked.every]
    splits = _by_part(kept, asked) if any(asked.parts.values()) else _by_family(_without_parts(kept), asked)
    splits = _thinned(splits, named, asked)
    used = tuple(item for item in kept if _used(named[item.id], splits.get(item.id), asked))
    labels = Labelled(
        asked,
        {item.id: named[item.id] for item in used},
        {item.id: str(item.meta["family"]) for item in used},
        {item.id: splits[item.id] for item in used},
        {item.id: item.prompt or "" for item in used},
        {item.id: value for item in used if (value := _number(item.meta.get(asked.exposures))) is not None},
    )
    _check(labels)
    return used, labels


def _used(group: str, split: Split | None, asked: Asked) -> bool:
    """Whether anything is asked of a group in a split: controls have no calibration, style and dose only a test."""
    wanted = {"tuning": (*asked.pairs, *asked.clean), "calibration": asked.clean, "test": asked.every}
    return split is not None and group in wanted[split]


def _without_parts(items: Sequence[Request]) -> Sequence[Request]:
    """Refuse prompts that have parts which nobody named."""
    if parts := [str(item.meta["part"]) for item in items if item.meta.get("part") not in (None, "")]:
        raise MemdetectError(
            f"the prompts have the parts {_listed(parts)}; say which are the tuning split (--tuning-part), the test "
            "split (--test-part) and, of clean prompts, the calibration split (--calibration-part)"
        )
    return items


def _by_part(items: Sequence[Request], asked: Asked) -> dict[str, Split]:
    own: dict[str, Split] = {part: split for split in SPLITS for part in asked.parts.get(split, ())}
    found: dict[str, Split] = {}
    for item in items:
        split = own.get(str(item.meta.get("part", "")))
        if split:
            found[item.id] = split
    return found


def _by_family(items: Sequence[Request], asked: Asked) -> dict[str, Split]:
    """Whole families dealt out, see `groups.deal`.

    Clean prompts in thirds, which go to each split in turn; groups of style alone to the test split; others in halves.
    """
    groups: dict[str, set[str]] = {}
    for item in items:
        groups.setdefault(str(item.meta["family"]), set()).add(str(item.meta["group"]))
    dealt = deal(groups, lambda kind: _ways(kind, asked))
    return {item.id: dealt[str(item.meta["family"])] for item in items}


def _ways(kind: Sequence[str], asked: Asked) -> tuple[Split, ...]:
    """Where families of these groups go, in turn."""
    if set(kind) <= {*asked.clean}:
        return ("test", "calibration", "tuning")
    return ("test", "tuning") if set(kind) & {*asked.pairs, *asked.clean} else ("test",)


def _thinned(splits: Mapping[str, Split], named: Mapping[str, str], asked: Asked) -> dict[str, Split]:
    """The same with at most so many prompts of each group in each split, those with the smallest sha256 of their id."""
    found: dict[tuple[str, Split], list[str]] = {}
    for name in sorted(splits, key=hashed):
        found.setdefault((named[name], splits[name]), []).append(name)
    most = {key: asked.at_most.get(key[0], asked.at_most.get("", len(own))) for key, own in found.items()}
    return {name: key[1] for key, own in found.items() for name in own[: most[key]]}


def _check(labels: Labelled) -> None:
    """Refuse groups of which a split that speaks for them has fewer than two prompts."""
    asked = labels.asked
    sides = {"tuning": asked.pairs, "test": (*asked.pairs, *asked.style)}
    for split in ("tuning", "test"):
        for group in sides[split]:
            if (count := len(labels.ids([group], split))) < FEWEST:
                own = [name for name, other in labels.groups.items() if other == group]
                families = len({labels.families[name] for name in own})
                raise MemdetectError(
                    f"the {split} split has {count} prompts of the group {group}, expected at least {FEWEST}: "
                    f"of {len(own)} in {families} families, which stay whole; give more, or a "
                    "column of families by --family-column"
                )
    for split in SPLITS if asked.clean else ():
        if (count := len(labels.ids(asked.clean, split))) < FEWEST:
            raise MemdetectError(
                f"the {split} split has {count} clean prompts, expected at least {FEWEST}; give more, or name the "
                f"part with --{split}-part"
            )


def _number(value: Any) -> float | None:
    try:
        found = None if value is None or value == "" else float(value)
    except (TypeError, ValueError):
        return None
    return found if found is not None and math.isfinite(found) else None


def _listed(names: Sequence[str], most: int = 10) -> str:
    kept = list(dict.fromkeys(names))
    return ", ".join([*kept[:most], *(["..."] if len(kept) > most else [])])
