"""What people's decisions do to a run: each is found its item, by fingerprint and pixels, and they are judged."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from memdetect.errors import MemdetectError
from memdetect.judging.outcome import Rule
from memdetect.judging.results import Judged
from memdetect.judging.rows import Records
from memdetect.runs.policy import Policy
from memdetect.runs.records import COPIES, Measurement
from memdetect.runs.review import LIFTED, RULINGS, Reviewed, Ruling, fingerprint, repeated, standing

Pictured = tuple[int, Path, tuple[str, ...]]  # the index of an item, its run folder, and the sha256 of its images


def found_in(
    decisions: Sequence[Reviewed], rows: Sequence[Measurement], homes: Sequence[Path]
) -> dict[int, tuple[Reviewed, ...]]:
    """Decisions by the index of each item that they are about; homes: the run folder of each row.

    Raises MemdetectError (usage) for a decision about other pixels than those of the run, and for one about none of
    its items: neither may get lost unseen.
    """
    wanted = {one.fingerprint for one in decisions}
    about: dict[str, list[Pictured]] = {}
    for row, home in zip(rows, homes, strict=True) if wanted else ():
        if (mark := fingerprint(row.prompt, row.sha256, row.matches)) in wanted:
            about.setdefault(mark, []).append((row.index, home, pictures(row, home)))
    found: dict[int, tuple[Reviewed, ...]] = {}
    for one in decisions:
        for index in _items(one, about.get(one.fingerprint, [])):
            found[index] = (*found.get(index, ()), one)
    return found


def _items(one: Reviewed, about: Sequence[Pictured]) -> Sequence[int]:
    """The index of each item whose pictures a decision names: of several where the same was given several times."""
    said = f"the decision of {one.name!r:.60} on {one.id!r:.60}"
    if not about:
        raise MemdetectError(f"{said} is about no item of this run; remove its line, or judge the run that it is of")
    if found := [index for index, _, digests in about if digests == one.pictures]:
        return found
    home = about[0][1]
    raise MemdetectError(
        f"{said} is about other pixels than those in {home}; decide again on the pictures that are there"
    )


def pictures(row: Measurement, home: Path) -> tuple[str, ...]:
    """The sha256, in hex, of each image of an item that is there: of those kept in the run's folder, or of a given one.

    A file outside the folder counts as missing.
    """
    if row.image is not None:
        return (row.sha256,) if row.sha256 else ()
    paths = [(home / name).resolve() for name in row.files]
    inside = home.resolve()
    there = [path for path in paths if path.is_relative_to(inside) and path.is_file()]
    return tuple(hashlib.sha256(path.read_bytes()).hexdigest() for path in there)


def with_decisions(records: Records, decisions: Sequence[Reviewed], homes: Sequence[Path]) -> Records:
    """The records of runs with what people decided of them; homes: the run folder of each. Raises as `found_in`."""
    found = found_in(decisions, records, homes)
    places = {place: found[row.index] for place, row in enumerate(records.rows) if row.index in found}
    return Records(records.rows.changed(decisions=places), records.plan)


def rulings(items: Sequence[Judged]) -> Mapping[Ruling, int]:
    """How many items are decided, by what, the strictest first."""
    found = Counter(ruling for item in items if item.row.decisions and (ruling := item.decided) is not None)
    return {ruling: found[ruling] for ruling in RULINGS if found[ruling]}


def review_rules(items: Sequence[Judged], policy: Policy) -> Iterator[Rule]:
    """A rule where people decided: what waits for its owner, and what nobody can tell from pictures, keep it open.

    So does a copy that fails because decisions that would lift it name fewer training images than it repeats.
    """
    asked = [item for item in items if item.row.decisions]
    if not asked:
        return
    open_ = [item for item in asked if not item.suppressed]
    waiting = sum(item.decided == "needs the owner" for item in open_)
    scored = sum(item.unprovable and item.counted in policy.failing for item in open_)
    reasons = [f"{waiting} {'finding waits' if waiting == 1 else 'findings wait'} for an owner"] if waiting else []
    if scored:
        reasons.append(
            f"{scored} said to be no copy {'is' if scored == 1 else 'are'} suspicious by the score, which no picture "
            "refutes; answer for it in .memdetectignore.toml"
        )
    partial = sum(map(_leaving_out, (item for item in open_ if item.fails(policy))))
    if partial:
        reasons.append(
            f"{partial} {'decision leaves' if partial == 1 else 'decisions leave'} out training images that the item "
            "repeats; decide again"
        )
    outcome = "inconclusive" if reasons else "pass"
    yield Rule("review", outcome, "; ".join(reasons), waiting + scored + partial, 0)


def _leaving_out(item: Judged) -> int:
    """How many decisions that an item is no copy do not name every training image that it repeats."""
    if item.decided not in LIFTED or item.outcome not in COPIES:
        return 0
    found = item.row.matches
    return sum(not repeated(found) <= set(one.about(found)) for one in standing(item.row.decisions))
