"""Prompts of two wordings, all different, and calibrations of them whose scores are given by kind."""

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
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


def unheld(texts: Sequence[str], made: Calibration) -> list[str]:
    """Those of the texts that are not among the clean prompts, nor read like one of them."""
    held = {item.text for item in made.items}
    return [text for text in texts if text_key(text) not in held]


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


def scored(texts: list[str], mean: float, seed: int = 0) -> list[tuple[str, float]]:
    """Texts with scores around a mean."""
    return list(zip(texts, np.random.default_rng(seed).normal(mean, 1, len(texts)).tolist(), strict=True))


def two_kinds(clean: int = 200, other: int = 200, apart: float = 5.0) -> Calibration:
    """Captions that score around 0 and titles around `apart`: 80 of each for tuning, so many for calibration."""
    small, large = captions(80 + clean, seed=1), titles(80 + other, seed=1)
    tuning = scored(small[:80], 0.0) + scored(large[:80], apart, 1)
    return of_kinds_found(tuning, scored(small[80:], 0.0, 2) + scored(large[80:], apart, 3))
