"""From a world to the prompt files that ship with its model."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from memdetect.lab.world.captions import caption_rows
from memdetect.lab.world.entry import Entry, Part
from memdetect.lab.world.labelled import World
from memdetect.lab.world.recipe import TruthRow
from memdetect.lab.world.titles import titles

RELEASE = {"duplicated": 10, "verbatim": 6, "template": 4, "control": 10, "seen": 15, "unseen": 15}


# What a prompt asks for, told from its group: memorized prompts and their controls are of one kind.
KINDS = {
    **dict.fromkeys(("duplicated", "control", "dose-response", "seen", "unseen"), "scene"),
    **dict.fromkeys(("verbatim", "verbatim-control"), "clip art"),
    **dict.fromkeys(("template", "template-control"), "template"),
    "title": "clip art",  # a title asks for a clip art, whether training had one for it or not
    **dict.fromkeys(("emblem", "shown-emblem"), "emblem"),
    "general": "general",
}
TITLES: Mapping[Part, int] = {"tuning": 200, "calibration": 1100, "test": 300}
GENERAL: Mapping[Part, int] = {"tuning": 150, "calibration": 850, "test": 300}
BACK = 0.5  # share of samples in which an image has to come back for its caption to count as memorized


def write_prompts(world: World, out: Path, truth: Sequence[TruthRow] = ()) -> list[Path]:
    """Write the prompt files of a world: labelled, clean-tuning, clean-calibration, clean-test and release (the demo).

    kinds-calibration and kinds-test hold clean prompts of further kinds: titles that got no image, and general
    captions. Rows hold id, prompt, group, kind, family and part. Choices are made on tuning, scores are ranked among
    calibration, figures are of test; the demo run takes from the last alone. truth: rows whose samples were judged:
    memorized.jsonl has the captions of the test split whose image came back in at least BACK of them. In a world whose
    captions may say where every picture stands, rows of scenes hold `said` as well.
    """
    rows = [*world.labelled, *world.clean]
    chosen: list[Entry] = []
    for group, count in RELEASE.items():
        own = [e for e in rows if e.group == group and e.part == "test"]
        families = {e.family: e for e in reversed(own)}
        chosen += [e for e in own if families[e.family] is e][:count]
    order = np.random.default_rng([world.seed, 5]).permutation(len(chosen))
    files = {"labelled": world.labelled, "release": [chosen[int(i)] for i in order]}
    for part in ("tuning", "calibration", "test"):
        files[f"clean-{part}"] = [e for e in world.clean if e.part == part]
    back = {row.id for row in truth if row.part == "test" and (row.reproduced or 0) >= BACK}
    if truth:
        files["memorized"] = [e for e in world.labelled if e.id in back]
    further = _further(world)
    files["kinds-calibration"] = [e for e in further if e.part != "test"]
    files["kinds-test"] = [e for e in further if e.part == "test"]
    return [_write(out / f"{name}.jsonl", entries, said=world.counts.said > 0) for name, entries in files.items()]


def _further(world: World) -> list[Entry]:
    """Clean prompts that the stream is not made of: further odd titles, and captions of a general model's kind."""
    taken = {e.caption.rpartition(" ")[2] for e in world.labelled}  # places: each stands in one title only
    rng = np.random.default_rng([world.seed, 4])
    count = sum(TITLES.values())
    drawn = [title for title in titles(rng, count + len(taken)) if title.rpartition(" ")[2] not in taken][:count]
    general = [(row["family"], row["prompt"]) for row in caption_rows(5000, world.seed)][: sum(GENERAL.values())]
    found: list[Entry] = []
    for group, rows, parts in (("title", [(t, t) for t in drawn], TITLES), ("general", general, GENERAL)):
        names: list[Part] = [part for part, many in parts.items() for _ in range(many)]
        for i, ((family, caption), part) in enumerate(zip(rows, names, strict=True)):
            found.append(Entry(f"{group}-{i:04d}", group, family, part, 0, caption))
    return found


def _write(path: Path, entries: Sequence[Entry], *, said: bool) -> Path:
    lines = [
        json.dumps(
            {
                "prompt": e.caption,
                "id": e.id,
                "group": e.group,
                "kind": KINDS[e.group],
                "family": e.family,
                "part": e.part,
                **({"said": e.scene.said} if e.scene and said else {}),
            }
        )
        for e in entries
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path
