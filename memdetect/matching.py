"""The training image beside the output: look images up in an index, and measure the pixels of what is near."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PIL import Image

from memdetect.copies import CopyRule
from memdetect.embedders import Embedder, Source, choose_embedder
from memdetect.index import Index, measure, open_index, try_open
from memdetect.records import Match

GONE = "the training image is not there any more"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What images are looked up with: an index, the embedder that made it, how many neighbours, when pixels agree.

    total: images in the whole training set, 0 = unknown; the index may hold only a part of them.
    """

    index: Index
    embedder: Embedder
    top_k: int = 3
    rule: CopyRule | None = None
    total: int = 0

    @property
    def coverage(self) -> float | None:
        """Share of the training set that the index holds, in (0, 1]; None where the set's size is unknown."""
        return min(1.0, len(self.index) / self.total) if self.total else None

    def of(self, images: Sequence[Image.Image]) -> list[list[Match]]:
        """The nearest training images of each image, nearest first; `seed` counts the images given.

        A match is a copy when its similarity exceeds the index's threshold and the pixels of the pair agree. Pixels are
        measured for the nearest one and for all that are similar enough.
        """
        found = self.index.nearest(self.embedder.embed(images), self.top_k)
        return [
            [self._measured(image, match.model_copy(update={"seed": k})) for match in near]
            for k, (image, near) in enumerate(zip(images, found, strict=True))
        ]

    def _measured(self, image: Image.Image, match: Match) -> Match:
        if match.rank > 1 and not match.similar:
            return match
        training = _training_image(match.path)
        if training is None:
            return match.model_copy(update={"note": GONE})
        tile, ssim, agree = measure(image, training, self.rule)
        return match.model_copy(update={"tile": tile, "ssim": ssim, "copy_found": match.similar and agree})


@lru_cache(maxsize=512)
def _training_image(path: str) -> Image.Image | None:
    return try_open(Path(path))


def open_evidence(
    folder: Path,
    *,
    embedder: str = "auto",
    top_k: int = 3,
    total: int = 0,
    source: Source | None = None,
) -> Evidence:
    """Open an index with the embedder that made it; MemdetectError when either is not to be had or they differ.

    An embedder that ships with a model is looked for in `source.folder`, else beside the index.
    """
    from memdetect.index import read_manifest

    named = read_manifest(folder).embedder.name
    source = source or Source()
    if source.folder is None:
        source = Source(folder.absolute().parent, source.weights, source.trust_torchscript)
    chosen, _ = choose_embedder(embedder, index=named, source=source)
    return Evidence(open_index(folder, chosen), chosen, top_k, total=total)
