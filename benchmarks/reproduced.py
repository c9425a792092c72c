"""How near the samples of a scene's caption come to the scene itself, for duplicated scenes and their controls.

python benchmarks/reproduced.py RUN: a finished run of sample_prompts/labelled.jsonl or release.jsonl with its images.
The measure is the root mean square difference of pixels in units of 255; another scene of the same pool is the
reference for what chance gives. Nothing is called a copy here: that takes a calibrated measure.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.metrics import roc_auc_score

from memdetect.lab.pictures import draw, fetch
from memdetect.lab.run import PICTURE_SIDE
from memdetect.lab.world import make_world, paint
from memdetect.records import RunFolder


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """Root mean square difference of two uint8 images, 0 to 255."""
    return float(np.sqrt(np.square(one.astype(float) - other.astype(float)).mean()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--seed", type=int, default=0, help="seed of the world")
    options = parser.parse_args()
    world, pictures = make_world(options.seed), draw(fetch(), size=PICTURE_SIDE)
    originals = {s.caption: paint(s, pictures) for s in (*world.duplicated, *world.controls)}
    groups = {s.caption: name for name in ("duplicated", "controls") for s in getattr(world, name)}
    own: dict[str, list[float]] = {"duplicated": [], "controls": []}
    best: dict[str, list[bool]] = {"duplicated": [], "controls": []}
    for row in RunFolder(options.run).measurements():
        if row.prompt not in originals:
            continue
        group = groups[row.prompt]
        for file in row.files:
            sample = np.asarray(Image.open(options.run / file))
            near = {caption: distance(sample, image) for caption, image in originals.items()}
            own[group].append(near[row.prompt])
            best[group].append(min(near, key=near.__getitem__) == row.prompt)
    for group, values in own.items():
        q1, median, q3 = np.quantile(values, [0.25, 0.5, 0.75])
        print(
            f"{group}: {len(values)} samples, RMS to the scene of their caption median {median:.1f} "
            f"(quartiles {q1:.1f} to {q3:.1f}) of 255; nearest of all {len(originals)} scenes in {sum(best[group])}"
        )
    labels = [1] * len(own["duplicated"]) + [0] * len(own["controls"])
    print(f"AUROC of nearness, samples: {roc_auc_score(labels, [-v for v in own['duplicated'] + own['controls']]):.3f}")


if __name__ == "__main__":
    main()
