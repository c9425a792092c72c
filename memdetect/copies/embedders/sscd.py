"""SSCD (Pizzi et al., CVPR 2022, arXiv 2202.10261): the usual copy descriptor, from weights that the user has.

Nothing is fetched: the weights are a state dict with torchvision's names (`sscd_disc_mixup.torchvision.pt`, or the
same as safetensors), named by the user, by MEMDETECT_SSCD, or found in a hub's cache. The preprocessing is written
from the authors' README; it decides, with the weights, which vectors compare.
"""

import hashlib
import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from memdetect.copies.embedders.embedder import Embedder, Images, Row, Source
from memdetect.copies.embedders.resnet import CopyNet
from memdetect.copies.embedders.weights import FILES, VARIABLE, find_weights
from memdetect.errors import MemdetectError
from memdetect.inputs.images import to_rgb

BATCH = 16


def load(row: Row, source: Source) -> Embedder:
    """Open the weights for one of SSCD's rows; MemdetectError when there are none, or none that fit."""
    path = find_weights(source.weights)
    if path is None:
        raise MemdetectError(
            f"the embedder {row.name!r} needs SSCD weights; set {VARIABLE} to a {FILES[0]}, or choose another embedder"
        )
    net, digest = _scripted(path, source, row.dim) if is_torchscript(path) else _own(path)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    net = net.to(device).eval()

    def run(images: Float[Tensor, "image 3 row col"]) -> Float[Tensor, "image dim"]:
        with torch.inference_mode():
            return net(images.to(device)).float().cpu()

    return row.ready(lambda images: _embed(images, row.preprocessing, run), digest)


def _embed(images: Images, how: Mapping[str, Any], run: Callable[[Tensor], Tensor]) -> Float[np.ndarray, "image dim"]:
    """Images that come out of one size go through the network together."""
    groups: dict[tuple[int, int], list[int]] = {}
    for index, image in enumerate(images):
        groups.setdefault(target_size(image.size, how), []).append(index)
    found: dict[int, Tensor] = {}
    for members in groups.values():
        for start in range(0, len(members), BATCH):
            part = members[start : start + BATCH]
            vectors = run(torch.stack([prepare(images[i], how) for i in part]))
            found |= dict(zip(part, vectors, strict=True))
    return torch.stack([found[i] for i in range(len(images))]).numpy()


def target_size(size: tuple[int, int], how: Mapping[str, Any]) -> tuple[int, int]:
    """Width and height after resizing: a square, or the shorter side as given and the longer one in proportion."""
    if "square" in how:
        return how["square"], how["square"]
    short = how["shorter"]
    long = min(int(short * max(size) / min(size)), how["longest"])
    return (short, long) if size[0] <= size[1] else (long, short)


def prepare(image: Image.Image, how: Mapping[str, Any]) -> Float[Tensor, "3 row col"]:
    """RGB, resized (Pillow, bilinear), the centre cut out where the row says so, minus mean, over deviation."""
    resized = to_rgb(image).resize(target_size(image.size, how), Image.Resampling.BILINEAR)
    if crop := how.get("crop"):
        left, top = round((resized.width - crop) / 2), round((resized.height - crop) / 2)
        resized = resized.crop((left, top, left + crop, top + crop))
    values = np.asarray(resized, np.float32) / np.float32(255)
    normed = (values - np.array(how["mean"], np.float32)) / np.array(how["std"], np.float32)
    return torch.from_numpy(normed).permute(2, 0, 1).contiguous()


def is_torchscript(path: Path) -> bool:
    """Whether a file is a TorchScript archive: a zip with code in it."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any("/code/" in f"/{name}" for name in archive.namelist())


def _scripted(path: Path, source: Source, dim: int) -> tuple[nn.Module, str]:
    if not source.trust_torchscript:
        raise MemdetectError(f"{path} is TorchScript, which can run code; use {FILES[0]}, or trust it explicitly")
    try:
        net = torch.jit.load(str(path), map_location="cpu").eval()
        with torch.inference_mode():
            shape = tuple(net(torch.zeros(1, 3, 64, 64)).shape)
    except RuntimeError as problem:
        raise MemdetectError(f"{path} cannot be run: {str(problem).strip().splitlines()[-1]}") from None
    if shape != (1, dim):
        raise MemdetectError(f"{path} gives {shape} for one image, expected (1, {dim}); it is not an SSCD ResNet-50")
    with path.open("rb") as file:
        return net, hashlib.file_digest(file, "sha256").hexdigest()


def _own(path: Path) -> tuple[nn.Module, str]:
    """Our network with the weights of a state dict, and the sha256 over names and values, whatever the format."""
    net, weights = CopyNet(), _named(_read(path), path)
    wanted = {name: value for name, value in net.state_dict().items() if not name.endswith("num_batches_tracked")}
    wrong = _difference(wanted, weights)
    if wrong:
        raise MemdetectError(f"{path} does not fit SSCD's ResNet-50: {wrong}; expected {FILES[0]}")
    total = hashlib.sha256()
    for name in sorted(wanted):
        weights[name] = weights[name].float().contiguous()
        total.update(name.encode() + weights[name].numpy().tobytes())
    net.load_state_dict(weights, strict=False)
    return net, total.hexdigest()


def _difference(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str:
    for name, value in wanted.items():
        if name not in found:
            return f"{name!r} is missing"
        if found[name].shape != value.shape:
            return f"{name!r} has the shape {tuple(found[name].shape)}, not {tuple(value.shape)}"
    extra = sorted(set(found) - set(wanted))
    return f"{extra[0]!r} is not part of it" if extra else ""


def _named(state: Mapping[str, Any], path: Path) -> dict[str, Tensor]:
    """Names as in torchvision: without the prefix of the backbone, the last linear map as `fc`, no counters."""
    if not all(isinstance(value, Tensor) for value in state.values()):
        raise MemdetectError(f"{path} holds more than tensors; expected the state dict of {FILES[0]}")
    plain = {k.removeprefix("backbone.").replace("embeddings.1.", "fc."): v for k, v in state.items()}
    return {name: value for name, value in plain.items() if not name.endswith("num_batches_tracked")}


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise MemdetectError(f"{path} is a pickle that would run code, and is not opened; use {FILES[0]}") from None
    except (SafetensorError, RuntimeError, EOFError, OSError, ValueError, KeyError) as problem:
        reason = (str(problem).strip().splitlines() or [type(problem).__name__])[0]
        raise MemdetectError(f"{path} holds no weights: {reason}; fetch it again") from None
    if not isinstance(state, dict):
        raise MemdetectError(f"{path} holds a {type(state).__name__}, expected the state dict of {FILES[0]}")
    return state
