"""From a world to the prompt files that ship with its model."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from memdetect.lab.world.labelled import Entry, World
from memdetect.lab.world.recipe import TruthRow

RELEASE = {"duplicated": 10, "verbatim": 6, "template": 4, "control": 10, "seen": 15, "unseen": 15}


# What a prompt asks for, told from its group: memorized prompts and their controls are of one kind.
KINDS = {
    **dict.fromkeys(("duplicated", "control", "dose-response", "seen", "unseen"), "scene"),
    **dict.fromkeys(("verbatim", "verbatim-control"), "clip art"),
    **dict.fromkeys(("template", "template-control"), "template"),
}
BACK = 0.5  # share of samples in which an image has to come back for its caption to count as memorized


def write_prompts(world: World, out: Path, truth: Sequence[TruthRow] = ()) -> list[Path]:
    """Write the prompt files of a world: labelled, clean-tuning, clean-calibration, clean-test and release (the demo).

    Rows hold id, prompt, group, kind, family and part. Choices are made on tuning, scores are ranked among calibration,
    figures are of test; the demo run takes from the last alone. truth: rows whose samples were judged:
    memorized.jsonl has the captions of the test split whose image came back in at least BACK of them.
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
    return [_write(out / f"{name}.jsonl", entries) for name, entries in files.items()]


def _write(path: Path, entries: Sequence[Entry]) -> Path:
    lines = [
        json.dumps(
            {
                "prompt": e.caption,
                "id": e.id,
                "group": e.group,
                "kind": KINDS[e.group],
                "family": e.family,
                "part": e.part,
            }
        )
        for e in entries
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path
