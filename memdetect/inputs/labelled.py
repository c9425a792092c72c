"""Labelled prompts: lists with a column that names the group of each row, and lists of a single group."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from memdetect.errors import MemdetectError
from memdetect.inputs.prompts import Request, Requests, item_id, read
from memdetect.inputs.wording import FAMILY_COLUMN, opening_key

GROUP_COLUMN = "group"


@dataclass(frozen=True, slots=True)
class Columns:
    """How lists are read: columns of the group, of the family and of the prompt (None = found), and their format."""

    group: str = GROUP_COLUMN
    family: str = FAMILY_COLUMN
    prompt: str | None = None
    format: str | None = None


def labelled_requests(files: Sequence[str], lists: Sequence[str] = (), columns: Columns | None = None) -> Requests:
    """The prompts of files with a column of groups, and of lists given as NAME=FILE, all with `group` and `family`.

    The family is that of its column, else the prompts that begin alike (`wording.opening_key`). Raises MemdetectError
    (usage) for an image, a row without a group, a list that is not NAME=FILE, and a prompt that is of two groups.
    """
    told, found = columns or Columns(), list[tuple[str, Requests]]()
    if files:
        found.append(("", read(files, column=told.prompt, format=told.format)))
    for each in lists:
        name, equals, file = each.partition("=")
        if not (name.strip() and equals and file.strip()):
            raise MemdetectError(f"--group {each!r:.80} is not NAME=FILE; write it as --group memorized=prompts.csv")
        found.append((name.strip(), read([file], column=told.prompt, format=told.format)))
    if not found:
        raise MemdetectError("no labelled prompts are given; name files with a column of groups, or --group NAME=FILE")
    kept: dict[str, Request] = {}
    repeated = sum(not _keep(kept, _grouped(item, name, told)) for name, own in found for item in own.items)
    every = [own for _, own in found]
    blank, twice, beside = (sum(getattr(own, what) for own in every) for what in ("blank", "repeated", "beside"))
    return Requests(tuple(kept.values()), blank, twice + repeated, beside)


def _grouped(item: Request, name: str, columns: Columns) -> Request:
    """A request with its group and family."""
    if item.prompt is None:
        raise MemdetectError(f"{_place(item)} is an image; detectors are compared on prompts")
    group = name or _text(item.meta, columns.group)
    if not group:
        raise MemdetectError(
            f"{_place(item)} has no {columns.group!r}; name the column of the groups with --group-column, or give the "
            "list as --group NAME=FILE"
        )
    family = _text(item.meta, columns.family) or f"opening:{opening_key(item.prompt)}"
    return replace(item, meta={**item.meta, GROUP_COLUMN: group, FAMILY_COLUMN: family})


def _keep(kept: dict[str, Request], new: Request) -> bool:
    """Add a request by its id; False where it is there already, an error where it is there as something else."""
    old = kept.setdefault(new.id, new)
    if old is new:
        return True
    if item_id(old.prompt, None) != item_id(new.prompt, None):
        raise MemdetectError(f"the id {new.id!r:.80} is of {_place(old)} and of {_place(new)}; give each its own id")
    if (first := old.meta[GROUP_COLUMN]) != (second := new.meta[GROUP_COLUMN]):
        raise MemdetectError(
            f"the prompt {new.prompt!r:.80} is of group {first} ({_place(old)}) and of group {second} ({_place(new)}); "
            "leave it out of one of them"
        )
    return False


def _text(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    return "" if value is None else str(value).strip()


def _place(item: Request) -> str:
    return f"{item.source!r}, line {item.line}" if item.line else repr(item.source)
