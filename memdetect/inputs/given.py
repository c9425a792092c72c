"""What Python gives to be examined: prompts as texts, images as files or pictures, labels, a number, or files."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from memdetect.errors import MemdetectError
from memdetect.files import written
from memdetect.inputs.captions import captioned, prompts_of
from memdetect.inputs.labels import label_requests, unconditional_requests
from memdetect.inputs.options import Inputs, Lookup
from memdetect.inputs.prompts import Request, Requests, blame, gathered, keep, read, request_of
from memdetect.inputs.tables import check_row

STDIN = "-"  # what a prompt that comes from no file has as its source
PICTURES = "given"  # folder, within that of a run, of pictures that were no files


SCANNED = ("prompts", "images", "labels", "unconditional", "files")
CLEAN = ("clean", "labels", "unconditional", "files")


def training_requests(lookup: Lookup, *, given: bool) -> Requests | None:
    """The captions of the training pictures; None without a folder of them, and where something else is given.

    MemdetectError for an instance prompt where no captions are read, neither to be scanned nor for an index.
    """
    check_instance_prompt(lookup)
    folder, instance = lookup.train_images, lookup.instance_prompt
    if instance and given and not lookup.search:
        said = "--instance-prompt is a caption, and with these inputs and --no-index no caption is read"
        raise MemdetectError(f"{said}; leave it out")
    return prompts_of(captioned(Path(folder), instance)) if folder and not given else None


def check_instance_prompt(lookup: Lookup) -> None:
    """MemdetectError for a caption of training pictures without any."""
    if lookup.instance_prompt and not lookup.train_images:
        raise MemdetectError("--instance-prompt is the caption of --train-images, which is not given; add it")


def check_reading(inputs: Inputs, instead: str) -> None:
    """MemdetectError for what is said of prompt files where something else is given instead."""
    for option, value in (("--prompt-column", inputs.prompt_column), ("--prompts-format", inputs.prompts_format)):
        if value:
            raise MemdetectError(f"{option} is of prompt files, and {instead} given instead; leave it out")


def requests_from(given: Mapping[str, Any], home: Path, ways: Sequence[str] = SCANNED) -> Requests:
    """The requests of exactly one of the ways of giving them.

    home: folder of the run, in which pictures that are no files are kept. Raises MemdetectError for none, for two, and
    for what is not of its kind.
    """
    name = "clean" if ways is CLEAN else "unconditional"
    made: dict[str, Callable[[Any], Requests]] = {
        "prompts": prompt_requests,
        "clean": lambda prompts: prompt_requests(prompts, "clean"),
        "images": lambda images: image_requests(images, home / PICTURES),
        "labels": _labels,
        "unconditional": lambda count: unconditional_requests(count, name),
        "files": lambda files: read(_list(files, "files", str | Path)),
    }
    asked = [way for way in ways if given.get(way) is not None]
    if len(asked) != 1:
        said = f"{' and '.join(asked)} exclude each other" if asked else "nothing is given to examine"
        raise MemdetectError(f"{said}; give one of {', '.join(ways)}")
    return made[asked[0]](given[asked[0]])


def prompt_requests(prompts: Sequence[str | Mapping[str, Any]], called: str = "prompts") -> Requests:
    """Requests of prompts: texts, or rows with a `prompt` and further columns such as id, family and kind."""
    every = every_prompt(prompts, called)
    kept = first_of_each(every)
    return gathered(kept, 0, len(every) - len(kept))


def first_of_each(every: Sequence[Request]) -> dict[str, Request]:
    """The first request of each id, in order."""
    kept: dict[str, Request] = {}
    for request in every:
        kept.setdefault(request.id, request)
    return kept


def every_prompt(prompts: Sequence[str | Mapping[str, Any]], called: str = "prompts") -> list[Request]:
    """The request of every prompt, repeated ones too, as `prompt_requests` takes them."""
    kept: dict[str, Request] = {}
    every: list[Request] = []
    for number, row in enumerate(_list(prompts, called, str | Mapping), 1):
        with blame(STDIN, number):
            check_row(row if isinstance(row, str) else dict(row))
            request = request_of(row, None, STDIN, number)
        if request.prompt is None:
            raise MemdetectError(f"prompt {number} has an image and no text; give images as images=[...]")
        keep(kept, request)
        every.append(request)
    return every


def image_requests(images: Sequence[Any], home: Path) -> Requests:
    """Requests of image files, folders of them, and pictures of Pillow, which are kept as PNG files in `home`."""
    found = read([image if isinstance(image, str | Path) else _kept(image, home) for image in _list(images, "images")])
    if text := next((request for request in found.items if request.image is None), None):
        raise MemdetectError(f"{text.source!r} is no image; give files of prompts as files=[...]")
    return found


def _kept(image: Any, home: Path) -> Path:
    from PIL import Image

    if not isinstance(image, Image.Image):
        raise MemdetectError(f"an image is a {type(image).__name__}, expected a path or a Pillow image")
    digest = hashlib.sha256(f"{image.mode}{image.size}".encode() + image.tobytes()).hexdigest()[:16]
    path = home / f"{digest}.png"
    if not path.exists():  # the file's bytes make the item's id: never written again
        home.mkdir(parents=True, exist_ok=True)
        with written(path) as temporary:
            image.save(temporary, "PNG")
    return path


def _labels(labels: Any) -> Requests:
    if isinstance(labels, str):
        return label_requests(labels)
    return label_requests(",".join(map(str, _list(labels, "labels", int | str))))


def _list(given: Any, name: str, kind: Any = object) -> list[Any]:
    """A list of something; MemdetectError for a single one, none, and what is of another kind."""
    if isinstance(given, str | bytes | Path | Mapping) or not isinstance(given, Sequence):
        raise MemdetectError(f"{name} is a {type(given).__name__}, expected a list; write {name}=[...]")
    if not given:
        raise MemdetectError(f"{name} is an empty list; give at least one")
    if wrong := [each for each in given if not isinstance(each, kind)]:
        raise MemdetectError(f"{name} holds a {type(wrong[0]).__name__} ({wrong[0]!r:.60}), which it does not take")
    return list(given)
