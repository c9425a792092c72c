"""How much of a training image does an image repeat that is no copy of it? The limit of a partial copy.

Images known not to be copies are laid on the training images nearest to them as a look-up does it: of each the largest
share that agrees counts, over as many candidates. Copies and near-duplicates are left out, as for the threshold of the
similarity; pairs whose aligned pixels agree are such copies too. The limit lies MARGIN beyond the largest share of all.
They are laid at the size that training had, where it is known: on small images more agrees by chance.

Rows of the index may share parts with each other, which is no chance. So without held-out images the largest share is
at most what the bulk foretells: shares of chance fall off exponentially, and from their median and their 90th
percentile follows the largest that so many are expected to give.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from math import ceil, log

from PIL import Image

from memdetect.copies.agreement import HOPELESS, Laid, lay
from memdetect.copies.align import Asking, Prepared, Sizes
from memdetect.copies.compared import Beside, compare, plain
from memdetect.copies.index.manifest import Agreement
from memdetect.copies.index.nearby import Candidate
from memdetect.copies.pixels import CopyRule

MOST = 1999  # images that are laid on their neighbours
ENOUGH = 100  # images that are enough to go by
MARGIN = 1.2  # of the largest share
USUAL = 0.3  # limit where the images are fewer
USUAL_SMALL = 0.5  # the same of small images, which have few windows
LEAST = HOPELESS  # of the area: a smaller part is none, whatever the reference says
KEPT = 2048  # small versions of rows that are kept
WORTH = 0.1  # share that agrees, below which two images are no copies in any case


def limit_of(agreement: Agreement, small: bool) -> float:
    """The share of a training image that has to be exceeded for a part of it to count as found.

    small: whether a small image was laid on it, which large ones tell nothing of.
    """
    usual, seen = (USUAL_SMALL if small else USUAL), agreement.agreed or 0.0
    shown = agreement.shown and (not small or agreement.queries - agreement.large >= ENOUGH)
    return max(seen, LEAST if shown else usual)


def foretold(values: Sequence[float]) -> float:
    """The largest of so many ascending values, if their tail is exponential, by their median and 90th percentile."""
    middle, high = values[len(values) // 2], values[len(values) * 9 // 10]
    return middle + (high - middle) / log(5) * log(max(len(values) / 2, 1))


class Parts:
    """Gathers the largest shares that agree between images and their neighbours that are no copies.

    opens: the picture of a row, None where it is gone. planned: how many images will be added; MOST of them at most are
    laid on their neighbours. trusted: none of them is a copy, whatever its pixels say. side: pixels to which training
    brought the shorter side of pictures, and images are brought; None = they stay as they are.
    """

    def __init__(
        self,
        opens: Callable[[int], Image.Image | None],
        rule: CopyRule,
        planned: int,
        *,
        trusted: bool = False,
        side: int | None = None,
    ) -> None:
        self.opens, self.rule, self.trusted, self.step = opens, rule, trusted, ceil(max(planned, 1) / MOST)
        self.side = side
        self.values: list[float] = []
        self.seen = self.pairs = self.copies = self.large = 0
        self._kept: OrderedDict[tuple[int, Sizes], Prepared | None] = OrderedDict()

    @property
    def due(self) -> bool:
        """Whether the next image will be laid on its neighbours."""
        return self.seen % self.step == 0

    def brought(self, image: Image.Image) -> Image.Image:
        """An image at the size that training had, where that is known."""
        if self.side is None or min(image.size) == self.side:
            return image
        scale = self.side / min(image.size)
        return image.resize([max(1, round(side * scale)) for side in image.size], Image.Resampling.LANCZOS)

    def add(self, image: Image.Image | None, near: Sequence[Candidate]) -> None:
        """Lay an image on the rows near it, nearest first, none of which is a copy of it that is known.

        One of which no row can be opened tells nothing, and does not count.
        """
        due = self.due
        self.seen += 1
        if image is None or not due or plain(image):
            return
        image = self.brought(image)
        asking = Asking(image)
        small = [self.small(one.index, asking.sizes) for one in near]
        if not any(small):
            return
        # As a look-up does, but for the small shares, of which the limit is foretold.
        pictures = [one.picture for one in near]
        laid = lay(asking, small, [k == 0 for k in range(len(small))], pictures, through=True)
        self.pairs += sum(one is not None for one in small)
        self.large += not asking.sizes.small
        self.values.append(max(self._share(image, one.index, part) for one, part in zip(near, laid, strict=True)))

    def agreement(self, held_out: bool) -> Agreement:
        """The limit by what was gathered."""
        values = sorted(self.values)
        largest = max(values, default=None)
        if largest is not None and not held_out:
            largest = min(largest, foretold(values))
        agreed = None if largest is None else MARGIN * largest
        return Agreement(
            agreed=agreed,
            shown=len(values) >= ENOUGH,
            queries=len(values),
            pairs=self.pairs,
            duplicates=self.copies,
            beyond=sum(value > agreed for value in values) if agreed is not None else 0,
            large=self.large,
            source="held-out" if held_out else "leave-one-out",
        )

    def _share(self, image: Image.Image, row: int, part: Laid | None) -> float:
        if part is None or part.agreed < WORTH:
            return part.agreed if part else 0.0
        other = None if self.trusted else self.opens(row)
        if other is not None and compare([Beside([image], other, part)], self.rule)[0].whole:
            self.copies += 1
            return 0.0
        return part.agreed

    def small(self, row: int, sizes: Sizes) -> Prepared | None:
        """The picture of a row made small to be aligned; None where it is gone."""
        if (row, sizes) not in self._kept:
            image = self.opens(row)
            self._kept[row, sizes] = Prepared.of(image, sizes) if image else None
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return self._kept[row, sizes]
