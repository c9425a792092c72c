"""Shares with Clopper-Pearson intervals of 95 %: of damaged copies that are found, of other pictures that are named."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rich.table import Table

from memdetect.judging.statistics.beta import interval
from memdetect.lab.evidence.judged import FOUND, Row

OVERALL = "over all"


@dataclass(frozen=True, slots=True)
class Share:
    """`count` of `n`."""

    count: int
    n: int

    def __str__(self) -> str:
        """`share [low, high]`."""
        if not self.n:
            return "-"
        low, high = interval(self.count, self.n)
        return f"{self.count / self.n:.3f} [{low:.3f}, {high:.3f}]"


@dataclass(frozen=True, slots=True)
class Copies:
    """Damaged copies: the outcome `copy` with the right original; that or another finding; a finding of another one."""

    name: str
    group: str
    copy: Share
    found: Share
    wrong: Share
    outcomes: Counter[str]


@dataclass(frozen=True, slots=True)
class Others:
    """Pictures that the index does not hold: those said to be copies, those that are not clear, every outcome."""

    kind: str
    named: Share
    unclear: Share
    outcomes: Counter[str]


def copies(rows: Sequence[Row]) -> list[Copies]:
    """By damage, then by group, then over all."""
    own = [row for row in rows if row.damage]
    groups = {row.damage: row.group for row in own}
    found = [_copies(own, name, group, lambda row, name=name: row.damage == name) for name, group in groups.items()]
    for group in dict.fromkeys(groups.values()):
        found.append(_copies(own, f"all of {group}", group, lambda row, group=group: row.group == group))
    return [*found, _copies(own, OVERALL, "", lambda _: True)] if own else []


def others(rows: Sequence[Row]) -> list[Others]:
    """By kind of negatives, then those as they are and those that were changed, then over all."""
    own = [row for row in rows if not row.damage]
    kinds = sorted({row.kind for row in own})
    parts = {kind: [row for row in own if row.kind == kind] for kind in kinds}
    parts |= {"as they are": [row for row in own if not row.changed], "changed": [row for row in own if row.changed]}
    return [_others(name, some) for name, some in [*parts.items(), (OVERALL, own)] if some]


def _copies(rows: Sequence[Row], name: str, group: str, holds: Callable[[Row], bool]) -> Copies:
    own = [row for row in rows if holds(row)]
    n = len(own)
    right = sum(row.right is True for row in own)
    copy = sum(row.right is True and row.outcome == "copy" for row in own)
    wrong = sum(row.right is False and row.outcome in FOUND for row in own)
    return Copies(name, group, Share(copy, n), Share(right, n), Share(wrong, n), Counter(row.outcome for row in own))


def _others(kind: str, own: Sequence[Row]) -> Others:
    outcomes = Counter(row.outcome for row in own)
    n = len(own)
    return Others(kind, Share(sum(outcomes[name] for name in FOUND), n), Share(n - outcomes["clear"], n), outcomes)


def tables(rows: Sequence[Row], level: float) -> Iterator[Table]:
    """The table of damaged copies and that of other pictures, for a terminal. level: that the index states."""
    outcomes = sorted({row.outcome for row in rows})
    table = Table(title="damaged copies: share [95 %]")
    for name in ("damage", "n", "copy, right original", "or partial copy", "wrong original", *outcomes):
        table.add_column(name, justify="left" if name == "damage" else "right")
    group = None
    for each in copies(rows):
        if each.group != group and each.name.startswith("all of") == (group or "").startswith("all of"):
            table.add_section()
        group = each.group
        counts = [str(each.outcomes[outcome]) for outcome in outcomes]
        table.add_row(each.name, str(each.copy.n), str(each.copy), str(each.found), str(each.wrong), *counts)
    yield table
    table = Table(title=f"pictures that the index does not hold: share [95 %]; stated level {level:g}")
    for name in ("kind", "n", "said to be a copy", "not clear", *outcomes):
        table.add_column(name, justify="left" if name == "kind" else "right")
    for other in others(rows):
        counts = [str(other.outcomes[outcome]) for outcome in outcomes]
        table.add_row(other.kind, str(other.named.n), str(other.named), str(other.unclear), *counts)
    yield table
