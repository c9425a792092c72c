"""What ships with memdetect: models and sample prompts, in the wheel or beside the source tree."""

import hashlib
import json
from pathlib import Path

from memdetect.errors import Exit, MemdetectError

_PACKAGE = Path(__file__).resolve().parents[1]


def root() -> Path:
    """The folder that holds models/ and sample_prompts/.

    An installed wheel carries them as memdetect/_bundled/; a clone or an editable install has them beside
    pyproject.toml. MemdetectError (error) when neither is there.
    """
    inside, beside = _PACKAGE / "_bundled", _PACKAGE.parent
    if inside.is_dir():
        return inside
    if (beside / "pyproject.toml").is_file():
        return beside
    raise MemdetectError(
        f"found no bundled models: neither {inside} nor {beside / 'pyproject.toml'} exists; install memdetect again",
        Exit.ERROR,
    )


def models() -> list[str]:
    """Names of the bundled models, sorted: the folders under models/ that have a card.toml."""
    return sorted(card.parent.name for card in (root() / "models").glob("*/card.toml"))


def model_folder(name: str) -> Path | None:
    """The folder of a bundled model, or None when no bundled model has exactly this name."""
    return root() / "models" / name if name in models() else None


def folder_digest(folder: Path, variant: str | None = None) -> str:
    """sha256 over the names and contents of all weight and configuration files of a diffusers folder.

    variant: of which files the weights are read, where that was asked for: it stands for other weights.
    """
    total = hashlib.sha256()
    parts = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    for path in sorted(p for p in folder.rglob("*") if p.suffix in (".safetensors", ".json", ".txt")):
        if path.relative_to(folder).parts[0] not in ("model_index.json", *parts):
            continue  # card, calibration, licences and index stand beside the model, they are not part of it
        with path.open("rb") as file:
            total.update(f"{path.relative_to(folder).as_posix()}\n".encode())
            total.update(hashlib.file_digest(file, "sha256").digest())
    found = total.hexdigest()
    return hashlib.sha256(f"{found}variant:{variant}".encode()).hexdigest() if variant else found
