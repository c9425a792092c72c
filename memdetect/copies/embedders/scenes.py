"""The copy embedder that ships with a model trained by the lab: a small network that knows generation damage.

It looks at where things stand: a mirrored, shifted or redrawn scene is another scene. It lives in MODEL/embedder/ as
safetensors and config.json, and is trained by `memdetect lab embedder`.
"""

import hashlib
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as read_tensors
from torch import Tensor, nn

from memdetect.copies.embedders.embedder import Embedder, Images, Row, Source
from memdetect.errors import MemdetectError
from memdetect.inputs.images import to_rgb

SIDE, DIM = 64, 128
WIDTHS = (24, 48, 96, 128)
CELLS = 4  # rows and columns of features that remain: each keeps its place in the vector
BATCH = 64
WEIGHTS, CONFIG = "model.safetensors", "config.json"


class Config(BaseModel):
    """MODEL/embedder/config.json: what the weights beside it were made for, and their sha256."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: int = 1
    dim: int
    widths: tuple[int, ...]
    preprocessing: dict[str, Any]
    sha256: str
    licence: str
    about: str = ""
    trained: str = ""


class SceneNet(nn.Module):
    """Convolutions that halve the side four times, then one linear map of all cells: placement is kept."""

    def __init__(self, widths: tuple[int, ...] = WIDTHS, dim: int = DIM) -> None:
        super().__init__()
        layers: list[nn.Module] = [_block(3, widths[0], 2)]
        for before, after in pairwise(widths):
            layers += [_block(before, after, 2), _block(after, after, 1)]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(widths[-1] * CELLS * CELLS, dim)

    def forward(self, images: Float[Tensor, "image 3 row col"]) -> Float[Tensor, "image dim"]:
        """Images of 64 x 64 in [-1, 1] -> vectors of length one."""
        return nn.functional.normalize(self.head(self.body(images).flatten(1)))


def _block(before: int, after: int, stride: int) -> nn.Sequential:
    convolution = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(after), nn.ReLU(inplace=True))


def prepare(images: Images) -> Float[Tensor, "image 3 row col"]:
    """RGB, alpha on white, squashed to 64 x 64, -1 black to 1 white."""
    arrays = [np.asarray(to_rgb(x).resize((SIDE, SIDE), Image.Resampling.BOX), np.float32) for x in images]
    return torch.from_numpy(np.stack(arrays) / np.float32(127.5) - np.float32(1)).permute(0, 3, 1, 2).contiguous()


def load(row: Row, source: Source) -> Embedder:
    """Open MODEL/embedder of `source.folder`; its digest and its preprocessing must be what it says and what we do."""
    config, weights = _read(row, source.folder)
    net = SceneNet(config.widths, config.dim).eval()
    try:
        net.load_state_dict({name: value.float() for name, value in weights.items()})
    except RuntimeError:
        raise MemdetectError(
            f"{source.folder}/embedder: the weights do not fit its config.json; make it again"
        ) from None

    def embed(images: Images) -> np.ndarray:
        with torch.inference_mode():
            parts = [net(prepare(images[i : i + BATCH])) for i in range(0, len(images), BATCH)]
        return torch.cat(parts).numpy()

    return row.ready(embed, config.sha256)


def _read(row: Row, folder: Path | None) -> tuple[Config, Mapping[str, Tensor]]:
    if folder is None:
        raise MemdetectError(f"the embedder {row.name!r} ships with a model; give --model with its name or folder")
    path = folder / "embedder" / CONFIG
    try:
        config = Config.model_validate_json(path.read_text(encoding="utf-8"))
        data = (folder / "embedder" / WEIGHTS).read_bytes()
    except OSError as problem:
        text = (
            f"{folder} has no embedder: {problem.strerror} ({problem.filename}); give --model with its name or folder"
        )
        raise MemdetectError(text) from None
    except (ValidationError, UnicodeDecodeError) as problem:
        raise MemdetectError(f"{path} is no embedder's configuration: {str(problem).splitlines()[0]}") from None
    if config.preprocessing != dict(row.preprocessing) or config.dim != row.dim:
        raise MemdetectError(f"{path} is of another preprocessing than this version's; train the embedder again")
    if hashlib.sha256(data).hexdigest() != config.sha256:
        raise MemdetectError(f"{path.with_name(WEIGHTS)} differs from its sha256 in config.json; fetch it again")
    try:
        return config, read_tensors(data)
    except SafetensorError as problem:
        raise MemdetectError(f"{path.with_name(WEIGHTS)} is no safetensors file: {problem}") from None
