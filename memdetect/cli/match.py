"""`memdetect match`: which training images given images are copies of; no diffusion model."""

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from memdetect.cli.output import hush, say, write
from memdetect.errors import Exit

BATCH = 64


class Format(StrEnum):
    """Formats of stdout."""

    table = "table"
    json = "json"
    csv = "csv"


def match_command(
    images: Annotated[list[str], typer.Argument(metavar="IMAGE...", help="Images, folders, globs or lists.")],
    index: Annotated[Path, typer.Option("--index", "-i", help="Index of the training images.")],
    top_k: Annotated[int, typer.Option(min=1, help="Training images for each.")] = 1,
    format: Annotated[Format, typer.Option("--format", help="What to print on stdout.")] = Format.table,
    weights: Annotated[Path | None, typer.Option(help="File with the weights of an SSCD embedder.")] = None,
    trust_torchscript: Annotated[
        bool, typer.Option("--trust-torchscript", help="Open a TorchScript file, which can run code.")
    ] = False,
) -> None:
    """Find the training images nearest to images, and say which pairs are copies: embedder and pixels agree.

    Exit codes: 0 done, whatever was found; 2 usage or input; 3 no image could be read.
    """
    found = list(look_up(images, index, top_k, weights, trust_torchscript))
    for _, _, problem in found:
        if problem:
            say(problem)
    from memdetect.render.matches import MATCH_FORMATS

    rows = [(image, matches) for image, matches, problem in found if not problem]
    write(MATCH_FORMATS[format.value](rows))
    raise typer.Exit(int(Exit.OK if rows else Exit.INCONCLUSIVE))


def look_up(
    images: list[str], folder: Path, top_k: int, weights: Path | None, trust_torchscript: bool
) -> Iterator[tuple[str, list[Any], str]]:
    """Each image's path, its matches, and why it could not be read ("" = it could)."""
    hush()
    from itertools import islice

    from memdetect.embedders import Source
    from memdetect.errors import MemdetectError
    from memdetect.images import open_image
    from memdetect.index.sources import listed
    from memdetect.matching import open_evidence

    evidence = open_evidence(folder, top_k=top_k, source=Source(None, weights, trust_torchscript))
    entries = listed(images)
    while group := list(islice(entries, BATCH)):
        opened: list[Any] = []
        for entry in group:
            try:
                opened.append((str(entry.path), open_image(entry.path).image))
            except MemdetectError as problem:
                yield str(entry.path), [], str(problem)
        matches = evidence.of([image for _, image in opened]) if opened else []
        for (path, _), near in zip(opened, matches, strict=True):
            yield path, near, ""
