"""Which findings of a run somebody answers for, and which entries answer for nothing."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date

from memdetect.copies.match import picture_of
from memdetect.judging.results import Items, Judged
from memdetect.judging.search_rules import parts
from memdetect.runs.header import Header
from memdetect.runs.policy import HEX, Ignore, Policy
from memdetect.runs.records import COPIES, FINDINGS


@dataclass(frozen=True, slots=True)
class Suppressions:
    """What the ignore entries do to a run: item id -> entry in force, and those that do nothing, by why.

    expired: out of date. foreign: given for another model or run. unused: no finding has the id. exceeded: the finding
    is worse than what the entry answers for, or a copy of another training image, whole or in part.
    """

    used: Mapping[str, Ignore]
    expired: tuple[Ignore, ...] = ()
    foreign: tuple[Ignore, ...] = ()
    unused: tuple[Ignore, ...] = ()
    exceeded: tuple[Ignore, ...] = ()


def suppressions(policy: Policy, items: Iterable[Judged], header: Header, today: date) -> Suppressions:
    """Match a policy's ignore entries with a run's findings on a day; each entry ends in one place.

    Of several runs judged as one the header's plan is of all of them, so that entries for one run are foreign.
    """
    named = {entry.id for entry in policy.ignore}
    found = {item.row.id: item for item in items if item.counted in FINDINGS and item.row.id in named} if named else {}
    used: dict[str, Ignore] = {}
    rest: dict[str, list[Ignore]] = {"expired": [], "foreign": [], "unused": [], "exceeded": []}
    for entry in policy.ignore:
        if entry.expires < today:
            rest["expired"].append(entry)
        elif not _meant(entry, header):
            rest["foreign"].append(entry)
        elif (item := found.get(entry.id)) is None:
            rest["unused"].append(entry)
        elif not _covers(entry, item):
            rest["exceeded"].append(entry)
        else:
            used[entry.id] = entry
    return Suppressions(used, **{why: tuple(entries) for why, entries in rest.items()})


def _meant(entry: Ignore, header: Header) -> bool:
    """Whether an entry was given for this run, or for its model."""
    if entry.run is not None:
        return header.plan_digest.startswith(entry.run)
    name = entry.model or ""
    # A LoRA does not change the name of its base, only the digest.
    named = name == header.model and not header.opening.get("loras")
    return named or (re.match(HEX, name) is not None and header.plan.model.startswith(name))


def _covers(entry: Ignore, item: Judged) -> bool:
    """Whether an entry answers for all of a finding."""
    if entry.outcome is not None:
        return FINDINGS.index(item.counted) >= FINDINGS.index(entry.outcome)
    found = [*(match for match in item.row.matches if match.copy_found), *parts(item.row)]
    # A training image stands in an index as it is shown, decoded in other ways and cropped: all of them are the same.
    pictures = {picture_of(match.key) for match in found}
    return item.counted in COPIES and pictures == {picture_of(entry.copy_of or "")}


def with_suppressed(items: Items, aside: Suppressions) -> Items:
    """Items in which every finding that somebody answers for says who, until when and why."""
    if not aside.used:
        return items
    found = {
        place: f"{entry.owner} until {entry.expires}: {entry.reason}"
        for place, item in enumerate(items)
        if item.counted in FINDINGS and (entry := aside.used.get(item.row.id)) is not None
    }
    return items.suppressed(found)
