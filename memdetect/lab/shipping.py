"""From a trained pipeline and its runs to what ships: prompt files, clean scores, contact sheet."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from memdetect.calibration import Calibration, calibration_of_run
from memdetect.errors import MemdetectError
from memdetect.lab.world import Entry, World
from memdetect.records import RunFolder

RELEASE = {"matched": 10, "verbatim": 6, "template": 4, "control": 10, "seen": 15, "held-out": 15}


def write_prompts(world: World, out: Path) -> list[Path]:
    """Write the prompt files of a world: labelled, clean-a, clean-b, clean-report and release (the demo run).

    Rows hold id, prompt, group, family and part. A is for choices, B the null, report and the reporting half of the
    labelled groups for figures; the demo run takes from the last two alone.
    """
    rows = [*world.labelled, *world.clean]
    chosen: list[Entry] = []
    for group, count in RELEASE.items():
        own = [e for e in rows if e.group == group and e.part in ("reporting", "report")]
        families = {e.family: e for e in reversed(own)}
        chosen += [e for e in own if families[e.family] is e][:count]
    order = np.random.default_rng([world.seed, 5]).permutation(len(chosen))
    files = {"labelled": world.labelled, "release": [chosen[int(i)] for i in order]}
    for part in ("A", "B", "report"):
        files[f"clean-{part.lower()}"] = [e for e in world.clean if e.part == part]
    return [_write(out / f"{name}.jsonl", entries) for name, entries in files.items()]


def _write(path: Path, entries: Sequence[Entry]) -> Path:
    keys = ("id", "group", "family", "part")
    lines = [json.dumps({"prompt": e.caption, **{key: getattr(e, key) for key in keys}}) for e in entries]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def clean_scores(run: Path, about: str, layers: Sequence[str] = ("*",)) -> Calibration:
    """The scores of a finished run of clean prompts as a calibration, cut to the layers that match a glob.

    Raises MemdetectError when the run is not finished, or an item has a score that is not finite.
    """
    folder = RunFolder(run)
    header, rows = folder.header(), list(folder.measurements())
    if len(rows) != header.planned:
        raise MemdetectError(f"{run} holds {len(rows)} of {header.planned} items; finish the scan first")
    return calibration_of_run(header, rows, layers).model_copy(update={"about": about})
