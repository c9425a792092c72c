"""SSCD's preprocessing, where its weights are looked for, and every file that is refused."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from memdetect.copies.embedders import EMBEDDERS, load_embedder
from memdetect.copies.embedders.resnet import CopyNet
from memdetect.copies.embedders.sscd import is_torchscript, prepare, target_size
from memdetect.copies.embedders.weights import FILES, find_weights
from memdetect.errors import MemdetectError


class Mean(torch.nn.Module):
    """Something else with 512 outputs, to be scripted."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3)).repeat(1, 171)[:, :512] + 1.0


# Preprocessing


@pytest.mark.parametrize(
    ("row", "size", "expected"),
    [
        ("sscd-288", (640, 480), (384, 288)),
        ("sscd-288", (100, 333), (288, 959)),
        ("sscd-288", (64, 64), (288, 288)),
        ("sscd-288", (1, 900), (288, 2880)),
        ("sscd-320", (640, 480), (320, 320)),
        ("sscd-224", (512, 768), (256, 384)),
    ],
)
def test_sizes(row, size, expected):
    assert target_size(size, EMBEDDERS[row].preprocessing) == expected


@pytest.mark.parametrize(
    ("row", "means", "deviations", "size"),
    [
        ("sscd-288", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), (288, 288)),
        ("sscd-320", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), (320, 320)),
        ("sscd-224", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), (224, 224)),
    ],
)
def test_a_plain_image_is_normalised_by_hand(row, means, deviations, size):
    found = prepare(Image.new("RGB", (50, 50), (255, 51, 0)), EMBEDDERS[row].preprocessing)
    assert found.shape == (3, *size)
    for channel, (value, mean, deviation) in enumerate(zip((1.0, 0.2, 0.0), means, deviations, strict=True)):
        torch.testing.assert_close(found[channel], torch.full(size, (value - mean) / deviation))


def test_the_crop_is_the_centre():
    image = Image.new("RGB", (384, 256))
    image.putpixel((80 + 10, 16 + 20), (255, 255, 255))
    found = prepare(image, EMBEDDERS["sscd-224"].preprocessing)
    assert found.shape == (3, 224, 224)
    assert torch.nonzero(found[0] > 0).tolist() == [[20, 10]]


# Vectors


def test_vectors_and_fingerprint_are_those_of_the_weights(sscd_state, tmp_path):
    """The same from either format; one changed weight changes the fingerprint."""
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8))
    net = CopyNet().eval()
    net.load_state_dict({k.removeprefix("backbone."): v for k, v in sscd_state.items()})
    with torch.no_grad():
        expected = net(prepare(image, EMBEDDERS["sscd-224"].preprocessing)[None])[0].numpy()
    torch.save(sscd_state, tmp_path / "state.pt")
    save_file(sscd_state, tmp_path / "state.safetensors")
    one, other = (load_embedder("sscd-224", weights=tmp_path / f"state.{x}") for x in ("pt", "safetensors"))
    np.testing.assert_allclose(one.embed([image])[0], expected, atol=1e-5)
    assert one.fingerprint == other.fingerprint
    bias = sscd_state["backbone.fc.bias"].clone()
    bias[7] += 1e-3
    torch.save({**sscd_state, "backbone.fc.bias": bias}, tmp_path / "other.pt")
    assert load_embedder("sscd-224", weights=tmp_path / "other.pt").fingerprint != one.fingerprint


# Where weights are


def test_weights_are_looked_for_in_order(no_weights, tmp_path, monkeypatch):
    assert find_weights() is None
    hub = no_weights / "huggingface" / "hub" / "models--a--b" / "snapshots" / "0" / FILES[1]
    cached = no_weights / "torch" / "hub" / "checkpoints" / FILES[0]
    named, variable = tmp_path / "named.pt", tmp_path / "variable.pt"
    for path in (hub, cached, named, variable):
        path.parent.mkdir(parents=True, exist_ok=True)
    hub.touch()
    assert find_weights() == hub
    cached.touch()
    assert find_weights() == cached
    variable.touch()
    monkeypatch.setenv("MEMDETECT_SSCD", str(variable))
    assert find_weights() == variable
    named.touch()
    assert find_weights(named) == named


@pytest.mark.parametrize("by", ["name", "variable"])
def test_a_named_file_that_is_not_there_is_an_error(by, no_weights, tmp_path, monkeypatch):
    missing = tmp_path / "missing.pt"
    monkeypatch.setenv("MEMDETECT_SSCD", str(missing))
    with pytest.raises(MemdetectError, match=r"no SSCD weights at .*missing\.pt"):
        find_weights(missing if by == "name" else None)


def test_without_weights_one_line_says_what_to_do(no_weights):
    with pytest.raises(MemdetectError, match="set MEMDETECT_SSCD"):
        load_embedder("sscd-320")


# What is refused


def changed(state: dict, kind: str) -> object:
    name = "backbone.layer3.5.conv2.weight"
    if kind == "missing":
        return {k: v for k, v in state.items() if k != name}
    if kind == "shape":
        return {**state, name: state[name][:, :1]}
    if kind == "extra":
        return {**state, "backbone.layer5.0.weight": torch.zeros(1)}
    if kind == "nested":
        return {"state_dict": state}
    return [state[name]]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", r"'layer3\.5\.conv2\.weight' is missing"),
        ("shape", r"'layer3\.5\.conv2\.weight' has the shape \(256, 1, 3, 3\), not \(256, 256, 3, 3\)"),
        ("extra", r"'layer5\.0\.weight' is not part of it"),
        ("nested", "more than tensors"),
        ("list", "holds a list"),
    ],
)
def test_weights_that_do_not_fit_are_refused(kind, message, sscd_state, tmp_path):
    torch.save(changed(sscd_state, kind), tmp_path / "w.pt")
    with pytest.raises(MemdetectError, match=message) as caught:
        load_embedder("sscd-288", weights=tmp_path / "w.pt")
    assert "\n" not in str(caught.value)


def test_a_pickle_that_needs_code_is_not_run(tmp_path):
    class Touch:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    torch.save({"backbone.fc.bias": Touch()}, tmp_path / "zip.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps({"backbone.fc.bias": Touch()}))
    for name in ("zip.pt", "plain.pt"):
        with pytest.raises(MemdetectError, match="would run code"):
            load_embedder("sscd-288", weights=tmp_path / name)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["junk.pt", "junk.safetensors"])
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not really", b"\x00" * 64])
def test_junk_is_one_line(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(MemdetectError) as caught:
        load_embedder("sscd-288", weights=tmp_path / name)
    assert "\n" not in str(caught.value)


def test_torchscript_only_when_trusted(tmp_path):
    path = tmp_path / "script.pt"
    torch.jit.script(Mean()).save(str(path))
    assert is_torchscript(path)
    with pytest.raises(MemdetectError, match="TorchScript, which can run code"):
        load_embedder("sscd-320", weights=path)
    embedder = load_embedder("sscd-320", weights=path, trust_torchscript=True)
    image = Image.new("RGB", (9, 9), (255, 0, 0))
    raw = Mean()(prepare(image, EMBEDDERS["sscd-320"].preprocessing)[None])[0].numpy()
    np.testing.assert_allclose(embedder.embed([image])[0], raw / np.linalg.norm(raw), atol=1e-5)


def test_torchscript_of_another_dimension_is_refused(tmp_path):
    torch.jit.script(torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())).save(
        str(tmp_path / "script.pt")
    )
    with pytest.raises(MemdetectError, match=r"gives \(1, 3\)"):
        load_embedder("sscd-288", weights=tmp_path / "script.pt", trust_torchscript=True)


def test_a_state_dict_is_no_torchscript(tmp_path):
    torch.save({"a": torch.zeros(1)}, tmp_path / "w.pt")
    save_file({"a": torch.zeros(1)}, tmp_path / "w.safetensors")
    assert not is_torchscript(tmp_path / "w.pt")
    assert not is_torchscript(tmp_path / "w.safetensors")
