"""A world: a labelled training set in which it is known how often each image is shown, by a random draw."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import combinations

import numpy as np

from memdetect.errors import MemdetectError
from memdetect.lab.world.counts import (
    PAIRS,
    Counts,
    check_clean,
    check_counts,
    check_seen,
    check_triples,
    seen_counts,
    touches,
)
from memdetect.lab.world.entry import CLEAN_PARTS, Entry, Part, halves, parts_of
from memdetect.lab.world.scenes import GROUNDS, WORDINGS, Placed, Scene, compose, emblem, word
from memdetect.lab.world.titles import titles

Combination = tuple[frozenset[str], str]  # names of the pictures, ground

# Chances of one, two and three pictures at a draw. What touches reserved names is drawn again, mostly threes: of the
# bundled world's scenes 0.40, 0.43 and 0.16 have so many.
PICTURES_IN_STREAM = (0.25, 0.5, 0.25)
EMBLEMS_IN_STREAM = 0.1  # share of its scenes, in a world that has emblems
ID = {"unseen": "held-out"}  # the beginning of ids, which the noise of images is made from: it does not change


@dataclass(frozen=True)
class World:
    """The training set as a rule: labelled entries with their exposures, clean prompts, and an endless stream."""

    seed: int
    names: tuple[str, ...]
    counts: Counts
    labelled: tuple[Entry, ...]
    clean: tuple[Entry, ...]
    reserved: frozenset[frozenset[str]]
    unseen: frozenset[Combination]

    def stream(self, start: int = 0) -> Iterator[Scene]:
        """Endless fresh scenes; scene i depends on (seed, i) alone, so that training resumes anywhere.

        None shows a reserved pair or triple of names, or an unseen combination of names and ground.
        """
        index = start
        while True:
            yield _fresh(np.random.default_rng([self.seed, 1, index]), self)
            index += 1

    @cached_property
    def digest(self) -> str:
        """Short digest of the labelled entries, the clean prompts and what the stream may show."""
        rows = [asdict(e) for e in (*self.labelled, *self.clean)]
        kept = [sorted(map(sorted, self.reserved)), sorted((sorted(n), g) for n, g in self.unseen)]
        return hashlib.sha256(json.dumps([self.seed, self.names, rows, kept]).encode()).hexdigest()[:16]

    @cached_property
    def trained(self) -> tuple[Entry, ...]:
        """The entries that the training shows at least once, beside the stream."""
        return tuple(e for e in self.labelled if e.exposures)

    def schedule(self) -> np.ndarray:
        """Indices into `trained`, int64, one per exposure, in the order in which they are shown.

        The k-th of n exposures falls at a random moment of the k-th n-th of the training: evenly spread.
        """
        if not self.trained:
            return np.zeros(0, np.int64)
        rng = np.random.default_rng([self.seed, 3])
        shown = np.repeat(np.arange(len(self.trained)), [e.exposures for e in self.trained])
        times = np.concatenate([(np.arange(e.exposures) + rng.random(e.exposures)) / e.exposures for e in self.trained])
        return shown[np.argsort(times, kind="stable")]


def make_world(
    seed: int = 0, counts: Counts | None = None, *, names: Sequence[str], clips: Sequence[str] = ()
) -> World:
    """Draw a world from names of pictures and of clip arts; equal arguments give equal worlds.

    Raises MemdetectError when there are too few names or clip arts for the counts.
    """
    counts = counts or Counts()
    rng = np.random.default_rng([seed, 0])
    check_counts(counts, names, clips)
    pairs, pool_pairs, needed = list(combinations(sorted(names), 2)), counts.pool_pairs, counts.pairs
    order = [pairs[int(i)] for i in rng.permutation(len(pairs))]
    reserved = {frozenset(pair) for pair in order[:needed]}
    check_triples(names, reserved, counts.pool - pool_pairs)
    triples = _triples(rng, names, reserved, counts.pool - pool_pairs)
    pool = [compose(rng, combination, said=counts.said) for combination in [*order[:pool_pairs], *triples]]
    reserved |= {frozenset(t) for t in triples}
    labelled = [*_pool(rng, counts, pool), *_verbatim(rng, counts, clips)]
    labelled += _templates(rng, counts, order[pool_pairs:needed], names, reserved)
    check_clean(names, frozenset(reserved), counts.clean)
    unseen = _unseen(rng, names, frozenset(reserved), counts.clean // 2)
    check_seen(names, frozenset(reserved), unseen, counts.clean - len(unseen))
    held = _emblems(rng, names, counts.emblems + counts.shown_emblems)
    kept = frozenset([*unseen, *held])
    world = World(seed, tuple(names), counts, tuple(labelled), (), frozenset(reserved), kept)
    seen = _seen(rng, world, counts.clean - len(unseen))
    clean = (*_clean(rng, "seen", seen, counts.said), *_clean(rng, "unseen", unseen, counts.said))
    clean = (*clean, *_clean(rng, "emblem", dict.fromkeys(list(held)[: counts.emblems]), 0.0))
    labelled += _shown_emblems(rng, counts, list(held)[counts.emblems :])
    return World(seed, tuple(names), counts, tuple(labelled), clean, world.reserved, world.unseen)


def _pool(rng: np.random.Generator, counts: Counts, pool: Sequence[Scene]) -> list[Entry]:
    """Each scene of the pool gets its number of exposures by a draw, and its split by another."""
    exposures = np.repeat(list(counts.exposures), list(counts.exposures.values()))[rng.permutation(len(pool))]
    top = max(counts.exposures)
    splits: dict[int, Part] = {}
    for number in counts.exposures:
        rows = rng.permutation(np.flatnonzero(exposures == number))
        splits |= {int(i): "tuning" if k < len(rows) // 2 else "test" for k, i in enumerate(rows)}
    entries: list[Entry] = []
    for i, (scene, shown) in enumerate(zip(pool, exposures.tolist(), strict=True)):
        group = "control" if shown <= 1 else "duplicated" if shown == top else "dose-response"
        entries.append(Entry(f"pool-{i:03d}", group, f"pool-{i:03d}", splits[i], shown, scene.caption, scene))
    return entries


def _verbatim(rng: np.random.Generator, counts: Counts, clips: Sequence[str]) -> list[Entry]:
    """Clip arts and titles, assigned at random; titles that got no clip art are the controls."""
    captions = titles(rng, counts.verbatim + counts.verbatim_controls)
    chosen = [clips[int(i)] for i in rng.permutation(len(clips))[: counts.verbatim]]
    splits = halves(rng, counts.verbatim)
    parts = parts_of(rng, counts.verbatim_controls)
    rows = [
        Entry(f"verbatim-{i:03d}", "verbatim", clip, splits[i], counts.verbatim_exposures, captions[i], clip=clip)
        for i, clip in enumerate(chosen)
    ]
    for i, caption in enumerate(captions[counts.verbatim :]):
        rows.append(Entry(f"verbatim-control-{i:03d}", "verbatim-control", caption, parts[i], 0, caption))
    return rows


def _templates(
    rng: np.random.Generator,
    counts: Counts,
    pairs: Sequence[tuple[str, str]],
    names: Sequence[str],
    reserved: set[frozenset[str]],
) -> list[Entry]:
    """Compositions of three pictures of which the third varies; its siblings are variants that are never trained."""
    splits = halves(rng, len(pairs))
    tuning = [i for i in range(len(pairs)) if splits[i] == "tuning"]
    parts = _sibling_parts(tuning, [i for i in range(len(pairs)) if splits[i] == "test"])
    entries: list[Entry] = []
    for i, pair in enumerate(pairs):
        own = reserved - {frozenset(pair)}
        others = [n for n in sorted(set(names) - set(pair)) if not touches([*pair, n], own)]
        if len(others) < counts.variants + counts.siblings:
            raise MemdetectError(
                f"{len(others)} of {len(names)} pictures can be the third of a template, {counts.variants} variants "
                f"and {counts.siblings} siblings are asked for; give more pictures, or ask for fewer templates"
            )
        third = rng.permutation(others).tolist()
        base = compose(rng, [*pair, third[0]])
        slot = next(k for k, p in enumerate(base.pictures) if p.name == third[0])
        wording = WORDINGS[3][int(rng.integers(len(WORDINGS[3])))]
        for k, name in enumerate(third[: counts.variants + counts.siblings]):
            trained = k < counts.variants
            group, part = ("template", splits[i]) if trained else ("template-control", parts[i])
            scene = _variant(base, slot, name, wording)
            exposures = counts.template_exposures // counts.variants if trained else 0
            entries.append(
                Entry(f"{group}-{i:02d}-{k:02d}", group, f"template-{i:02d}", part, exposures, scene.caption, scene)
            )
    return entries


def _variant(base: Scene, slot: int, name: str, wording: str) -> Scene:
    old = base.pictures[slot]
    new = Placed(name, old.x, old.y, old.size, old.flip)
    pictures = (*base.pictures[:slot], new, *base.pictures[slot + 1 :])
    return Scene(base.ground, pictures, word(wording, [p.name for p in pictures], base.ground))


def _sibling_parts(tuning: Sequence[int], test: Sequence[int]) -> dict[int, Part]:
    """Siblings of the tuning split are clean prompts for tuning or calibration, those of test for the latter two."""
    total = len(tuning) + len(test)
    first, last = (round(CLEAN_PARTS[part] * total) for part in ("tuning", "test"))
    parts: dict[int, Part] = {}
    for k, i in enumerate(tuning):
        parts[i] = "tuning" if k < first else "calibration"
    for k, i in enumerate(test):
        parts[i] = "test" if k < last else "calibration"
    return parts


def _triples(
    rng: np.random.Generator, names: Sequence[str], reserved: set[frozenset[str]], count: int
) -> list[tuple[str, ...]]:
    found: dict[frozenset[str], tuple[str, ...]] = {}
    while len(found) < count:
        triple = _pick(rng, names, 3)
        if not touches(triple, reserved):
            found.setdefault(frozenset(triple), tuple(triple))
    return list(found.values())


def _unseen(
    rng: np.random.Generator, names: Sequence[str], reserved: frozenset[frozenset[str]], count: int
) -> dict[Combination, None]:
    """`count` combinations that the stream never shows, in the order of the draw."""
    found: dict[Combination, None] = {}
    while len(found) < count:
        chosen = _pick(rng, names, 2 if rng.random() < PAIRS else 3)
        if not touches(chosen, reserved):
            found.setdefault((frozenset(chosen), _ground(rng)))
    return found


def _seen(rng: np.random.Generator, world: World, count: int) -> dict[Combination, None]:
    """`count` combinations of two and three pictures taken from the beginning of the stream."""
    found: dict[Combination, None] = {}
    wanted = seen_counts(count)
    for scene in world.stream():
        if len(found) == count:
            break
        size = len(scene.pictures)
        if size > 1 and sum(len(names) == size for names, _ in found) < wanted[size]:
            found.setdefault((scene.names, scene.ground))
    order = list(found)
    return {order[int(i)]: None for i in rng.permutation(count)}


def _emblems(rng: np.random.Generator, names: Sequence[str], count: int) -> dict[Combination, None]:
    """`count` combinations of one name and a ground, which the stream never shows alone."""
    every: list[Combination] = [(frozenset([name]), ground) for name in sorted(names) for ground in GROUNDS]
    return {every[int(i)]: None for i in rng.permutation(len(every))[:count]} if count else {}


def _shown_emblems(rng: np.random.Generator, counts: Counts, held: Sequence[Combination]) -> list[Entry]:
    """Emblems that training shows again and again, each with one image."""
    splits, entries = halves(rng, len(held)), list[Entry]()
    for i, (names, ground) in enumerate(held):
        scene = emblem(rng, next(iter(names)), ground, moved=True)
        key = f"shown-emblem-{i:03d}"
        entries.append(Entry(key, "shown-emblem", key, splits[i], counts.verbatim_exposures, scene.caption, scene))
    return entries


def _clean(rng: np.random.Generator, group: str, combinations: Mapping[Combination, None], said: float) -> list[Entry]:
    parts = parts_of(rng, len(combinations))
    entries: list[Entry] = []
    for i, (names, ground) in enumerate(combinations):
        some = sorted(names)
        scene = emblem(rng, some[0], ground) if group == "emblem" else compose(rng, some, ground, said)
        family = f"{'+'.join(sorted(names))} on {ground}"
        entries.append(Entry(f"{ID.get(group, group)}-{i:04d}", group, family, parts[i], 0, scene.caption, scene))
    return entries


def _fresh(rng: np.random.Generator, world: World) -> Scene:
    alone = world.counts.emblems + world.counts.shown_emblems > 0 and rng.random() < EMBLEMS_IN_STREAM
    while True:
        size = 1 if alone else int(rng.choice(3, p=PICTURES_IN_STREAM)) + 1
        chosen, ground = _pick(rng, world.names, size), _ground(rng)
        if not touches(chosen, world.reserved) and (frozenset(chosen), ground) not in world.unseen:
            said = world.counts.said
            return emblem(rng, chosen[0], ground) if alone else compose(rng, chosen, ground, said)


def _pick(rng: np.random.Generator, names: Sequence[str], size: int) -> list[str]:
    return [names[int(i)] for i in rng.choice(len(names), size, replace=False)]


def _ground(rng: np.random.Generator) -> str:
    return list(GROUNDS)[int(rng.integers(len(GROUNDS)))]
