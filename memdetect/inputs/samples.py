"""Pictures that something else made of prompts, several of each: lists of prompts with images, folders by prompt."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from memdetect.errors import MemdetectError
from memdetect.inputs.folders import images_in, is_image
from memdetect.inputs.prompts import Request, Requests, as_text, every_row, item_id
from memdetect.inputs.tables import IMAGE_COLUMNS

PROMPT_FILE = "prompt.txt"  # in a folder of pictures: the prompt, where the folder's name is not
LISTED = "images"  # column of a row that names several


@dataclass(frozen=True, slots=True)
class Samples:
    """Prompts, and the pictures of each by the prompt's id, in the order in which they were given.

    A prompt may have no picture: whoever made them refused it.
    """

    requests: Requests
    pictures: Mapping[str, tuple[Path, ...]]


def read_samples(sources: Sequence[str | Path], *, column: str | None = None, format: str | None = None) -> Samples:
    """Read lists of prompts with their pictures, and folders that hold a folder for each prompt.

    A list is a prompt file (`prompts.read`) with a picture in each row, in a column `image`, or several in a list
    `images`; paths are seen from the list. Rows of one prompt are one item, whatever their ids. In a folder, each
    folder is a prompt: its name, or what its file prompt.txt holds. A row without a picture, and a folder without one,
    are prompts that got none. A picture that is named twice for a prompt is taken once.
    Raises MemdetectError (usage) as `prompts.read` does, and for pictures that lie beside the folders of prompts, for
    an image without a prompt, and for a picture that is not there.
    """
    found: dict[str, Request] = {}
    pictures: dict[str, dict[Path, None]] = {}
    repeated = 0
    for request, own in _given(sources, column, format):
        name = item_id(request.prompt, None)
        kept = found.setdefault(name, replace(request, id=name, meta=_columns(request.meta)))
        repeated += sum(path in pictures.get(name, {}) for path in own)
        pictures.setdefault(kept.id, {}).update(dict.fromkeys(own))
    if not found:
        raise MemdetectError("no prompts with pictures are given; name a list or a folder that holds a folder a prompt")
    items = tuple(found.values())
    return Samples(Requests(items, 0, repeated), {name: tuple(own) for name, own in pictures.items()})


def usual_count(samples: Iterable[Samples]) -> int:
    """How many pictures most prompts have, of those that have any; of counts as frequent the largest."""
    counts = Counter(len(own) for each in samples for own in each.pictures.values() if own)
    return max(counts, key=lambda count: (counts[count], count), default=0)


def _given(
    sources: Sequence[str | Path], column: str | None, format: str | None
) -> Iterator[tuple[Request, tuple[Path, ...]]]:
    for source in sources:
        folder = Path(source)
        if str(source) != "-" and folder.is_dir():
            yield from _folders(folder)
            continue
        for request in every_row([source], column=column, format=format):
            if request.prompt is None:
                raise MemdetectError(
                    f"{request.source!r}{f', line {request.line}' if request.line else ''}: an image without a prompt; "
                    "give its prompt in a column `prompt`, or look it up with match"
                )
            yield request, tuple(_pictures(request))


def _pictures(request: Request) -> Iterator[Path]:
    home = Path() if request.source == "-" else Path(request.source).parent
    key = next((name for name in IMAGE_COLUMNS if request.meta.get(name)), None)
    several: Any = request.meta.get(LISTED) or []
    where = f"{request.source!r}, line {request.line}"
    if not isinstance(several, list):
        raise MemdetectError(f"{where}: `images` is {several!r:.60}, expected a list of paths")
    for given in [*([request.meta[key]] if key else []), *several]:
        try:
            path = home / as_text(given, "image")
        except ValueError as problem:
            raise MemdetectError(f"{where}: {problem}") from None
        if not path.is_file():
            raise MemdetectError(f"{where}: there is no picture {str(path)!r}; correct the path, or leave it empty")
        yield path


def _columns(meta: Mapping[str, Any]) -> dict[str, Any]:
    """The other columns of a row: what is said of the prompt, and not of a picture."""
    return {name: value for name, value in meta.items() if name not in (*IMAGE_COLUMNS, LISTED)}


def _folders(home: Path) -> Iterator[tuple[Request, tuple[Path, ...]]]:
    within = sorted(path for path in home.iterdir() if not path.name.startswith("."))
    beside = [path for path in within if path.is_file() and is_image(path)]
    folders = [path for path in within if path.is_dir()]
    if beside:
        raise MemdetectError(
            f"{str(home)!r} holds {len(beside)} pictures of no prompt, such as {beside[0].name!r}; put the pictures of "
            "each prompt into a folder of its own, or list them with their prompts"
        )
    if not folders:
        raise MemdetectError(f"{str(home)!r} holds no folder; put the pictures of each prompt into one of its own")
    for folder in folders:
        yield Request("", _prompt(folder), None, str(folder), None, {}), tuple(images_in(folder))


def _prompt(folder: Path) -> str:
    file = folder / PROMPT_FILE
    try:
        text = file.read_text(encoding="utf-8-sig").strip("\r\n") if file.is_file() else folder.name
        return as_text(text, "prompt")
    except (OSError, ValueError) as problem:
        raise MemdetectError(f"{str(file)!r}: {problem}; write the prompt into it as UTF-8") from None
