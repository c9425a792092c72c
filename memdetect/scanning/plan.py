"""What a scan will do: settings resolved against the model and checked before the first image."""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from memdetect import __version__
from memdetect.adapters import Model, check_call
from memdetect.detector import Detector
from memdetect.detectors import DEFAULT, find
from memdetect.errors import MemdetectError
from memdetect.probing import Look, Sampler
from memdetect.prompts import Requests
from memdetect.records import Header

PACKAGES = ("torch", "diffusers", "transformers", "numpy")


@dataclass(frozen=True, slots=True)
class Options:
    """Settings of a scan; None = the model's card decides. `call`: further arguments of the pipeline."""

    layers: Sequence[str] | None = None
    timesteps: Sequence[int] | None = None
    detectors: Sequence[str] = tuple(d.name for d in DEFAULT)
    steps: int | None = None
    guidance_scale: float | None = None
    num_seeds: int | None = None
    seed: int = 0
    batch_size: int = 16
    save_images: bool = True
    call: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Bench:
    """Everything that the shard function needs, resolved and checked before the first image."""

    model: Model
    sampler: Sampler
    look: Look
    detectors: tuple[Detector, ...]
    options: Options


def prepare(model: Model, options: Options) -> Bench:
    """Resolve and check all settings against the model; MemdetectError for what it does not know."""
    for name in ("num_seeds", "steps", "batch_size"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise MemdetectError(f"{name} is {value}, expected at least 1")
    if options.guidance_scale is not None and not np.isfinite(options.guidance_scale):
        raise MemdetectError(f"guidance_scale is {options.guidance_scale}, expected a finite number")
    check_call(model, dict(options.call))
    sampler = Sampler.of(
        model,
        steps=options.steps,
        guidance_scale=options.guidance_scale,
        num_seeds=options.num_seeds,
        seed=options.seed,
        batch_size=options.batch_size,
        call=dict(options.call),
    )
    detectors = find(options.detectors)
    look = Look.at(model, layers=options.layers, timesteps=options.timesteps, detectors=detectors)
    return Bench(model, sampler, look, detectors, options)


def settings(bench: Bench) -> dict[str, Any]:
    """What a score depends on besides the input; a calibration has to agree in the part that it names."""
    scheduler = bench.model.pipe.scheduler
    table = hashlib.sha256(scheduler.alphas_cumprod.numpy().tobytes()).hexdigest()[:16]
    return {
        "model": bench.model.digest,
        "family": bench.model.family.pipeline,
        "dtype": bench.model.dtype,
        "scheduler": f"{type(scheduler).__name__}:{table}",
        "steps": bench.sampler.steps,
        "guidance_scale": bench.sampler.guidance_scale,
        "num_seeds": bench.sampler.num_seeds,
        "seed": bench.sampler.seed,
        "call": bench.sampler.call,
        "detectors": [d.name for d in bench.detectors],
        "layers": [p.name for p in bench.look.points],
        "timesteps": list(bench.look.timesteps),
    }


def _content(image: Path | None) -> str | None:
    """Hash of an image file: its id may be the caller's own and stay when the file changes."""
    if image is None:
        return None
    try:
        with image.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as problem:
        raise MemdetectError(f"{str(image)!r}: cannot be read ({problem.strerror}); check the file") from None


def plan(bench: Bench, requests: Requests) -> Header:
    """The run's header, complete before the first image."""
    total = hashlib.sha256()
    for request in requests.items:
        total.update(json.dumps([request.id, request.prompt, _content(request.image)]).encode())
    sigmas = zip(bench.look.timesteps, bench.look.sigmas, strict=True)
    return Header(
        memdetect=__version__,
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        model=bench.model.name,
        versions={name: version(name) for name in PACKAGES},
        plan={"inputs": total.hexdigest(), **settings(bench)},
        planned=len(requests.items),
        sigmas={str(t): s if np.isfinite(s) else None for t, s in sigmas},
        default_point="" if bench.options.layers or bench.options.timesteps else bench.model.card.default,
        dropped={"blank": requests.blank, "repeated": requests.repeated},
    )
