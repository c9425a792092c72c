"""What of an item is no number, and which of its images show nothing: said in its record, never taken for an answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from jaxtyping import Float
from PIL import Image
from torch import Tensor

from memdetect.copies.compared import plain
from memdetect.copies.index import FAINT, centre_square
from memdetect.copies.match import Match
from memdetect.copies.matching import Evidence
from memdetect.probing import Decoded
from memdetect.runs.records import Measurement, Score

Views = Mapping[int, Sequence[Image.Image]]


def single_colour(image: Image.Image) -> bool:
    """Whether an image has one colour, but for noise, so that no training image can be compared with it.

    By the rule of that comparison (`copies.compared.plain`): of the image and of the square about its centre.
    """
    return plain(image) and ((square := centre_square(image)) is None or plain(square))


def not_finite(latents: Float[Tensor, "image chan row col"]) -> list[int]:
    """Numbers of the images with a latent that is NaN or infinite, from 0."""
    return [k for k, whole in enumerate(latents.isfinite().flatten(1).all(dim=1).tolist()) if not whole]


@dataclass(frozen=True, slots=True)
class Searched:
    """What a look-up of an item's images came to.

    blind: images whose embedding is not finite. missed: images for which nothing was found, for no known reason.
    faint: images of too little texture for the embedder's codes.
    """

    matches: list[Match]
    blind: list[int]
    missed: list[int]
    faint: list[int] = field(default_factory=list[int])


def search(
    images: Sequence[Decoded], sound: Sequence[int], evidence: Evidence | None, ways: Views | None = None
) -> Searched:
    """Look up the images numbered in `sound`; the matches carry the numbers that these have among all images.

    ways: of given images, by number, what further ways of decoding make of them.
    """
    if evidence is None or not sound:
        return Searched([], [], [])
    further = {place: (ways or {}).get(k, ()) for place, k in enumerate(sound)}
    seen = evidence.look_up([Image.fromarray(images[k].pixels) for k in sound], further)
    matches = [match.model_copy(update={"seed": sound[match.seed]}) for match in seen.matches]
    unfit = [k for k, finite in zip(sound, seen.finite, strict=True) if not finite]
    found = {match.seed for match in matches}
    missed = [k for k in sound if k not in found and k not in unfit]
    return Searched(matches, [], missed, unfit) if seen.faint else Searched(matches, unfit, missed)


def checked(
    row: Measurement,
    latents: Float[Tensor, "image chan row col"] | None,
    images: Sequence[Decoded],
    evidence: Evidence | None,
    ways: Views | None = None,
) -> Measurement:
    """The record with its matches, the images of one colour, and `nonfinite` with the reasons if anything is no number.

    latents: None of a run that was ended before. images: those decoded or given, none where none was needed. An image
    whose pixels are not finite, or are decoded from latents that are not, is not looked up. ways: as for `search`.
    Images without a match, though an index was searched, are named.
    """
    bad = [] if latents is None else not_finite(latents)
    cause = bad if row.image is None else []  # pixels are decoded from latents; a given image has its own
    blank = [k for k, image in enumerate(images) if not image.finite and k not in cause]
    sound = [k for k in range(len(images)) if k not in (*cause, *blank)]
    found = search(images, sound, evidence, ways)
    single = [k for k in sound if single_colour(Image.fromarray(images[k].pixels))]
    lost = [name for name, score in row.scores.items() if not _whole(score)]
    faults = [
        *_said("latents of", bad, ("are not finite", "are not finite")),
        *_said("pixels of", blank, ("are not finite", "are not finite")),
        *_said("embedding of", found.blind, ("is not finite", "are not finite")),
        *([f"scores are not finite: {', '.join(lost)}"] if lost else []),
    ]
    remarks = [
        *_said("", single, ("has a single colour", "have a single colour")),
        *_said("", found.missed, ("was not searched", "were not searched")),
        *_said("", found.faint, (unseen := f"cannot be looked up: {FAINT}", unseen)),
    ]
    facts = {"matches": found.matches, "one_colour": single, "notes": [*row.notes, *faults, *remarks]}
    return row.model_copy(update={**facts, "status": "nonfinite" if faults else row.status})


def _whole(score: Score) -> bool:
    """Whether a score and each of its cells is finite: a mean over what survived would be no score."""
    cells = [value for times in score.cells.values() for values in times.values() for value in values]
    return score.score is not None and None not in cells


def _said(before: str, numbers: Sequence[int], ends: tuple[str, str]) -> list[str]:
    """`before` image 1 `ends[0]`, or images 0, 2 `ends[1]`; nothing for no image."""
    if not numbers:
        return []
    many = len(numbers) > 1
    listed = ", ".join(map(str, numbers))
    return [f"{before} image{'s' if many else ''} {listed} {ends[many]}".strip()]
