"""Prompts of two wordings, all different, and calibrations of them whose scores are given by kind."""

import random
from collections.abc import Sequence
from typing import Any

from synthetic_runs import plan_of

from memdetect.inputs.wording import text_key
from memdetect.judging.calibration import Calibration, Item
from memdetect.judging.telling import with_kinds

THINGS = ("cat", "dog", "house", "tree", "car", "boat", "apple", "pear", "lamp", "cup", "ball", "bird", "fish", "horse")
GROUNDS = ("red", "blue", "green", "yellow", "white", "grey", "dark", "pale", "warm", "cold")
STYLES = ("iron", "silver", "hollow", "burning", "silent", "crooked", "ancient", "frozen", "amber", "tidal")
KINGDOMS = ("throne", "monsoon", "cathedral", "avalanche", "crown", "lighthouse", "oracle", "labyrinth", "regent")
SYLLABLES = ("mor", "quu", "stow", "ree", "zel", "vyn", "drak", "ith", "olm", "bex")


def captions(count: int, seed: int = 0) -> list[str]:
    """What stands where: "a cat and a pear on a pale ground"."""
    rng = random.Random(seed)
    found: dict[str, None] = {}
    while len(found) < count:
        one, two, three = (rng.choice(THINGS) for _ in range(3))
        found[f"a {one} and a {two} beside a {three} on a {rng.choice(GROUNDS)} ground"] = None
    return list(found)


def titles(count: int, seed: int = 0) -> list[str]:
    """Odd names: "the silent crown of Morquustow"."""
    rng = random.Random(seed)
    found: dict[str, None] = {}
    while len(found) < count:
        place = "".join(rng.choice(SYLLABLES) for _ in range(3)).title()
        found[f"the {rng.choice(STYLES)} {rng.choice(KINGDOMS)} of {place}"] = None
    return list(found)


def codes(count: int, seed: int = 0) -> list[str]:
    """Another wording, which no clean prompt has: letters from the end of the alphabet."""
    rng = random.Random(seed)
    return ["".join(rng.choices("xyzqjkw#", k=9)) + f" @{''.join(rng.choices('xyzqjkw#', k=7))}" for _ in range(count)]


def clean_prompts(
    tuning: Sequence[tuple[str, float]], clean: Sequence[tuple[str, float]], **changes: Any
) -> Calibration:
    """A calibration of prompts with their scores, of which kinds were not looked for."""
    both = [*tuning, *clean]
    items = tuple(
        Item(
            id=f"clean-{i}",
            family=text_key(text),
            text=text_key(text),
            prompt=text,
            part="tuning" if i < len(tuning) else "calibration",
        )
        for i, (text, _) in enumerate(both)
    )
    table = {"spikiness": {"up": {"50": [[float(score)] * 2 for _, score in both]}}}
    return Calibration(settings=plan_of().settings, parts="given", items=items, scores=table, **changes)


def of_kinds_found(
    tuning: Sequence[tuple[str, float]], clean: Sequence[tuple[str, float]], **changes: Any
) -> Calibration:
    """The same with the kinds that are found."""
    return with_kinds(clean_prompts(tuning, clean, **changes), plan_of())
