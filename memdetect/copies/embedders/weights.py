"""Where SSCD's weights may lie on this machine; nothing is fetched, and nothing heavy is imported to look."""

import os
from pathlib import Path

from memdetect.errors import MemdetectError

VARIABLE = "MEMDETECT_SSCD"
FILES = ("sscd_disc_mixup.torchvision.pt", "sscd_disc_mixup.safetensors")


def find_weights(named: Path | None = None) -> Path | None:
    """The weights' file: the one named, else that of MEMDETECT_SSCD, else one in the cache of a hub, else None.

    Raises MemdetectError when a file that was named is not there. Looks at this machine only.
    """
    if named is None and (variable := os.environ.get(VARIABLE)):
        named = Path(variable)
    if named is not None:
        if not named.is_file():
            raise MemdetectError(f"no SSCD weights at {named}; expected a file such as {FILES[0]}")
        return named
    return next((path for folder in _caches() for name in FILES for path in sorted(folder.glob(name))), None)


def _caches() -> list[Path]:
    """Where torch.hub and the Hugging Face hub keep files that were fetched by someone else."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    torch_home = Path(os.environ.get("TORCH_HOME") or home / "torch")
    hub = Path(os.environ.get("HF_HUB_CACHE") or Path(os.environ.get("HF_HOME") or home / "huggingface") / "hub")
    return [torch_home / "hub" / "checkpoints", *sorted(hub.glob("models--*/snapshots/*"))]
