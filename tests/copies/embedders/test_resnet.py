"""Our ResNet-50 against transformers' one: same weights, same features; pooling by hand."""

import re

import pytest
import torch
from transformers import ResNetConfig, ResNetModel

from memdetect.copies.embedders.resnet import CopyNet, gem


def theirs_as_ours(name: str) -> str:
    """The name of a weight of transformers' ResNet in ours, which are torchvision's."""
    part = {"convolution": "conv", "normalization": "bn"}
    if name.startswith("embedder."):
        _, _, kind, value = name.split(".")
        return f"{part[kind]}1.{value}"
    if found := re.fullmatch(r"encoder\.stages\.(\d)\.layers\.(\d)\.shortcut\.(\w+)\.(\w+)", name):
        stage, block, kind, value = found.groups()
        return f"layer{int(stage) + 1}.{block}.downsample.{0 if kind == 'convolution' else 1}.{value}"
    found = re.fullmatch(r"encoder\.stages\.(\d)\.layers\.(\d)\.layer\.(\d)\.(\w+)\.(\w+)", name)
    assert found, name
    stage, block, number, kind, value = found.groups()
    return f"layer{int(stage) + 1}.{block}.{part[kind]}{int(number) + 1}.{value}"


@pytest.fixture(scope="module")
def pair() -> tuple[CopyNet, ResNetModel]:
    torch.manual_seed(0)
    theirs = ResNetModel(ResNetConfig(layer_type="bottleneck")).eval()
    for module in theirs.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # fresh ones would hide a missing one
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
    ours = CopyNet().eval()
    weights = {theirs_as_ours(name): value for name, value in theirs.state_dict().items()}
    assert set(ours.state_dict()) - set(weights) == {"fc.weight", "fc.bias"}
    ours.load_state_dict(weights, strict=False)
    return ours, theirs


@pytest.mark.parametrize("size", [(64, 64), (97, 65)])
def test_features_are_those_of_transformers(pair, size):
    ours, theirs = pair
    images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found, expected = ours.features(images), theirs(images).last_hidden_state
    assert expected.std() > 1e-3
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.std()))


def test_gem_is_the_cubic_mean():
    features = torch.tensor([[[[1.0, 2.0], [3.0, 0.0]], [[0.5, 0.5], [0.5, 0.5]]]])
    torch.testing.assert_close(gem(features), torch.tensor([[(36 / 4) ** (1 / 3), 0.5]]))
    assert gem(-features[:, :1]).item() == pytest.approx(1e-6, rel=1e-3)


def test_the_vector_is_the_linear_map_of_the_pooled_features(pair):
    ours, _ = pair
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        pooled = ours.features(images).clamp(min=1e-6).pow(3).mean((2, 3)).pow(1 / 3)
        raw = pooled @ ours.fc.weight.T + ours.fc.bias
        torch.testing.assert_close(ours(images), raw / raw.norm())
