"""Odd invented titles: captions that name nothing which a picture could show, and no person, company or work."""

from collections.abc import Sequence

import numpy as np

FIRST: Sequence[str] = [
    "velvet",
    "hollow",
    "crooked",
    "ninth",
    "tidal",
    "copper",
    "sleeping",
    "borrowed",
    "hourly",
    "quiet",
    "folded",
    "wooden",
    "salted",
    "marble",
    "feathered",
    "patient",
    "hidden",
    "amber",
    "northern",
    "stubborn",
    "woollen",
    "twelfth",
    "silver",
    "drowsy",
    "painted",
    "hungry",
    "broken",
    "humming",
    "frozen",
    "gentle",
]
SECOND: Sequence[str] = [
    "parliament",
    "ledger",
    "quarrel",
    "almanac",
    "lantern",
    "orchard",
    "cathedral",
    "rehearsal",
    "thimble",
    "harbour",
    "puzzle",
    "verdict",
    "avalanche",
    "whistle",
    "chimney",
    "errand",
    "alphabet",
    "ferry",
    "ballad",
    "compass",
    "staircase",
    "riddle",
    "carnival",
    "monsoon",
    "banquet",
    "mirror",
    "tunnel",
    "pendulum",
    "anthem",
    "wardrobe",
]
ONSETS: Sequence[str] = [
    "br",
    "cr",
    "d",
    "dr",
    "f",
    "gl",
    "h",
    "k",
    "l",
    "m",
    "n",
    "p",
    "qu",
    "r",
    "s",
    "st",
    "th",
    "tr",
    "v",
    "w",
    "z",
]
VOWELS: Sequence[str] = ["a", "e", "i", "o", "u", "ai", "ee", "oo", "ou"]
CODAS: Sequence[str] = ["ck", "ld", "lm", "mp", "n", "nd", "ng", "rk", "rn", "sh", "sk", "ss", "st", "x"]
ENDINGS: Sequence[str] = ["by", "dale", "ford", "ham", "ley", "mere", "mouth", "stow", "ton", "wick"]


def titles(rng: np.random.Generator, count: int) -> list[str]:
    """`count` different titles such as "the velvet ledger of Broondale"; each place stands in one title only.

    Raises ValueError when more are asked for than half the places that can be built.
    """
    if count > len(ONSETS) * len(VOWELS) * len(CODAS) * len(ENDINGS) // 2:
        raise ValueError(f"cannot invent {count} different places")
    places: dict[str, str] = {}
    while len(places) < count:
        parts = [kind[int(rng.integers(len(kind)))] for kind in (ONSETS, VOWELS, CODAS, ENDINGS)]
        first, second = FIRST[int(rng.integers(len(FIRST)))], SECOND[int(rng.integers(len(SECOND)))]
        places.setdefault("".join(parts).capitalize(), f"the {first} {second} of ")
    return [start + place for place, start in places.items()]
