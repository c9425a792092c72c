"""An index of the very pictures that a model was trained on, to look outputs up in."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from memdetect.copies.asking import source_in
from memdetect.copies.embedders import choose_embedder
from memdetect.copies.index import BuildOptions
from memdetect.copies.index.build import build_of
from memdetect.copies.index.feeds import Files
from memdetect.copies.index.manifest import ROWS, file_sum, read_manifest
from memdetect.copies.index.rows import RowFile
from memdetect.copies.index.sources import Listed
from memdetect.copies.matching import open_evidence
from memdetect.errors import MemdetectError
from memdetect.inputs.captions import captioned, training_pictures
from memdetect.inputs.folders import images_in
from memdetect.probing import image_size
from memdetect.scanning.prepare import INDEX, Bench


def with_own_index(bench: Bench, pictures: Path, out: Path, clean: Callable[[], Path] | None) -> Bench:
    """The bench with an index of the training pictures, built in `out`/train.index if it is not there yet.

    It holds each picture that is not square whole, and cropped about its centre to the size of the model's images, as
    training makes squares. clean: asked, where the index is built, for a folder of images that are no copies (what the
    base drew), which the threshold rests on; without it each picture is compared with the others. Raises MemdetectError
    as building and opening an index do.
    """
    source = source_in(bench.model.folder, bench.options.lookup)
    folder = out / INDEX
    if folder.is_dir():
        _refuse_another(folder, pictures)
    else:
        embedder, _ = choose_embedder(card=bench.model.card.embedder or None, source=source)
        drawn = clean() if clean else None
        held = (drawn,) if drawn and next(images_in(drawn), None) else ()
        own = training_pictures(pictures)
        said = _captions(pictures, bench.options.lookup.instance_prompt)
        side = min(image_size(bench.model, bench.sampler.call))
        made = BuildOptions(
            held_out=held, as_trained=f"{side},center", training_set=_distinct(own), training_set_by="the folder itself"
        )
        build_of(Files([Listed(path, caption=said.get(path), place=str(path)) for path in own]), embedder, folder, made)
    return replace(bench, evidence=open_evidence(folder, source, bench.options.lookup.top_k))


def _captions(pictures: Path, instance_prompt: str | None) -> dict[Path, str]:
    """The first caption of each picture; none where they cannot be read, and prompts are given beside them."""
    try:
        return dict(reversed(captioned(pictures, instance_prompt)))
    except MemdetectError:
        return {}


def _refuse_another(folder: Path, pictures: Path) -> None:
    """Refuse to search the index of other pictures than those of the folder, whichever of the two has changed."""
    rows = RowFile(folder / ROWS)
    manifest = read_manifest(folder)
    held = {rows[i].sha256 for i in range(manifest.count)}
    now = {file_sum(picture).sha256: picture for picture in training_pictures(pictures)}
    other = [now[digest].name for digest in now if digest not in held]
    if len(other) > sum(manifest.skipped.values()) or held - now.keys() or len(now) != manifest.training_set:
        said = f"{str(folder)!r} is an index of other pictures than those of {str(pictures)!r}"
        raise MemdetectError(f"{said}{f': {other[0]!r} is not in it' if other else ''}; choose another --out")


def _distinct(pictures: Sequence[Path]) -> int:
    """How many pictures there are, equal files counted once. MemdetectError for one that cannot be read."""
    return len({file_sum(picture).sha256 for picture in pictures})
