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
    not to be copies; () = each image of the index in turn, without its copies. trust: also where their pixels agree
    with a training image, so that the rule of pixels is tightened. training_set: how many distinct pictures
    the whole training set has, if known. as_trained: SIZE or SIZE,center or SIZE,random: how training made squares of
    pictures; None = they are taken whole. None of both = as the index that is appended to says.
    """

    panel: ClassVar[str] = "Index"
    embedder: EmbedderName = "auto"
    held_out: Annotated[
        Sequence[File],
        Option("--held-out", help="Images known not to be copies, from which the threshold is found; repeatable."),
        Given(list[str] | None, lambda given: tuple(given or ())),
    ] = ()
    trust: Annotated[
        bool,
        Option(
            "--trust-held-out",
            help="Take no held-out image for a copy, and tighten the copy rule until it calls none of them one.",
        ),
    ] = False
    level: Annotated[
        float | None,
        Option(
            "--threshold-level",
            min=1e-9,
            max=0.5,
            help="Share of non-copies that may lie above the threshold. Default: 0.001.",
        ),
    ] = None
    factory: Annotated[
        str | None, Option("--factory", help="FAISS index type: Flat, or IVFn,SQ8. Default: by the number of images.")
    ] = None
    training_set: Annotated[
        int | None,
        Option(
            "--training-set",
            min=1,
            metavar="N",
            help="Number of distinct pictures in the whole training set, of which the sources are a part.",
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
    append: Annotated[bool, Option("--append", help="Add the images to the index that is there already.")] = False
    replace: Annotated[bool, Option("--replace", help="Replace the index that is there already.")] = False
    null_queries: Annotated[
        int, Option("--null-queries", min=1, metavar="N", help="Largest number of images to find the threshold with.")
    ] = 4999
    planted: Annotated[
        int,
        Option(
            "--planted",
            min=0,
            metavar="N",
            help="Number of damaged copies to look up once the index is built; they show what it finds.",
        ),
    ] = 200
    batch_size: BatchSize = 64
    max_pixels: MaxPixels = 64_000_000
