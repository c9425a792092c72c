"""How much of everything a world holds, and whether its pictures have room for it."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import combinations

from memdetect.errors import MemdetectError
from memdetect.lab.world.scenes import GROUNDS

PAIRS = 0.6  # share of two-picture scenes among labelled and clean ones; the others have three
ROOM = 0.9  # share of all combinations that may be asked for: drawing the last ones takes for ever
MOST_SHOWN = 10**8  # exposures of a world, all together
MOST_TITLES = 10_000


@dataclass(frozen=True, slots=True)
class Counts:
    """How much of everything a world holds.

    `exposures`: exposures -> number of pool scenes with that many. A template's exposures are those of all its variants
    together. `clean`: prompts, half of combinations that the stream shows, half of combinations that it never shows.
    `said`: share of the captions of scenes that say where every picture stands; templates say so in none. `emblems`:
    clean prompts of one large picture about the centre on a ground on which the stream never shows it alone;
    `shown_emblems`: further such prompts, each shown as often as a clip art with one image, somewhat off the centre.
    """

    exposures: Mapping[int, int] = field(
        default_factory=lambda: {0: 30, 1: 30, 9: 30, 36: 30, 144: 30, 576: 30, 2304: 60}
    )
    verbatim: int = 60
    verbatim_controls: int = 300
    verbatim_exposures: int = 1152
    templates: int = 20
    variants: int = 8
    siblings: int = 4
    template_exposures: int = 1152
    clean: int = 4000
    said: float = 0.0
    emblems: int = 0
    shown_emblems: int = 0

    @property
    def pool(self) -> int:
        """Scenes of the pool."""
        return sum(self.exposures.values())

    @property
    def pool_pairs(self) -> int:
        """Those of them with two pictures."""
        return round(PAIRS * self.pool)

    @property
    def pairs(self) -> int:
        """Pairs of pictures that labelled scenes keep to themselves."""
        return self.pool_pairs + self.templates

    @property
    def shown(self) -> int:
        """Exposures of all labelled images together."""
        pool = sum(exposures * scenes for exposures, scenes in self.exposures.items())
        return (
            pool
            + (self.verbatim + self.shown_emblems) * self.verbatim_exposures
            + self.templates * self.template_exposures
        )


def check_counts(counts: Counts, names: Sequence[str], clips: Sequence[str]) -> None:
    """Raise MemdetectError when numbers make no sense, or there are too few names or clip arts for them."""
    numbers = {f.name: getattr(counts, f.name) for f in fields(counts) if f.name != "exposures"}
    for name, number in [*numbers.items(), *(("exposures", n) for pair in counts.exposures.items() for n in pair)]:
        if number < 0:
            raise MemdetectError(f"{name} is {number}, expected 0 or more")
    if counts.shown > MOST_SHOWN:
        raise MemdetectError(
            f"{counts.shown:,} exposures are asked for, at most {MOST_SHOWN:,} can be; show less often"
        )
    if counts.verbatim + counts.verbatim_controls > MOST_TITLES:
        asked = f"{counts.verbatim} clip arts and {counts.verbatim_controls} titles"
        raise MemdetectError(f"{asked} are asked for, at most {MOST_TITLES:,} together; ask for fewer")
    _check_said(counts, names)
    third = counts.variants + counts.siblings
    if counts.templates and (counts.variants < 1 or len(names) < third + 5):
        raise MemdetectError(
            f"{len(names)} pictures are too few for templates of {counts.variants} variants and {counts.siblings} "
            f"siblings; give {third + 5} pictures or more, or ask for no templates"
        )
    pairs = len(names) * (len(names) - 1) // 2
    if len(names) < 4 or pairs < 2 * counts.pairs:
        enough = next(n for n in range(4, 10**6) if n * (n - 1) // 2 >= 2 * counts.pairs)
        raise MemdetectError(
            f"{len(names)} pictures are too few: {counts.pairs} pairs are kept for labelled scenes, and at most half "
            f"of all may be; give {enough} pictures or more, or ask for fewer scenes"
        )
    if len(clips) < counts.verbatim:
        raise MemdetectError(f"{len(clips)} clip arts are too few for {counts.verbatim}; ask for fewer verbatim images")


def _check_said(counts: Counts, names: Sequence[str]) -> None:
    if counts.said > 1:
        raise MemdetectError(f"the share of captions that say all places is {counts.said}, expected 0 to 1")
    emblems = counts.emblems + counts.shown_emblems
    if emblems > (most := len(names) * len(GROUNDS) * 2 // 3):
        raise MemdetectError(f"{emblems} emblems are asked for, {len(names)} pictures give {most}; ask for fewer")


def check_triples(names: Sequence[str], reserved: set[frozenset[str]], wanted: int) -> None:
    """Raise MemdetectError when so many triples of names without a reserved pair can hardly be drawn."""
    room = _free(names, 3, reserved, wanted / ROOM)
    if wanted > ROOM * room:
        raise MemdetectError(
            f"{len(names)} pictures have {room} free triples, of which {wanted} scenes need more than "
            f"{ROOM:.0%}; give more pictures, or ask for fewer scenes"
        )


def check_clean(names: Sequence[str], reserved: frozenset[frozenset[str]], clean: int) -> None:
    """Raise MemdetectError when so many clean prompts of combinations of their own can hardly be drawn."""
    most = clean
    for size, share in ((2, PAIRS), (3, 1 - PAIRS)):
        room = ROOM * len(GROUNDS) * _free(names, size, reserved, clean * share / (ROOM * len(GROUNDS)))
        most = min(most, int(room / share))
    if most < clean:
        raise MemdetectError(
            f"{clean} clean prompts need more combinations than {len(names)} pictures leave free; ask for at most "
            f"{most // 2 * 2}, or give more pictures"
        )


def seen_counts(count: int) -> dict[int, int]:
    """How many of `count` seen combinations have two and three pictures."""
    return {2: round(PAIRS * count), 3: count - round(PAIRS * count)}


def check_seen(
    names: Sequence[str], reserved: frozenset[frozenset[str]], unseen: Iterable[tuple[frozenset[str], str]], count: int
) -> None:
    """Raise MemdetectError when what stays unseen, drawn, left too few combinations that the stream can show."""
    taken = Counter(len(combination) for combination, _ in unseen)
    for size, wanted in seen_counts(count).items():
        needed = (wanted + taken[size]) / len(GROUNDS)
        if _free(names, size, reserved, needed) < needed:
            raise MemdetectError(
                f"what stays unseen leaves fewer than {wanted} combinations of {size} of {len(names)} pictures; ask "
                "for fewer clean prompts, give more pictures, or try another seed"
            )


def touches(names: Sequence[str], reserved: frozenset[frozenset[str]] | set[frozenset[str]]) -> bool:
    """Whether a reserved pair or triple is among the names."""
    return any(frozenset(part) in reserved for size in (2, 3) for part in combinations(names, size))


def _free(
    names: Sequence[str], size: int, reserved: frozenset[frozenset[str]] | set[frozenset[str]], enough: float
) -> int:
    """How many combinations of so many names touch nothing reserved, counted until there are enough."""
    found = 0
    for combination in combinations(sorted(names), size):
        found += not touches(combination, reserved)
        if found > enough:
            break
    return found
