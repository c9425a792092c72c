"""How many rounds of a base are ranked among, and how many it takes."""

from math import ceil


def ranked_rounds(rounds: int, deciding: int) -> int:
    """How many of a base's rounds scores are ranked among.

    Where several detectors decide, every other round: the rest tell how to combine them.
    """
    return rounds // 2 if deciding > 1 else rounds


def rounds_to_rank(needed: int, each: float, deciding: int) -> int:
    """How many rounds it takes for `needed` scores to rank among, `each` of one round."""
    ranked = ceil(needed / max(1.0, each))
    return 2 * ranked if deciding > 1 else ranked
