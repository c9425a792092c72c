"""How much may a copy differ, where pictures that are no copies differ little? The copy rule of an index of its own.

X-rays, product shots and frames of one film look alike, so that the usual rule calls a new one a copy. Held-out images
that are surely none say how much of the rule's room (`CopyRule.strict`) has to go: each is laid on the training images
near it as a look-up does it, and compared as it is. The rule is never wider than the usual one.
"""

from collections.abc import Sequence
from math import inf

from PIL import Image

from memdetect.copies.agreement import lay
from memdetect.copies.align import Asking
from memdetect.copies.compared import Beside, plain, room
from memdetect.copies.index.conformal import quantile
from memdetect.copies.index.manifest import Tightened
from memdetect.copies.index.nearby import Candidate
from memdetect.copies.index.part import Parts
from memdetect.copies.index.views import centre_square
from memdetect.errors import MemdetectError

LEAST = 0.05  # of the room: a picture that was merely saved again takes up less
BELOW = 0.98  # of the room that a non-copy takes up: a look-up sees smaller versions of large pictures


class Rooms:
    """Gathers how much of the rule's room images take up that are no copies. parts: opens their training images."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.values: list[float] = []

    def add(self, image: Image.Image, near: Sequence[Candidate]) -> None:
        """Compare an image with the rows near it: of each pair the smallest room counts, of these the smallest.

        Raises MemdetectError (usage) where none of the rows' pictures can be opened.
        """
        if plain(image):
            self.values.append(inf)
            return
        image = self.parts.brought(image)
        asking, square = Asking(image), centre_square(image)
        views = [image, *([square] if square else [])]
        small = [self.parts.small(one.index, asking.sizes) for one in near]
        laid = lay(asking, small, [True] * len(small), [one.picture for one in near])
        opened = [self.parts.opens(one.index) if there else None for one, there in zip(near, small, strict=True)]
        if near and not any(opened):
            raise MemdetectError(
                "no training image near a held-out one can be opened, so that they tell nothing of the copy rule; put "
                "the pictures back, or leave out --trust-held-out"
            )
        pairs = [Beside(views, other, own) for other, own in zip(opened, laid, strict=True) if other]
        self.values.append(min((room(p, self.parts.rule) for p in pairs if not plain(p.other)), default=inf))

    def tightened(self, level: float) -> Tightened:
        """The share of the room that is left, at which at most `level` of such images are called copies.

        The k-th smallest room of n images is not reached, k = floor(level * (n + 1)), or the smallest where that is 0.
        """
        limit, shown = quantile(sorted(-value for value in self.values), level)
        share = 1.0 if limit is None else min(1.0, max(LEAST, -limit * BELOW))
        return Tightened(
            share=share,
            level=level,
            shown=shown,
            queries=len(self.values),
            within=sum(value <= 1 for value in self.values),
            beyond=sum(value <= share for value in self.values),
        )
