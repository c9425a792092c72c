"""How an index of training images is made."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from typer import Option

from memdetect.inputs.options.shared import BatchSize, EmbedderName, File, Given, MaxPixels


@dataclass(frozen=True, slots=True)
class Indexing:
    """How an index of training images is made.

    factory: None = by size. level: None = that of the index that is appended to, else 0.001. held_out: images known
    not to be copies; () = each image of the index in turn, without its copies. training_set: how many distinct pictures
    the whole training set has, if known. as_trained: SIZE or SIZE,center or SIZE,random: how training made squares of
    pictures; None = they are taken whole. None of both = as the index that is appended to says.
    """

    panel: ClassVar[str] = "Index"
    embedder: EmbedderName = "auto"
    held_out: Annotated[
        Sequence[File],
        Option("--held-out", help="Images known not to be copies, for the threshold; repeatable."),
        Given(list[str] | None, lambda given: tuple(given or ())),
    ] = ()
    level: Annotated[
        float | None,
        Option("--threshold-level", min=1e-9, max=0.5, help="Share of non-copies above the threshold; 0.001."),
    ] = None
    factory: Annotated[str | None, Option("--factory", help="Flat, or IVFn,SQ8; by size if not given.")] = None
    training_set: Annotated[
        int | None,
        Option(
            "--training-set",
            min=1,
            metavar="N",
            help="Distinct pictures of the whole training set; sources are a part of it.",
        ),
    ] = None
    as_trained: Annotated[
        str | None,
        Option(
            "--as-trained",
            metavar="SIZE[,center|random]",
            help="Index the squares that training cut out of pictures: shorter side SIZE, from the centre or anywhere.",
        ),
    ] = None
    append: Annotated[bool, Option("--append", help="Add to the index that is there.")] = False
    replace: Annotated[bool, Option("--replace", help="Put the new index in the place of one.")] = False
    null_queries: Annotated[
        int, Option("--null-queries", min=1, metavar="N", help="At most so many images for the threshold.")
    ] = 4999
    planted: Annotated[
        int, Option("--planted", min=0, metavar="N", help="Damaged copies to look up when it is built.")
    ] = 200
    batch_size: BatchSize = 64
    max_pixels: MaxPixels = 64_000_000
