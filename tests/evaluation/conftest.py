"""A labelled run of which it is known which cell separates."""

from pathlib import Path

import numpy as np
import pytest

from memdetect.runs.folder import RunFolder
from memdetect.runs.records import Measurement, Score


def measurement(index: int, group: str, values: dict[str, dict[str, list[float | None]]]) -> Measurement:
    scores = {"spikiness": Score(score=0.0, cells=values)}
    return Measurement(
        index=index, id=f"{group}-{index:03d}", prompt="a", source="p", meta={"group": group}, scores=scores
    )


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """One layer that tells duplicated prompts from all others at t = 10 only, one that tells nothing."""
    rng = np.random.default_rng(0)
    rows = []
    for i, group in enumerate(["duplicated"] * 40 + ["control"] * 40 + ["seen"] * 30 + ["unseen"] * 30):
        shift = 5.0 if group == "duplicated" else 0.0
        noise = iter(rng.normal(0, 1, 8).tolist())
        good = {"10": [shift + next(noise), shift + next(noise)], "50": [next(noise), next(noise)]}
        bad = {"10": [next(noise), next(noise)], "50": [next(noise), next(noise)]}
        rows.append(measurement(i, group, {"up_blocks.0.resnets.0": good, "mid_block": bad}))
    rows.append(measurement(999, "seen", {"up_blocks.0.resnets.0": {"10": [None], "50": [1.0]}}))
    folder = RunFolder(tmp_path / "run")
    (folder.path / "shards").mkdir(parents=True)
    folder.write_shard(0, rows)
    return folder.path
