"""Families of near-duplicate prompts: which of them have an item that is flagged at a fixed level, or a copy."""

from collections.abc import Iterable, Iterator, Mapping

from memdetect.inputs.wording import family_key
from memdetect.judging.columns import parted
from memdetect.judging.ranks import Rank, ReferenceScores, Unranked
from memdetect.judging.results import Judged
from memdetect.judging.statistics.conformal import conditional_rank, rank_at
from memdetect.judging.statistics.rates import flagging_level
from memdetect.runs.policy import Policy
from memdetect.runs.records import COPIES


def is_copied(item: Judged) -> bool:
    """Whether an item counts as a copy in rates: found to be one, whatever people say, or said to be one."""
    return item.outcome in COPIES or item.counted in COPIES


def flagged_families(items: Iterable[Judged], limits: Mapping[int, int]) -> dict[str, bool]:
    """Of each family that could be judged, whether an item of it is a copy, also in part, or ranks within a limit.

    limits: by the number of clean scores that an item was ranked among, the largest rank that counts.
    """
    families: dict[str, bool] = {}
    for key, flagged in _flagged(items, limits):
        families[key] = families.get(key, False) or flagged
    return families


def families_of(items: Iterable[Judged], limits: Mapping[int, int]) -> tuple[int, int]:
    """How many families `flagged_families` flags, and how many it has; of each 8 bytes are kept, not its key."""
    marks = (hash(key) & ~1 | flagged for key, flagged in _flagged(items, limits))
    families = flagged = 0
    for own in parted("q", marks, by=lambda mark: mark >> 1):
        families += len({mark >> 1 for mark in own})
        flagged += len({mark >> 1 for mark in own if mark & 1})
    return flagged, families


def _flagged(items: Iterable[Judged], limits: Mapping[int, int]) -> Iterator[tuple[str, bool]]:
    """Of each item that could be judged its family, and whether it is a copy, also in part, or ranks within a limit."""
    for item in items:
        ranked, copied = item.ranked, is_copied(item)
        if copied or isinstance(ranked, Rank):
            flagged = copied or (isinstance(ranked, Rank) and ranked.rank <= limits[ranked.n])
            yield family_key(item.row.meta, item.row.prompt), flagged


def flagging_ranks(reference: ReferenceScores | Unranked, policy: Policy) -> dict[int, int]:
    """By the n of each stratum, the largest rank that counts as flagged; 0 = none."""
    sizes = set[int]() if isinstance(reference, Unranked) else {len(s) for s in reference.by_stratum.values()}
    return {n: _flagging_rank(n, policy) for n in sizes}


def _flagging_rank(n: int, policy: Policy) -> int:
    level = flagging_level(policy.level, policy.max_rate)
    return rank_at(n, level) if policy.delta is None else conditional_rank(n, level, policy.delta)
