"""Is every copy found, with the right original, and how many clean images are taken for copies?

Of runs of a world's prompts whose images were looked up in an index. An image is reproduced when the rule of
`memdetect.copies.pixels` says so of its own training image. Counted of the reproduced ones: found, the right original
is the nearest training image of all and called a copy; named, it is the nearest of those called copies, which pairs.png
and `match` show; of the others: called copies of something all the same; of clean prompts: called copies, and similar
to a training image at all, which the index promises for a share of at most its level. Images of one prompt are not
independent, so prompts are counted too: one counts as found when one of its images is. Clopper-Pearson intervals, 95 %.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from memdetect.copies.pixels import copies_of
from memdetect.errors import MemdetectError
from memdetect.inputs.images import open_image
from memdetect.judging.statistics.beta import interval
from memdetect.lab.world.entry import Entry
from memdetect.lab.world.recipe import read_world
from memdetect.lab.world.stock import Stock
from memdetect.runs.folder import RunFolder
from memdetect.runs.records import Measurement

Flags = Bool[np.ndarray, " image"]


@dataclass(slots=True)
class Counts:
    """One group: images and prompts, each as `images[name]`, `prompts[name]`."""

    images: dict[str, int] = field(default_factory=dict[str, int])
    prompts: dict[str, int] = field(default_factory=dict[str, int])

    def add(self, seen: Mapping[str, Flags]) -> None:
        """Count an item of which `seen` says for each of its images what holds."""
        for name, flags in seen.items():
            self.images[name] = self.images.get(name, 0) + int(flags.sum())
            self.prompts[name] = self.prompts.get(name, 0) + bool(flags.any())


def looked_up(run: Path, row: Measurement, entry: Entry, stock: Stock) -> dict[str, Flags]:
    """For each image of an item: is it reproduced, found, called a copy of another, similar to anything."""
    images = np.stack([np.asarray(open_image(run / file).image) for file in row.files])
    own = entry.exposures > 0 and (entry.scene is not None or entry.clip is not None)
    reproduced = copies_of(images, stock.image(entry)[None])[:, 0] if own else np.zeros(len(images), bool)
    matches = [[m for m in row.matches if m.seed == k] for k in range(len(images))]
    called = np.array([any(m.copy_found for m in near) for near in matches])
    nearest = [next((m for m in near if m.copy_found), None) for near in matches]  # a copy, the nearest of them
    named = np.array([m is not None and m.key == entry.id for m in nearest])
    first = np.array([m is not None and m.rank == 1 for m in nearest])
    return {
        "all": np.ones(len(images), bool),
        "reproduced": reproduced,
        "found": reproduced & named & first,
        "named": reproduced & named,
        "called": called,
        "parts": ~called & np.array([any(m.partial_found for m in near) for near in matches]),
        "called, not reproduced": called & ~reproduced,
        "similar": np.array([any(m.similar for m in near) for near in matches]),
    }


def count(world: Path, runs: Sequence[Path]) -> dict[str, Counts]:
    """Counts by group, in the order in which the runs bring them. world: a folder with world.json.

    Raises MemdetectError for a run whose images were not kept or not looked up, or with prompts of no such world.
    """
    made, stock = read_world(world)
    entries = {entry.id: entry for entry in (*made.labelled, *made.clean)}
    groups: dict[str, Counts] = {}
    for run in runs:
        folder = RunFolder(run)
        if not folder.header().index:
            raise MemdetectError(f"{run}: no index was searched; scan again without --no-index")
        for row in folder.measurements():
            entry = entries.get(row.id)
            if entry is None or not row.files:
                raise MemdetectError(f"{run}: {row.id} is no prompt of this world, or its images were not kept")
            groups.setdefault(entry.group, Counts()).add(looked_up(run, row, entry, stock))
    return groups


def share(hits: int, total: int) -> str:
    """`hits of total (share) [interval]`."""
    if total == 0:
        return "none"
    low, high = interval(hits, total)
    return f"{hits} of {total} ({hits / total:.3f}) [{low:.3f}, {high:.3f}]"


def table(groups: Mapping[str, Counts]) -> Iterator[str]:
    """Markdown: images first, then prompts."""
    heads = ["group", "unit", "reproduced", "of these found, right original at rank 1", "of these named"]
    heads += ["called copies", "called partial copies", "similar"]
    yield f"| {' | '.join(heads)} |"
    yield "|---" * len(heads) + "|"
    for group, counts in groups.items():
        for unit, held in (("images", counts.images), ("prompts", counts.prompts)):
            cells = [group, unit, share(held["reproduced"], held["all"])]
            cells += [share(held[name], held["reproduced"]) for name in ("found", "named")]
            cells += [share(held[name], held["all"]) for name in ("called", "parts", "similar")]
            yield f"| {' | '.join(cells)} |"


def report(groups: Mapping[str, Counts]) -> list[str]:
    """The table, and how often an image was called a copy that the pixel rule calls none."""
    wrong = sum(counts.images["called, not reproduced"] for counts in groups.values())
    called = sum(counts.images["called"] for counts in groups.values())
    return [*table(groups), "", f"Images called copies that are none of their own original: {wrong} of {called}."]
