"""The embedder that ships with a model: what it reads, and what it refuses."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from memdetect.copies.embedders import load_embedder
from memdetect.copies.embedders.scenes import SceneNet, prepare
from memdetect.errors import MemdetectError


@pytest.fixture
def folder(scenes_folder, tmp_path) -> Path:
    shutil.copytree(scenes_folder, tmp_path / "model")
    return tmp_path / "model"


def edit(folder: Path, **changes) -> None:
    path = folder / "embedder" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes), encoding="utf-8")


def test_vectors_are_those_of_the_network(folder):
    images = [Image.fromarray(x) for x in np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)]
    net = SceneNet().eval()
    net.load_state_dict(load_file(folder / "embedder" / "model.safetensors"))
    values = torch.from_numpy(np.stack([np.asarray(x) for x in images])).permute(0, 3, 1, 2).float() / 127.5 - 1
    torch.testing.assert_close(prepare(images), values)
    with torch.no_grad():
        expected = net(values).numpy()
    np.testing.assert_allclose(load_embedder("scenes", folder=folder).embed(images), expected, atol=1e-5)


def test_the_network_is_small():
    """At most 1.5 MB in 16 bits."""
    assert 2 * sum(p.numel() for p in SceneNet().parameters()) <= 1.5e6


def test_a_changed_byte_is_refused_and_other_weights_have_another_fingerprint(folder, scenes_folder):
    path = folder / "embedder" / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(MemdetectError, match="differs from its sha256"):
        load_embedder("scenes", folder=folder)
    edit(folder, sha256=hashlib.sha256(data).hexdigest())
    other = load_embedder("scenes", folder=folder)
    assert other.fingerprint != load_embedder("scenes", folder=scenes_folder).fingerprint


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"preprocessing": {"resize": [32, 32, "box"]}}, "another preprocessing"),
        ({"dim": 64}, "another preprocessing"),
        ({"widths": [8, 48, 96, 128]}, "do not fit"),
        ({"sha256": None}, "no embedder's configuration"),
        ({"surprise": 1}, "no embedder's configuration"),
    ],
)
def test_a_configuration_that_does_not_fit_is_one_line(changes, message, folder):
    edit(folder, **changes)
    with pytest.raises(MemdetectError, match=message) as caught:
        load_embedder("scenes", folder=folder)
    assert "\n" not in str(caught.value)


def test_a_model_without_an_embedder(folder, tmp_path):
    with pytest.raises(MemdetectError, match="give --model with its name or folder"):
        load_embedder("scenes")
    with pytest.raises(MemdetectError, match="has no embedder"):
        load_embedder("scenes", folder=tmp_path)
    (folder / "embedder" / "model.safetensors").unlink()
    with pytest.raises(MemdetectError, match=r"has no embedder: .*model\.safetensors"):
        load_embedder("scenes", folder=folder)
