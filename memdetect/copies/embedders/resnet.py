"""ResNet-50 (He et al. 2016, with the stride in the 3 x 3 convolution) with GeM pooling, under torchvision's names."""

from jaxtyping import Float
from torch import Tensor, nn

BLOCKS = (3, 4, 6, 3)
GEM_POWER, GEM_FLOOR = 3.0, 1e-6


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3, 1 x 1 convolutions beside a shortcut; `width` channels inside, four times as many outside."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        after = 4 * width
        self.conv1, self.bn1 = nn.Conv2d(before, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, after, 1, bias=False), nn.BatchNorm2d(after)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None
        if stride > 1 or before != after:
            self.downsample = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, x: Float[Tensor, "image chan row col"]) -> Float[Tensor, "image out_chan out_row out_col"]:
        """Features -> features of a half of the rows and columns where the stride is 2."""
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        return self.relu(self.bn3(self.conv3(y)) + shortcut)


class CopyNet(nn.Module):
    """SSCD's network: ResNet-50, generalised mean over positions, one linear map to `dim`, length one."""

    def __init__(self, dim: int = 512) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        self.relu, self.maxpool = nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)
        widths = (64, 128, 256, 512)
        self.layer1, self.layer2 = _stage(64, widths[0], BLOCKS[0], 1), _stage(256, widths[1], BLOCKS[1], 2)
        self.layer3, self.layer4 = _stage(512, widths[2], BLOCKS[2], 2), _stage(1024, widths[3], BLOCKS[3], 2)
        self.fc = nn.Linear(4 * widths[-1], dim)

    def features(self, images: Float[Tensor, "image 3 row col"]) -> Float[Tensor, "image chan out_row out_col"]:
        """The last feature map, 2048 channels at a 32nd of the side."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))

    def forward(self, images: Float[Tensor, "image 3 row col"]) -> Float[Tensor, "image dim"]:
        """Normalised images -> vectors of length one."""
        return nn.functional.normalize(self.fc(gem(self.features(images))))


def gem(features: Float[Tensor, "image chan row col"]) -> Float[Tensor, "image chan"]:
    """Generalised mean over positions, (mean x^3)^(1/3), x at least 1e-6 (Radenovic et al. 2018, eq. 3)."""
    return features.clamp(min=GEM_FLOOR).pow(GEM_POWER).mean(dim=(2, 3)).pow(1 / GEM_POWER)


def _stage(before: int, width: int, blocks: int, stride: int) -> nn.Sequential:
    rest = [Bottleneck(4 * width, width, 1) for _ in range(blocks - 1)]
    return nn.Sequential(Bottleneck(before, width, stride), *rest)
