"""Embedders that need weights, with random ones."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from embedder_packages import stand_in
from safetensors.torch import save

from memdetect.copies.embedders import EMBEDDERS, Embedder, load_embedder
from memdetect.copies.embedders.resnet import CopyNet
from memdetect.copies.embedders.scenes import CONFIG, DIM, WEIGHTS, WIDTHS, Config, SceneNet


@pytest.fixture(scope="session")
def scenes_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model's folder with an embedder of random weights."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model")
    data = save({k: v.contiguous() for k, v in SceneNet().state_dict().items()})
    config = Config(
        dim=DIM,
        widths=WIDTHS,
        preprocessing=dict(EMBEDDERS["scenes"].preprocessing),
        sha256=hashlib.sha256(data).hexdigest(),
        licence="none",
    )
    (folder / "embedder").mkdir()
    (folder / "embedder" / WEIGHTS).write_bytes(data)
    (folder / "embedder" / CONFIG).write_text(config.model_dump_json(), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def sscd_state() -> dict[str, torch.Tensor]:
    """A random state dict under the names of the authors' torchvision file."""
    torch.manual_seed(1)
    return {f"backbone.{name}": value for name, value in CopyNet().state_dict().items()}


class Thin(torch.nn.Module):
    """One convolution in place of SSCD's network: what surrounds the network is the same, and quick."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 512, 8, 32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.conv(x)).mean((2, 3)) + 1e-3


@pytest.fixture(scope="session")
def sscd_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A TorchScript file with 512 outputs."""
    torch.manual_seed(2)
    path = tmp_path_factory.mktemp("sscd") / "thin.pt"
    torch.jit.script(Thin()).save(str(path))
    return path


@pytest.fixture(scope="session")
def loaded(scenes_folder: Path, sscd_weights: Path, int8: Embedder) -> Callable[[str], Embedder]:
    """Any embedder by name, loaded once."""
    cache: dict[str, Embedder] = {"sscd-int8": int8}

    def get(name: str) -> Embedder:
        if name not in cache:
            cache[name] = load_embedder(name, folder=scenes_folder, weights=sscd_weights, trust_torchscript=True)
        return cache[name]

    return get


@pytest.fixture
def no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without SSCD weights; returns the empty home of its caches."""
    for name in ("MEMDETECT_SSCD", "TORCH_HOME", "HF_HOME", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def int8(tmp_path_factory: pytest.TempPathFactory) -> Embedder:
    """The embedder `sscd-int8` around a stand-in of its packages."""
    with pytest.MonkeyPatch.context() as patch:
        stand_in(tmp_path_factory.mktemp("int8"), patch)
        return load_embedder("sscd-int8")
