"""A folder of training pictures with captions beside them: prompts to scan, and an index to look outputs up in."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from memdetect.embedders import Source, choose_embedder
from memdetect.errors import MemdetectError
from memdetect.index import AsTrained, BuildOptions, build_index
from memdetect.index.manifest import ROWS, file_sum, read_manifest
from memdetect.index.rows import RowFile
from memdetect.matching import open_evidence
from memdetect.probing import image_size
from memdetect.prompts import IMAGE_SUFFIXES, PROMPT_COLUMNS, Request, Requests, item_id
from memdetect.scanning.plan import INDEX, Bench

METADATA = "metadata.jsonl"


def captioned(folder: Path, instance_prompt: str | None = None) -> list[tuple[Path, str]]:
    """Pictures of a folder, in the order of their names, with their captions.

    A caption is that of the picture's row in metadata.jsonl (file_name; prompt, caption or text), else the file
    NAME.txt beside it, else `instance_prompt`. Raises MemdetectError for a folder without pictures, a picture without
    a caption, a row of a picture that is not there, and files that do not parse.
    """
    if not folder.is_dir():
        raise MemdetectError(f"--train-images {str(folder)!r} is no folder; give the folder of the training pictures")
    pictures = _pictures(folder)
    if not pictures:
        raise MemdetectError(f"{str(folder)!r} holds no pictures ({' '.join(IMAGE_SUFFIXES)}); check the path")
    listed = _listed(folder / METADATA) if (folder / METADATA).exists() else {}
    if absent := sorted(set(listed) - {p.name for p in pictures}):
        raise MemdetectError(f"{folder / METADATA} names {absent[0]!r}, which is not there; remove the row")
    return [(picture, listed.get(picture.name) or _beside(picture, instance_prompt)) for picture in pictures]


def _listed(path: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for number, line in enumerate(_read(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            caption = next(row[key] for key in PROMPT_COLUMNS if row.get(key))
            found[str(row["file_name"])] = str(caption)
        except (json.JSONDecodeError, AttributeError, TypeError, KeyError, StopIteration):
            raise MemdetectError(
                f"{path}:{number}: expected an object with file_name and prompt, caption or text; correct the line"
            ) from None
    return found


def _beside(picture: Path, instance_prompt: str | None) -> str:
    path = picture.with_suffix(".txt")
    caption = " ".join(_read(path).split()) if path.exists() else instance_prompt
    if not caption:
        raise MemdetectError(
            f"{str(picture)!r} has no caption; write it into {path.name} or {METADATA}, or give --instance-prompt"
        )
    return caption


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as problem:
        raise MemdetectError(f"{path} cannot be read as UTF-8 text ({problem}); correct the file") from None


def prompts_of(pictures: list[tuple[Path, str]]) -> Requests:
    """One request for each caption, in the order of the pictures; the picture's name is its source."""
    kept = {
        caption: Request(item_id(caption, None), caption, None, str(path), None, {}) for path, caption in pictures[::-1]
    }
    order = dict.fromkeys(caption for _, caption in pictures)
    return Requests(tuple(kept[caption] for caption in order), 0, len(pictures) - len(order))


def with_own_index(bench: Bench, pictures: Path, out: Path, clean: Path | None) -> Bench:
    """The bench with an index of the training pictures, built in `out`/train.index if it is not there yet.

    It holds each picture that is not square whole, and cropped about its centre to the size of the model's images, as
    training makes squares. clean: a folder of images that are no copies (what the base drew), which the threshold
    rests on; without it each picture is compared with the others. Raises MemdetectError as building and opening an
    index do.
    """
    options = bench.options
    source = Source(bench.model.folder, options.embedder_weights, options.trust_torchscript)
    folder = out / INDEX
    if folder.is_dir():
        _refuse_another(folder, pictures)
    else:
        embedder, _ = choose_embedder(card=bench.model.card.embedder or None, source=source)
        held = (clean,) if clean and _pictures(clean) else ()
        own = _pictures(pictures)  # those that have captions: none of the folders below
        squares = AsTrained(size=min(image_size(bench.model, bench.sampler.call)))
        made = BuildOptions(
            held_out=held, as_trained=squares, training_set=_distinct(own), training_set_by="the folder itself"
        )
        build_index(own, embedder, folder, made)
    return replace(bench, evidence=open_evidence(folder, source, options.top_k))


def _refuse_another(folder: Path, pictures: Path) -> None:
    """Refuse to search the index of other pictures than those of the folder, whichever of the two has changed."""
    rows = RowFile(folder / ROWS)
    held = {rows[i].sha256 for i in range(read_manifest(folder).count)}
    other = [picture.name for picture in _pictures(pictures) if file_sum(picture).sha256 not in held]
    if len(other) > sum(read_manifest(folder).skipped.values()):
        said = f"{str(folder)!r} is an index of other pictures than those of {str(pictures)!r}"
        raise MemdetectError(f"{said}: {other[0]!r} is not in it; choose another --out")


def _distinct(pictures: Sequence[Path]) -> int:
    """How many pictures there are, equal files counted once. MemdetectError for one that cannot be read."""
    return len({file_sum(picture).sha256 for picture in pictures})


def _pictures(folder: Path) -> list[Path]:
    """The pictures of a folder itself, in the order of their names, hidden ones left out."""
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith("."))
