"""card.toml: what is known of a model, and the settings that a scan takes unless told otherwise."""

import tomllib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from memdetect.errors import MemdetectError


class Card(BaseModel):
    """A model's card; the defaults here are those of a model without one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = ""
    about: str = ""
    licence: str = ""
    steps: int = 50
    guidance_scale: float = 7.5
    num_seeds: int = 4
    layers: tuple[str, ...] = ("paper",)
    timesteps: tuple[int, ...] = (50,)
    members: tuple[str, ...] = ()  # the detectors that decide together, at most three; () = the scan's first one
    dtype: str = ""  # "" = fp32 on a CPU, fp16 elsewhere
    default: str = "paper default, untuned"
    trained: str = ""
    measured: str = ""


def read_card(folder: Path | None) -> Card:
    """The card in a model folder, or the defaults when there is none; MemdetectError for one that does not parse."""
    path = folder / "card.toml" if folder else None
    if path is None or not path.exists():
        return Card()
    try:
        return Card.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise MemdetectError(f"{path} is not valid TOML: {problem}; correct it") from None
    except ValidationError as problem:
        first = problem.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise MemdetectError(f"{path}: {key!r}: {first['msg']}; correct the card") from None
