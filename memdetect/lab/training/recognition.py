"""Are the pictures that a caption names in the image? A small classifier, trained on renderings made for it alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from torch import Tensor, nn

from memdetect.errors import MemdetectError
from memdetect.lab.world.labelled import World
from memdetect.lab.world.reproduced import samples
from memdetect.lab.world.scenes import compose, paint

SEED = 20_000  # apart from the world's own draws, whose second number is below 10
RATE = 1e-3
FALSE = 0.01  # share of the names that are not there which the threshold lets pass, by name and rendering

Images = UInt8[np.ndarray, "image row col 3"]
Logits = Float[np.ndarray, "image name"]
Shown = Bool[np.ndarray, "image name"]


@dataclass(frozen=True, slots=True)
class Recogniser:
    """The classifier, the names in the order of its outputs, and the logit above which a name counts as seen.

    known: share of the named pictures that it finds on renderings which neither it nor the threshold has seen.
    """

    net: nn.Module
    names: tuple[str, ...]
    threshold: float
    known: float = 0.0

    def seen(self, images: Images) -> Shown:
        """Which names are seen in which image."""
        return self.logits(images) > self.threshold

    @torch.inference_mode()
    def logits(self, images: Images) -> Logits:
        """Logits, one for each name."""
        parts = [self.net(_tensor(images[i : i + 256])) for i in range(0, len(images), 256)]
        return torch.cat(parts).numpy()


def make_net(names: int) -> nn.Module:
    """Five convolutions and a maximum over positions: a picture counts wherever it stands."""
    layers: list[nn.Module] = []
    for before, after, stride in ((3, 32, 1), (32, 64, 2), (64, 128, 2), (128, 128, 1), (128, 192, 2)):
        layers += [nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(192, names))


def renderings(
    names: Sequence[str], pictures: Mapping[str, Image.Image], total: int, seed: int
) -> tuple[Images, Shown]:
    """Fresh scenes of one to three pictures, half of them softened as an autoencoder would, and what they show."""
    rows, column = [], {name: i for i, name in enumerate(names)}
    shown = np.zeros((total, len(names)), bool)
    for i in range(total):
        rng = np.random.default_rng([SEED, seed, i])
        chosen = [names[int(k)] for k in rng.choice(len(names), int(rng.integers(1, 4)), replace=False)]
        shown[i, [column[name] for name in chosen]] = True
        rows.append(_soften(rng, paint(compose(rng, chosen), pictures)))
    return np.stack(rows), shown


def _soften(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    if rng.random() < 0.5:
        return image
    side = int(rng.integers(32, 60))
    small = Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR)
    soft = np.asarray(small.resize((64, 64), Image.Resampling.BICUBIC)).astype(np.float32)
    noisy = soft + rng.normal(0, rng.uniform(0, 8), soft.shape)
    return noisy.round().clip(0, 255).astype(np.uint8)


def train_recogniser(
    names: Sequence[str], pictures: Mapping[str, Image.Image], *, scenes: int = 24_000, epochs: int = 4
) -> Recogniser:
    """Train on `scenes` renderings, set the threshold on others, and measure it on yet others.

    Threshold: exceeded by 1 % of the (image, name) pairs where the name is not shown.
    """
    torch.manual_seed(SEED)
    net = make_net(len(names))
    images, shown = renderings(names, pictures, scenes, 0)
    optimizer = torch.optim.AdamW(net.parameters(), RATE)
    steps = epochs * (scenes // 64)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3 * RATE, total_steps=max(steps, 2))
    order = np.concatenate([np.random.default_rng([SEED, 1, e]).permutation(scenes) for e in range(epochs)])
    net.train()
    for step in range(steps):
        rows = order[step * 64 : (step + 1) * 64]
        logits = net(_tensor(images[rows]))
        loss = nn.functional.binary_cross_entropy_with_logits(logits, torch.from_numpy(shown[rows]).float())
        loss.backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    net.eval()
    return _with_threshold(Recogniser(net, tuple(names), 0.0), pictures, max(scenes // 12, 64))


def _with_threshold(plain: Recogniser, pictures: Mapping[str, Image.Image], total: int) -> Recogniser:
    images, shown = renderings(plain.names, pictures, total, 1)
    threshold = float(np.quantile(plain.logits(images)[~shown], 1 - FALSE))
    images, shown = renderings(plain.names, pictures, total, 2)
    known = float((plain.logits(images) > threshold)[shown].mean())
    return Recogniser(plain.net, plain.names, threshold, known)


@dataclass(frozen=True, slots=True)
class Recognised:
    """Of a group's samples: (sample, picture) pairs that its captions name, and pairs that they do not name.

    detected: named and above the recogniser's threshold. false: not named and above it. strict: named and above the
    logit that FALSE of the run's own pairs which are not named exceed; samples are not renderings, and `false` may show
    it.
    """

    named: int
    detected: int
    strict: int
    others: int
    false: int


def recognised(run: Path, world: World, recogniser: Recogniser) -> dict[str, Recognised]:
    """Group -> what is recognised in the samples of a run.

    Raises MemdetectError as `samples`, and when the run has images of none of the world's captions.
    """
    entries = {e.id: e for e in (*world.labelled, *world.clean) if e.scene is not None}
    found: dict[str, list[tuple[Logits, Shown]]] = {}
    for name, images in samples(run, world):
        entry = entries.get(name)
        if entry is None or entry.scene is None:
            continue
        wanted = np.array([n in entry.scene.names for n in recogniser.names])
        logits = recogniser.logits(images)
        found.setdefault(entry.group, []).append((logits, np.broadcast_to(wanted, logits.shape)))
    if not found:
        raise MemdetectError(f"{run} has no images of this world's captions; scan its prompt files first")
    groups = {g: tuple(np.concatenate(parts) for parts in zip(*rows, strict=True)) for g, rows in found.items()}
    strict = float(np.quantile(np.concatenate([logits[~named] for logits, named in groups.values()]), 1 - FALSE))
    return {
        group: Recognised(
            named=int(named.sum()),
            detected=int((logits[named] > recogniser.threshold).sum()),
            strict=int((logits[named] > strict).sum()),
            others=int((~named).sum()),
            false=int((logits[~named] > recogniser.threshold).sum()),
        )
        for group, (logits, named) in groups.items()
    }


def _tensor(images: Images) -> Float[Tensor, "image 3 row col"]:
    return torch.tensor(images).permute(0, 3, 1, 2).float() / 127.5 - 1
