"""Vectors for the tiny pipelines, and requests."""

from pathlib import Path
from typing import Any

import torch

from memdetect.adapters import load
from memdetect.inputs.prompts import Request
from memdetect.steering.vector import Header, Vector, sites

LAYERS = ("up_blocks.0.resnets.*", "mid_block", "up_blocks.1.attentions.*")


def header(model: Any, **changes: Any) -> Header:
    facts: dict[str, Any] = {
        "memdetect": "0",
        "model": model.name,
        "digest": model.digest,
        "adapter": model.adapter.pipeline,
        "at": "output",
        "method": "mean",
        "normalised": False,
        "timestep": 10,
        "prompted": True,
        "seed": 0,
        "steps": 2,
        "guidance_scale": 2.0,
        "positive": 1,
        "negative": 0,
        "lengths": {},
    }
    return Header(**{**facts, **changes})


def widths(model: Any, points: Any) -> dict[str, int]:
    """Channels at each point, from one pass."""
    from memdetect.probing import quiet, record, watch
    from memdetect.probing.hooks import MEAN

    replay = record(model)
    with quiet(), watch(model.denoiser, points, (MEAN,), stop=False) as seen:
        model.denoiser(**replay.call)
    return {layer: found[0].shape[1] for (_, layer), found in seen.arrays.items()}


def random_vector(pipe: Any, layers: Any = LAYERS, at: Any = "output") -> Vector:
    """Directions of length about one."""
    model = load(pipe)
    points = sites(model.points(tuple(layers)), at)
    rng = torch.Generator().manual_seed(1)
    found = {name: torch.randn(width, generator=rng) for name, width in widths(model, points).items()}
    made = header(model, at=at, lengths={name: float(value.norm()) for name, value in found.items()})
    return Vector(made, found)


def request_of(prompt: str | None = None, image: Path | None = None, **meta: Any) -> Request:
    return Request(str(meta.pop("id", prompt or image)), prompt, image, "here", None, meta)
