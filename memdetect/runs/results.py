"""One result of a closed run, found among however many there are, a line of results.jsonl in memory at a time."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from memdetect.errors import MemdetectError
from memdetect.files import open_regular
from memdetect.runs.records import Result

LINE = re.compile(rb'\s*\{"schema_version":\d+,"index":\d+,"id":("(?:[^"\\]|\\.)*")')


def result_of(folder: Path, item: str) -> Result | None:
    """The result of an item, None where there is none. Raises MemdetectError for a run that was not closed."""
    path = folder / "results.jsonl"
    for number, (own, line) in enumerate(_lines(path), 1):
        if own in (None, item):
            try:
                found = Result.model_validate_json(line)
            except ValidationError:
                raise MemdetectError(
                    f"{path}, line {number} is damaged; run the same scan again to write it anew"
                ) from None
            if found.id == item:
                return found
    return None


def ids_of(folder: Path) -> Iterator[str]:
    """The ids of a closed run's items in their order; those of lines that are damaged are left out."""
    return (own for own, _ in _lines(folder / "results.jsonl") if own is not None)


def _lines(path: Path) -> Iterator[tuple[str | None, bytes]]:
    """The lines, each with its item's id; None where it does not begin as it was written."""
    if not path.exists():
        raise MemdetectError(
            f"{path.parent} has no results.jsonl: the scan is not finished; run it again to resume, "
            "or join it by memdetect merge with the runs that hold the rest"
        )
    with open_regular(path) as file:
        for line in file:
            found = LINE.match(line)
            yield (json.loads(found[1]) if found else None), line
