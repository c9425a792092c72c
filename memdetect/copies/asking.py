"""What is asked of an index, in Python and on the command line: make one, look images up in one."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from memdetect.adapters.cards import read_card
from memdetect.copies import index as indexes
from memdetect.copies.embedders import Embedder, Source, choose_embedder
from memdetect.copies.index import BuildOptions, Index, read_manifest
from memdetect.copies.index.build import check_options, recover
from memdetect.copies.index.sources import listed
from memdetect.copies.match import Looked
from memdetect.copies.matching import look_up_files, open_evidence
from memdetect.errors import MemdetectError
from memdetect.inputs.bundled import model_folder
from memdetect.inputs.images import MAX_PIXELS
from memdetect.inputs.options import File, Indexing, Lookup

Progress = Callable[[int, int, str], None]


def silent(_done: int, _planned: int, _note: str) -> None:
    """Show no progress."""


def source_in(folder: Path | None, lookup: Lookup) -> Source:
    """Where an embedder's weights may lie: in a model's folder, or where they were said to be."""
    return Source(folder, Path(lookup.weights) if lookup.weights else None, lookup.trust_torchscript)


def source_of(model: str | None, lookup: Lookup) -> Source:
    """The same for a model by its name; MemdetectError for one that is neither bundled nor a folder."""
    folder = (model_folder(model) or Path(model)) if model else None
    if folder and not folder.is_dir():
        raise MemdetectError(f"--model {model!r} is neither a bundled model nor a folder; check the name")
    return source_in(folder, lookup)


def embedder_for(indexing: Indexing, folder: Path, source: Source) -> tuple[Embedder, str]:
    """The embedder of the index that is appended to, else of the model's card, else the best there is.

    With it a line to print about the choice, "" when there is nothing to say. Raises MemdetectError for options that
    contradict each other.
    """
    check_options(BuildOptions.of(indexing))
    if indexing.append:
        recover(folder)
    held = read_manifest(folder).embedder.name if indexing.append else None
    return choose_embedder(indexing.embedder, index=held, card=read_card(source.folder).embedder, source=source)


def build_index(
    sources: Sequence[File],
    folder: File,
    *,
    indexing: Indexing | None = None,
    lookup: Lookup | None = None,
    model: str | None = None,
    progress: Progress = silent,
) -> Index:
    """Make an index of training images in a folder that is not there yet, and return it opened.

    sources: folders of images, globs, images, or lists of paths (txt, jsonl, csv, tsv, parquet). indexing: how, with
    which embedder, and whether an index that is there is added to or replaced. lookup: where the embedder's weights
    are. model: that the embedder ships with, by its bundled name or folder. Raises MemdetectError.
    """
    indexing, place = indexing or Indexing(), Path(folder)
    several(sources, "sources")
    embedder, line = embedder_for(indexing, place, source_of(model, lookup or Lookup()))
    if line:
        warnings.warn(line, stacklevel=2)
    return indexes.build_index(list(sources), embedder, place, BuildOptions.of(indexing), progress)


def look_up(
    images: Sequence[File | Image.Image],
    index: File,
    *,
    lookup: Lookup | None = None,
    model: str | None = None,
    max_pixels: int = MAX_PIXELS,
    progress: Progress = silent,
) -> list[Looked]:
    """Find the training images that images are copies of: a record for each, with `outcome`, `reason` and `matches`.

    images: files, folders, globs, lists of paths, and pictures of Pillow. lookup: how many matches are kept of each
    (5 without it), and where the embedder's weights are. model: that the embedder ships with. max_pixels: larger
    images are not opened. Raises MemdetectError.
    """
    lookup = lookup or Lookup(top_k=5)
    several(images, "images")
    wanted = list(_listed(images))
    found = open_evidence(Path(index), source_of(model, lookup), lookup.top_k)
    looked: list[Looked] = []
    for row in look_up_files(wanted, found.index, found.embedder, found.top_k, max_pixels):
        looked.append(row)
        progress(len(looked), len(wanted), "")
    return looked


def _listed(images: Sequence[Any]) -> Iterator[Path | Image.Image]:
    for k, image in enumerate(images):
        if isinstance(image, str | Path):
            yield from (entry.path for entry in listed([image]))
        elif isinstance(image, Image.Image):
            yield image
        else:
            raise MemdetectError(f"image {k} is a {type(image).__name__}, expected a path or a Pillow image")


def several(given: Any, name: str) -> None:
    """Refuse a single path or text where a list is expected, and nothing at all."""
    if isinstance(given, str | bytes | Path) or not isinstance(given, Sequence):
        raise MemdetectError(f"{name} is a {type(given).__name__}, expected a list; write [{given!r:.60}]")
    if not given:
        raise MemdetectError(f"{name} is empty; give at least one")
