"""Made-up runs for the lab's tests."""

import numpy as np
import pytest
from PIL import Image

from memdetect.records import Header, Measurement, RunFolder


@pytest.fixture
def run_of():
    """A function (folder, id -> images) that writes a run of these samples and returns its folder."""
    return _run_of


def _run_of(folder, images: dict[str, list[np.ndarray]]):
    run = RunFolder(folder)
    run.open(Header(memdetect="0", created="", model="m", versions={}, plan={}, planned=len(images)))
    (folder / "images").mkdir(exist_ok=True)
    rows = []
    for i, (name, arrays) in enumerate(images.items()):
        files = [f"images/{i}-{k}.png" for k in range(len(arrays))]
        for file, array in zip(files, arrays, strict=True):
            Image.fromarray(array).save(folder / file)
        seeds = list(range(len(arrays)))
        rows.append(Measurement(index=i, id=name, prompt="p", source="s", seeds=seeds, scores={}, files=files))
    run.write_shard(rows)
    return folder
