"""From a trained pipeline and its runs to what ships: prompt files, clean scores, contact sheet."""

import json
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from memdetect.calibration import Calibration
from memdetect.errors import MemdetectError
from memdetect.lab.world import World, clean_captions
from memdetect.records import Measurement, RunFolder

# What a scan has to share with the clean scores; seeds, layers and timesteps are chosen among those kept.
SHARED = ("model", "family", "dtype", "scheduler", "steps", "guidance_scale", "call")
CALIBRATION, REPORT = 300, 120


def write_prompts(world: World, out: Path) -> list[Path]:
    """Write the prompt files of a world: clean (calibration), labelled (report) and release (the demo run).

    No clean prompt stands in two of them. Rows hold id, prompt and group: `duplicated`, `control` (same pool, by lot
    never shown), `seen` (pairs of names that occur in the stream) or `held-out` (pairs that do not).
    """
    pool = [("duplicated", i, s.caption) for i, s in enumerate(world.duplicated)]
    pool += [("control", i, s.caption) for i, s in enumerate(world.controls)]
    captions = clean_captions(world, CALIBRATION + REPORT + 24)
    clean = [("held-out" if i % 2 else "seen", i, text) for i, text in enumerate(captions)]
    labelled = pool + clean[CALIBRATION : CALIBRATION + REPORT]
    release = pool[:18] + pool[len(world.duplicated) :][:18] + clean[CALIBRATION + REPORT :]
    files = {"clean": clean[:CALIBRATION], "labelled": labelled, "release": sorted(release, key=lambda row: row[2])}
    return [_write(out / f"{name}.jsonl", rows) for name, rows in files.items()]


def _write(path: Path, rows: Sequence[tuple[str, int, str]]) -> Path:
    lines = [json.dumps({"id": f"{group}-{i:03d}", "prompt": text, "group": group}) for group, i, text in rows]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def clean_scores(run: Path, about: str, layers: Sequence[str] = ("*",)) -> Calibration:
    """The scores of a finished run of clean prompts as a calibration, cut to the layers that match a glob.

    Raises MemdetectError when the run is not finished, or an item has a score that is not finite.
    """
    folder = RunFolder(run)
    header, rows = folder.header(), list(folder.measurements())
    if len(rows) != header.planned:
        raise MemdetectError(f"{run} holds {len(rows)} of {header.planned} items; finish the scan first")
    kept = [name for name in header.plan["layers"] if any(fnmatchcase(name, glob) for glob in layers)]
    times = [str(t) for t in header.plan["timesteps"]]
    scores = {
        name: {layer: {t: [_cell(row, name, layer, t) for row in rows] for t in times} for layer in kept}
        for name in header.plan["detectors"]
    }
    settings = {key: header.plan[key] for key in SHARED}
    return Calibration(about=about, settings=settings, prompts=len(rows), scores=scores)


def _cell(row: Measurement, detector: str, layer: str, timestep: str) -> list[float]:
    values = row.scores[detector].cells[layer][timestep]
    numbers = [round(value, 6) for value in values if value is not None]
    if len(numbers) != len(values):
        raise MemdetectError(f"clean prompt {row.id} has a score that is not finite; leave it out")
    return numbers
