"""Would this index find a copy? Its own images, damaged mildly, are looked up when it is built."""

import io

import numpy as np
from PIL import Image, ImageFilter

from memdetect.index.calibrate import Copies
from memdetect.index.manifest import Planted
from memdetect.index.nearest import Embeds
from memdetect.index.pixels import agree, try_open
from memdetect.index.search import Searcher

DAMAGE = "scaled to 3/4 and back, blurred by 0.7 pixels, JPEG of quality 50"
AT_ONCE = 32
JPEG_SIDE = 65_500  # pixels, the longest that the format has


def damaged(image: Image.Image) -> Image.Image:
    """An RGB image after DAMAGE, of the same size."""
    small = image.resize([max(1, side * 3 // 4) for side in image.size], Image.Resampling.BICUBIC)
    blurred = small.resize(image.size, Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(0.7))
    file = io.BytesIO()
    blurred.save(file, "JPEG", quality=50)
    return Image.open(file).convert("RGB")


def planted(
    searcher: Searcher, copies: Copies, embedder: Embeds, limit: float | None, images: int, seed: int
) -> Planted:
    """Look up damaged images of rows chosen by lot. Found = the nearest row is that image, or one with equal pixels.

    Shares are of the images that could still be opened and fit into a JPEG; all 0 when none could.
    """
    chosen = np.sort(np.random.default_rng(seed + 1).permutation(searcher.count)[:images])
    found = np.zeros(3, int)
    count = 0
    for start in range(0, len(chosen), AT_ONCE):
        rows = [(int(i), copies.rows[int(i)]) for i in chosen[start : start + AT_ONCE]]
        fit = ((i, row) for i, row in rows if max(row.width, row.height) <= JPEG_SIDE)
        opened = [(i, row, try_open(row.file(copies.folder), row.pixels)) for i, row in fit]
        pairs = [(i, row, image, damaged(image)) for i, row, image in opened if image is not None]
        if not pairs:
            continue
        vectors = np.asarray(embedder.embed([copy for *_, copy in pairs]), np.float32)
        near, best = searcher.search(vectors, 1)
        for (index, row, image, copy), similarity, hit in zip(pairs, near[:, 0], best[:, 0], strict=True):
            count += 1
            right = hit == index or (hit >= 0 and copies.same(image, row.sha256, int(hit)))
            similar = bool(right and limit is not None and similarity > limit)
            found += [right, similar, similar and agree(copy, image, copies.rule)]
    shares = found / max(count, 1)
    return Planted(
        images=count, recall_at_1=float(shares[0]), similar=float(shares[1]), copies=float(shares[2]), damage=DAMAGE
    )
