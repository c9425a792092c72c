"""Prompts of a calibration's bank whose images came back as copies: what is compared with them looks less memorized."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from memdetect.inputs.wording import family_key
from memdetect.judging.calibration.records import Calibration, read_calibration

REMOVED = "removed"  # of the facts of a bank: ids of its prompts that came back
TOLERATED = 2  # of the ten nearest: they raise the mean of ten by a fifth at most


def removed_in_bank(made: Calibration | None) -> Sequence[str]:
    """Ids of prompts of the bank that came back as copies, as far as the calibration says."""
    found: Any = made.bank.get(REMOVED, ()) if made else ()
    return [str(name) for name in found]


def said_of_bank(names: Sequence[str], most: int = 10) -> str:
    """That these prompts came back and are in the bank, in one line; "" for none."""
    listed = ", ".join([*names[:most], *(["..."] if len(names) > most else [])])
    return f"{len(names)} prompts that came back as copies are in the bank, ids {listed}" if names else ""


def read_with_bank(path: Path) -> Calibration | None:
    """As `read_calibration`, with the removed prompts that the bank beside the file holds, where they are too many.

    A file that was made before calibrations said so is looked through: what its bank holds and it ranks or tunes by no
    more was removed. One with at most two such prompts stays as it is, and so does one that has no bank at hand.
    """
    made = read_calibration(path)
    if made is None or REMOVED in made.bank or not made.bank or len(made.removed) <= TOLERATED:
        return made
    families = _families(path.with_name(f"{path.stem}.bank.safetensors"))  # `detectors.bank.bank_file`, without torch
    names = {family_key({}, entry.prompt): entry.id for entry in made.removed}
    gone = sorted(families - {item.family for item in made.items}, key=lambda family: (family not in names, family))
    found = [names.get(family, f"of family {family}") for family in gone][: len(made.removed)]  # the rest was lost
    return made.model_copy(update={"bank": {**made.bank, REMOVED: found}}) if len(found) > TOLERATED else made


def _families(path: Path) -> frozenset[str]:
    """The families of a bank, of the head of its file; none where it cannot be read, which whoever opens it says."""
    try:
        with path.open("rb") as file:
            head = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        return frozenset(json.loads(head["__metadata__"]["families"]))
    except (OSError, ValueError, KeyError, TypeError, MemoryError, OverflowError):
        return frozenset()
