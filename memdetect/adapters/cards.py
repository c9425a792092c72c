"""card.toml: what is known of a model, and the settings that a scan takes unless told otherwise."""

import json
import re
import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from memdetect.errors import MemdetectError
from memdetect.files import SMALL, read_text
from memdetect.inputs import bundled

MAX_BYTES = 2**20  # of a card
Timestep = Annotated[int, Field(strict=True, ge=0, le=100_000)]


class Card(BaseModel):
    """A model's card; the defaults here are those of a model without one."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: str = ""
    about: str = ""
    licence: str = ""
    repo: str = ""  # where the weights are on a hub; a card beside its weights has none
    revision: str = ""
    mirrors: tuple[str, ...] = ()  # where else they may be, when the repository has moved or is gone
    steps: Annotated[int, Field(strict=True, ge=1, le=10_000)] = 50
    guidance_scale: Annotated[float, Field(ge=-1000, le=1000)] = 7.5
    num_seeds: Annotated[int, Field(strict=True, ge=1, le=10_000)] = 4
    layers: Annotated[tuple[str, ...], Field(min_length=1)] = ("paper",)
    timesteps: Annotated[tuple[Timestep, ...], Field(min_length=1)] = (50,)
    combine: tuple[str, ...] = ()  # the detectors that decide together, at most three; () = the scan's first one
    dtype: Literal["", "fp32", "bf16", "fp16"] = ""  # "" = what the device computes in, see `usual_dtype`
    default: str = "paper default, untuned"
    distilled: bool = False  # to few steps without guidance: there is no unconditional branch to compare with
    embedder: str = ""  # of the table of embedders; "" = none is named
    trained: str = ""
    measured: str = ""


def read_card(folder: Path | None) -> Card:
    """The card in a model folder, or the defaults when there is none; MemdetectError for one that does not parse."""
    path = folder / "card.toml" if folder else None
    if path is None or not path.exists():
        return Card()
    if not path.is_file() or path.stat().st_size > MAX_BYTES:
        raise MemdetectError(f"{path} is no file of at most {MAX_BYTES:,} bytes; correct the card")
    try:
        return Card.model_validate(tomllib.loads(read_text(path, SMALL)))
    except ValidationError as problem:
        first = problem.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise MemdetectError(f"{path}: {key!r}: {first['msg']}; correct the card") from None
    except OSError as problem:
        raise MemdetectError(f"{path} cannot be read ({problem.strerror}); give access to it") from None
    except (ValueError, RecursionError) as problem:  # tomllib.TOMLDecodeError and UnicodeDecodeError are ValueErrors
        raise MemdetectError(f"{path} is not valid TOML: {problem}; correct it") from None


def card_of(name: str) -> Card:
    """The bundled card of a model on a hub, by its own name, its repository or a mirror; the defaults without one.

    Its `repo` is where to look first, its `mirrors` all other places.
    """
    for own in bundled.models():
        card = read_card(bundled.model_folder(own)) if name == own or "/" in name else Card()
        places = [place for place in (card.repo, *card.mirrors) if place]
        if card.repo and name in (own, *places):
            first = card.repo if name == own else name
            others = tuple(place for place in places if place != first)
            return card.model_copy(update={"repo": first, "mirrors": others})
    return Card()


def set_default(folder: Path, layers: tuple[str, ...], timesteps: tuple[int, ...], default: str) -> Path:
    """Write the point that scans take into a folder's card, line by line; comments and all other keys stay.

    Raises MemdetectError when the card cannot be read before or after, or not be written.
    """
    path = folder / "card.toml"
    read_card(folder)
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    for key, value in (("layers", list(layers)), ("timesteps", list(timesteps)), ("default", default)):
        line = f"{key} = {json.dumps(value, ensure_ascii=False)}"
        text, found = re.subn(rf"^{key}\s*=.*$", line.replace("\\", r"\\"), text, count=1, flags=re.MULTILINE)
        text = text if found else f"{text.rstrip()}\n{line}\n".lstrip()
    if not _holds(text, layers, timesteps, default):
        raise MemdetectError(f"{path}: layers, timesteps or default span several lines; write them on one line each")
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as problem:
        raise MemdetectError(f"cannot write {path}: {problem.strerror}; choose another folder") from None
    return path


def _holds(text: str, layers: tuple[str, ...], timesteps: tuple[int, ...], default: str) -> bool:
    try:
        held = Card.model_validate(tomllib.loads(text))
    except (tomllib.TOMLDecodeError, ValidationError):
        return False
    return (held.layers, held.timesteps, held.default) == (layers, timesteps, default)
