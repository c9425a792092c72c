"""What a page shows beside the results: pictures, clean scores, digests; made elsewhere, a page is a function."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from memdetect.copies.match import Match
from memdetect.judging.columns import Codes

Strata = Codes[str] | Sequence[str]


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as a page holds it: a data address, its width and height in pixels, and the sha256 of its file."""

    data: str
    width: int
    height: int
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Pair:
    """An image of an item beside a training image, as far as they could be opened.

    output: as it is; aligned: as it lies on the training image, None where that is the same. second: the next nearest
    training image, with its match.
    """

    match: Match
    output: Picture | None = None
    aligned: Picture | None = None
    training: Picture | None = None
    second_match: Match | None = None
    second: Picture | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """The pictures of an item: its pairs, the strongest first, its other images, and the sha256 of every one of them.

    others: number of the image, and the picture. digests: in the order of the images, as decisions name them.
    """

    pairs: tuple[Pair, ...] = ()
    others: tuple[tuple[int, Picture], ...] = ()
    digests: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Clean:
    """Clean scores of a detector, or of the combination that decides, by stratum, each ascending."""

    name: str
    decides: bool
    strata: Mapping[str, Sequence[float]]


@dataclass(frozen=True, slots=True)
class Beside:
    """All of it. seen: by the index of the item. clean: of each detector, the one that decides first.

    stratum: of each result, in their order, in which of the strata it was ranked, () = there is one. kinds: whether
    strata are kinds of prompts, whose names are memdetect's own. results: sha256 of each results.jsonl.
    evidence: what was asked of the images. without: why findings have no pictures; "" = they have.
    """

    seen: Mapping[int, Seen] = field(default_factory=dict[int, Seen])
    clean: tuple[Clean, ...] = ()
    stratum: Strata = ()
    kinds: bool = False
    results: tuple[str, ...] = ()
    evidence: str = "none"
    without: str = "this page was made without pictures"


NOTHING = Beside()
