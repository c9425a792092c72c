"""What a model's name stands for: a folder, a file, a bundled model or a hub id."""

from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from memdetect.errors import MemdetectError
from memdetect.files import did_you_mean
from memdetect.inputs import bundled
from memdetect.inputs.options import Loading


def _possible(name: str) -> Path:
    """The path that a name would be; MemdetectError for one that none can have."""
    path = Path(name)
    try:
        path.lstat()
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as problem:  # too long, a NUL, a file in place of a folder
        said = problem.strerror if isinstance(problem, OSError) else problem
        raise MemdetectError(f"no model {name!r:.80}: {said}; check the path") from None
    return path


def place_of(name: str) -> Path | None:
    """The folder or file that a name stands for, or None for a hub id (`owner/name`); MemdetectError for neither."""
    path = _possible(name)
    if path.is_file():
        if path.suffix != ".safetensors":
            raise MemdetectError(f"{name} is no .safetensors file; convert the weights, pickles are not opened")
        return path
    if path.is_dir():
        if not (path / "model_index.json").exists():
            raise MemdetectError(f"{name} has no model_index.json; expected a folder in the diffusers layout")
        if not any(path.glob("*/*.safetensors")):
            raise MemdetectError(f"{name} holds no .safetensors file; convert the weights, pickles are not opened")
        return path
    if (inside := bundled.model_folder(name)) is not None:
        return inside if (inside / "model_index.json").exists() else None
    if name.count("/") != 1 or path.is_absolute() or name.startswith("."):
        have = ", ".join(bundled.models()) or "none"
        said = "neither a folder nor a bundled model"
        raise MemdetectError(f"no model {name!r}: {said}; {near_name(name)}(bundled: {have})")
    return None


OF_KIND = {
    "revision": "is of a model on a hub",
    "variant": "names weight files of a folder or of a model on a hub",
    "config": "configures a model given as a single file",
}


def check_loading(model: Any, loading: Loading, base: Any = None) -> None:
    """MemdetectError for what a loading says and a model of this kind would ignore, and its base, if it has one, too.

    model, base: as `load` takes them; of a live pipeline, and of no name at all, others tell.
    """
    if not _named(model):
        return
    place, taken = place_of(str(model)), _taken(model) | (_taken(base) if _named(base) else set())
    for name, meaning in OF_KIND.items():
        if getattr(loading, name) and name not in taken:
            raise MemdetectError(f"--{name} {meaning}, and {str(model)!r} is {_kind(str(model), place)}; leave it out")


def loading_of_base(model: Any, base: Any, loading: Loading) -> Loading:
    """What a loading says to the base of a model, another one: nothing that is no matter of its kind.

    A revision that the model takes is the model's; a variant of which a base's folder holds no file is, too.
    """
    if not _named(base):
        return loading
    place, taken = place_of(str(base)), _taken(base)
    if _named(model) and "revision" in _taken(model):
        taken.discard("revision")
    if place is not None and not any(place.glob(f"*/*.{loading.variant}.*")):
        taken.discard("variant")
    return replace(loading, **dict.fromkeys(OF_KIND.keys() - taken))


def _named(model: Any) -> bool:
    return isinstance(model, str | Path) and bool(str(model).strip())


def _taken(model: str | Path) -> set[str]:
    """The options of `OF_KIND` that a model of this kind takes."""
    place = place_of(str(model))
    if place is None:
        return {"revision", "variant"}
    return {"config"} if place.is_file() else {"variant"}


def _kind(name: str, place: Path | None) -> str:
    if place is None:
        return "a model on a hub"
    if place.is_file():
        return "a single file"
    return "a folder" if Path(name).is_dir() else "a bundled model"


def near_name(name: str) -> str:
    """`did you mean 'NAME'? ` for a name that is nearly that of a folder or file here, or of a bundled model; else "".

    A hub id may be anywhere: `owner/name` is only what a misspelt folder reads like as well.
    """
    close = get_close_matches(name.rpartition("/")[2], bundled.models(), n=1)
    return did_you_mean(Path(name)) or (f"did you mean {close[0]!r}? " if close else "")
