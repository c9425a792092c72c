"""What aligning an image with a training image costs over comparing the two as they are, in processor time.

pair: one of each, both in memory: proposals, refining, what agrees, and the measures of the aligned parts beside those
of the two as they are. Images are noise of all scales; the image is a crop of the training image. ten: an image laid
on ten training images of which one is its original, as a look-up does it, over ten comparisons as they are.
"""

import argparse
import sys
import time
from collections.abc import Sequence

import numpy as np
from PIL import Image
from startup import compare

from memdetect.copies.agreement import lay
from memdetect.copies.align import Asking, Prepared
from memdetect.copies.compared import Beside
from memdetect.copies.compared import compare as compare_pixels

BAR = 3.0
CROP = (0.1, 0.15, 0.9, 0.95)  # of the training image


def picture(seed: int, side: int) -> Image.Image:
    """Noise of all scales, the coarse the strongest, in three channels."""
    rng, total = np.random.default_rng(seed), np.zeros((side, side, 3), np.float32)
    for cells in (4, 8, 16, 32, 64):
        for channel in range(3):
            coarse = rng.standard_normal((cells, cells)).astype(np.float32) / cells
            total[..., channel] += np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC))
    return Image.fromarray((255 * (total - total.min()) / np.ptp(total)).astype(np.uint8))


def aligned(image: Image.Image, others: Sequence[Image.Image]) -> list[float]:
    """The share that agrees with each that it was laid on, once the pixels of the best are measured."""
    asking = Asking(image)
    laid = lay(asking, [Prepared.of(other, asking.sizes) for other in others], [k == 0 for k in range(len(others))])
    best = max((part.agreed, k) for k, part in enumerate(laid) if part)[1]
    compare_pixels([Beside([image], others[best], laid[best])])
    return [part.agreed if part else 0.0 for part in laid]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print both ratios; 1 when the bar of a pair is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args(arguments)
    others = [picture(seed, given.side) for seed in range(given.pairs)]
    box = tuple(share * given.side for share in CROP)
    images = [other.resize(other.size, Image.Resampling.LANCZOS, box=box) for other in others]
    found = [aligned(image, [other])[0] for image, other in zip(images, others, strict=True)]
    print(f"{given.pairs} pairs of {given.side} x {given.side}: {min(found):.2f} of each original agrees, or more")

    def plain() -> None:
        for image, other in zip(images, others, strict=True):
            compare_pixels([Beside([image], other)])

    def pairs() -> None:
        for image, other in zip(images, others, strict=True):
            aligned(image, [other])

    def ten() -> None:
        aligned(images[0], others)

    ratio = compare(pairs, plain, given.rounds, time.process_time)
    print(ratio.report("aligning and comparing a pair over comparing it", BAR))
    many = compare(ten, plain, given.rounds, time.process_time)
    print(f"an image laid on {given.pairs} over {given.pairs} comparisons: {many.median:.2f}")
    return int(ratio.median > BAR)


if __name__ == "__main__":
    sys.exit(main())
