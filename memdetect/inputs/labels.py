"""Requests that are no prompts: class labels, and images that nothing is asked of."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from memdetect.errors import MemdetectError
from memdetect.inputs.prompts import Request, Requests, read
from memdetect.inputs.wording import FAMILY_COLUMN

MOST = 10_000_000


def label_requests(given: str) -> Requests:
    """Requests for class labels: `0,1,2`, or a file with one label a line.

    A label is the request's `prompt`; each is a family of its own, for numbers differ in nothing but digits. Raises
    MemdetectError (usage) for nothing and for what is neither; whether the model has the class is its own to say.
    """
    path = Path(given)
    if path.is_file():
        found = read([given])
        return replace(found, items=tuple(_alone(item) for item in found.items), labels=True)
    names = [name.strip() for name in given.split(",")]
    if not all(name.isascii() and name.isdigit() for name in names):
        raise MemdetectError(f"--labels {given!r:.80} is neither numbers as in 0,1,2 nor a file; correct it")
    kept = dict.fromkeys(str(int(name)) for name in names)
    items = [Request(f"label-{name}", name, None, "--labels", None, {}) for name in kept]
    return Requests(tuple(_alone(item) for item in items), 0, len(names) - len(kept), labels=True)


def unconditional_requests(count: int, name: str = "unconditional") -> Requests:
    """Requests for `count` images without a condition, each an item of its own: their `prompt` is "".

    name: the beginning of their ids, which their seeds are made from: those of another name are other images. Raises
    MemdetectError (usage) for a count below 1 or above ten million.
    """
    if not 1 <= count <= MOST:
        raise MemdetectError(f"--unconditional is {count}, expected 1 to {MOST:,}")
    made = (Request(f"{name}-{i:07d}", "", None, "--unconditional", None, {}) for i in range(count))
    return Requests(tuple(_alone(item) for item in made), 0, 0)


def requests_of(
    inputs: Sequence[str], labels: str | None, unconditional: int | None, name: str = "unconditional"
) -> Requests | None:
    """The requests of these options, None where there are none; MemdetectError for more than one kind of input.

    name: of images without a condition, as of `unconditional_requests`.
    """
    ways = [name for name, way in (("INPUT", inputs), ("--labels", labels), ("--unconditional", unconditional)) if way]
    if len(ways) > 1:
        raise MemdetectError(f"{' and '.join(ways)} exclude each other; give one of them")
    if labels is not None:
        return label_requests(labels)
    return None if unconditional is None else unconditional_requests(unconditional, name)


def _alone(item: Request) -> Request:
    """The request with a family of its own."""
    meta = {FAMILY_COLUMN: f"{item.source}:{item.prompt or item.id}", **item.meta}
    return Request(item.id, item.prompt, item.image, item.source, item.line, meta)
