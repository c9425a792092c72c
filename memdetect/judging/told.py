"""What tells of a row beside its scores: its further columns, its notes, and the matches by which it is decided."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from memdetect.copies.match import Match


class Rest(NamedTuple):
    """What most rows have nothing of, or share."""

    meta: Mapping[str, Any]
    matches: Sequence[Match]
    one_colour: Sequence[int]
    notes: Sequence[str]


@lru_cache(1024)
def _far(seeds: tuple[int, ...]) -> tuple[Match, ...]:
    """Training images that tell no more than that these images were looked up; shared by all rows."""
    return tuple(Match(seed=seed, rank=1, key="", similarity=-1.0) for seed in seeds)


def telling(matches: Sequence[Match]) -> Sequence[Match]:
    """The matches that say more than that an image was looked up; of other images one that says that."""
    told = [m for m in matches if m.copy_found or m.partial_found or m.similar or m.unseen]
    seen = {match.seed for match in told}
    far = _far(tuple(dict.fromkeys(m.seed for m in matches if m.seed not in seen)))
    return (*told, *far) if told else far
