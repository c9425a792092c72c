"""Where the lab keeps what it fetches and trains: the user's cache folder, never the source tree."""

import os
from pathlib import Path


def cache_folder(*parts: str) -> Path:
    """`$MEMDETECT_CACHE_DIR` or `~/.cache/memdetect`, then `lab` and the parts; made if it is not there."""
    root = os.environ.get("MEMDETECT_CACHE_DIR") or Path.home() / ".cache" / "memdetect"
    folder = Path(root).joinpath("lab", *parts)
    folder.mkdir(parents=True, exist_ok=True)
    return folder
