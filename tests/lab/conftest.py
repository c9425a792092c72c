"""Made-up runs for the lab's tests."""

import numpy as np
import pytest
from PIL import Image
from synthetic_runs import plan_of

from memdetect.lab.world.labelled import World, make_world
from memdetect.lab.world.pictures import NAMES
from memdetect.lab.world.stock import load_clips
from memdetect.runs.folder import RunFolder
from memdetect.runs.header import Header
from memdetect.runs.records import Measurement

PLAN = {
    **{"inputs": "", "model": "m", "dtype": "fp32", "seed": 0, "num_seeds": 1, "steps": 1, "guidance_scale": 1.0},
    **{"detectors": ["spikiness"], "layers": ["up"], "timesteps": [50]},
}


@pytest.fixture(scope="session")
def bundled_world() -> World:
    """The one that the bundled model was trained on."""
    return make_world(0, names=NAMES, clips=list(load_clips()))


@pytest.fixture
def run_of():
    """A function (folder, id -> images, world) that writes a run of these samples and returns its folder.

    The prompts are those of the world, of other ids "p"; planned: how many items the run says it has.
    """
    return _run_of


def _run_of(folder, images: dict[str, list[np.ndarray]], world: World | None = None, planned: int | None = None):
    prompts = {e.id: e.caption for e in (*world.labelled, *world.clean)} if world else {}
    run = RunFolder(folder)
    planned = len(images) if planned is None else planned
    run.open(Header(memdetect="0", created="", model="m", versions={}, plan=plan_of(**PLAN), planned=planned))
    (folder / "images").mkdir(exist_ok=True)
    rows = []
    for i, (name, arrays) in enumerate(images.items()):
        files = [f"images/{i}-{k}.png" for k in range(len(arrays))]
        for file, array in zip(files, arrays, strict=True):
            Image.fromarray(array).save(folder / file)
        seeds = list(range(len(arrays)))
        prompt = prompts.get(name, "p")
        rows.append(Measurement(index=i, id=name, prompt=prompt, source="s", seeds=seeds, scores={}, files=files))
    run.write_shard(0, rows)
    return folder
