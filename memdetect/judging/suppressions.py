"""Which findings of a run somebody answers for, and which entries answer for nothing."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from memdetect.runs.header import Header
from memdetect.runs.policy import HEX, Ignore, Policy
from memdetect.runs.records import Outcome, Result

FINDINGS: tuple[Outcome, ...] = ("copy", "suspicious", "similar")  # the worst first


@dataclass(frozen=True, slots=True)
class Suppressions:
    """What the ignore entries do to a run: item id -> entry in force, and those that do nothing, by why.

    expired: out of date. foreign: given for another model or run. unused: no finding has the id. exceeded: the finding
    is worse than what the entry answers for, or a copy of another training image.
    """

    used: Mapping[str, Ignore]
    expired: tuple[Ignore, ...] = ()
    foreign: tuple[Ignore, ...] = ()
    unused: tuple[Ignore, ...] = ()
    exceeded: tuple[Ignore, ...] = ()


def suppressions(policy: Policy, results: Iterable[Result], header: Header, today: date) -> Suppressions:
    """Match a policy's ignore entries with a run's findings on a day; each entry ends in one place.

    Of several runs judged as one the header's plan is of all of them, so that entries for one run are foreign.
    """
    found = {row.id: row for row in results if row.outcome in FINDINGS}
    used: dict[str, Ignore] = {}
    rest: dict[str, list[Ignore]] = {"expired": [], "foreign": [], "unused": [], "exceeded": []}
    for entry in policy.ignore:
        if entry.expires < today:
            rest["expired"].append(entry)
        elif not _meant(entry, header):
            rest["foreign"].append(entry)
        elif (row := found.get(entry.id)) is None:
            rest["unused"].append(entry)
        elif not _covers(entry, row):
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


def _covers(entry: Ignore, row: Result) -> bool:
    """Whether an entry answers for all of a finding."""
    if entry.outcome is not None:
        return FINDINGS.index(row.outcome) >= FINDINGS.index(entry.outcome)
    copies = {match.key for match in row.matches if match.copy_found}
    return row.outcome == "copy" and copies == {entry.copy_of}


def with_suppressed(results: Sequence[Result], aside: Suppressions) -> list[Result]:
    """Results in which every finding that somebody answers for says who, until when and why."""
    if not aside.used:
        return list(results)
    return [_answered(row, aside.used.get(row.id) if row.outcome in FINDINGS else None) for row in results]


def _answered(row: Result, entry: Ignore | None) -> Result:
    if entry is None:
        return row
    return row.model_copy(update={"suppressed": f"{entry.owner} until {entry.expires}: {entry.reason}"})
