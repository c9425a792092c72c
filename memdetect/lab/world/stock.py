"""What the images of a world are painted from: named pictures, and public-domain clip art for the verbatim group.

The clip art ships with the package, 64 x 64; clipart/sources.jsonl lists origin, licence and sha256 of each.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from memdetect.errors import Exit, MemdetectError
from memdetect.lab.world.entry import Entry
from memdetect.lab.world.scenes import paint

FOLDER = Path(__file__).parent / "clipart"
PICTURE_SIDE = 96


@dataclass(frozen=True, slots=True)
class Stock:
    """Pictures by name (RGBA, PICTURE_SIDE square) and clip arts by file name (uint8 [64, 64, 3])."""

    pictures: Mapping[str, Image.Image]
    clips: Mapping[str, np.ndarray]
    licence: str = ""  # of the pictures

    def image(self, entry: Entry) -> np.ndarray:
        """The training image of an entry, uint8 [64, 64, 3]; of one never trained, what it would look like.

        Raises MemdetectError for a title that has no image.
        """
        if entry.scene is not None:
            return paint(entry.scene, self.pictures)
        if entry.clip is None:
            raise MemdetectError(f"{entry.id} is a title without an image")
        return self.clips[entry.clip]


@cache
def load_clips() -> Mapping[str, np.ndarray]:
    """File name -> uint8 [64, 64, 3], in the order of sources.jsonl.

    Raises MemdetectError when a file differs from its listed sha256.
    """
    rows = [json.loads(line) for line in (FOLDER / "sources.jsonl").read_text(encoding="utf-8").splitlines()]
    return {row["file"]: _load(FOLDER / row["file"], row["sha256"]) for row in rows}


def _load(path: Path, sha256: str) -> np.ndarray:
    if hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
        raise MemdetectError(f"{path} differs from its sha256 in sources.jsonl; install memdetect again", Exit.ERROR)
    return np.asarray(Image.open(path).convert("RGB"))
