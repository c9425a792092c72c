"""Measure one shard: sample or open, look, score, keep the images."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from memdetect.adapters import Model
from memdetect.batches import Batching
from memdetect.detector import Detector
from memdetect.errors import MemdetectError
from memdetect.images import open_image, to_array
from memdetect.probing import decode, image_size, probe_images, probe_prompts, truncated_at
from memdetect.prompts import Request
from memdetect.records import Measurement, Score
from memdetect.scanning.plan import Bench
from memdetect.trace import Trace

Indexed = tuple[int, Request]


def measure(shard: Sequence[Indexed], bench: Bench, images: Path) -> tuple[list[Measurement], dict[str, Any]]:
    """Measure one shard of prompts or of images; returns its rows and notes for the journal."""
    if shard[0][1].image is not None:
        return _measure_images(shard, bench)
    prompts = [request.prompt or "" for _, request in shard]
    trace = probe_prompts(
        bench.model,
        prompts,
        ids=[request.id for _, request in shard],
        sampler=bench.sampler,
        look=bench.look,
    )
    decoding = Batching(bench.sampler.batch_size)
    files = _save(trace, shard, bench, images, decoding) if bench.options.save_images else [[] for _ in shard]
    rows = [
        _row(index, request, bench, trace.select(item=i)).model_copy(
            update={"files": files[i], "notes": _prompt_notes(bench.model, request)}
        )
        for i, (index, request) in enumerate(shard)
    ]
    return rows, {**trace.notes, "halved": [*trace.notes["halved"], *decoding.halved]}


def _measure_images(shard: Sequence[Indexed], bench: Bench) -> tuple[list[Measurement], dict[str, Any]]:
    size = image_size(bench.model)
    pixels: list[np.ndarray] = []
    notes: list[list[str]] = []
    failed: dict[int, str] = {}
    for i, (_, request) in enumerate(shard):
        assert request.image is not None
        try:
            opened = open_image(request.image)
        except MemdetectError as problem:
            failed[i] = str(problem)
            continue
        pixels.append(to_array(opened.image, size))
        notes.append(list(opened.notes))
    good = [row for i, row in enumerate(shard) if i not in failed]
    rows = [_unreadable(shard[i], reason) for i, reason in failed.items()]
    if not good:
        return rows, {}
    trace = probe_images(
        bench.model,
        torch.from_numpy(np.stack(pixels)),
        ids=[request.id for _, request in good],
        sampler=bench.sampler,
        look=bench.look,
    )
    for i, (index, request) in enumerate(good):
        rows.append(_row(index, request, bench, trace.select(item=i)).model_copy(update={"notes": notes[i]}))
    return sorted(rows, key=lambda row: row.index), dict(trace.notes)


def _unreadable(item: Indexed, reason: str) -> Measurement:
    index, request = item
    return Measurement(
        index=index,
        id=request.id,
        image=str(request.image),
        source=request.source,
        line=request.line,
        meta=dict(request.meta),
        status="unreadable",
        notes=[reason],
    )


def _row(index: int, request: Request, bench: Bench, trace: Trace) -> Measurement:
    scores = {d.name: _score(d, trace) for d in bench.detectors}
    finite = all(score.score is not None for score in scores.values())
    return Measurement(
        index=index,
        id=request.id,
        prompt=request.prompt,
        image=str(request.image) if request.image else None,
        source=request.source,
        line=request.line,
        meta=dict(request.meta),
        seeds=bench.sampler.seeds(request.id),
        scores=scores,
        status="ok" if finite else "nonfinite",
    )


def _score(detector: Detector, trace: Trace) -> Score:
    """Score of a trace of one item, and of each of its layers, timesteps and seeds alone."""
    cells = {
        layer: {
            f"{t:g}": [
                _number(detector.score(trace.select(layer=layer, step=s, seed=k)))
                for k in range(next(iter(trace.arrays.values())).shape[2])
            ]
            for s, t in enumerate(trace.timesteps)
        }
        for layer in trace.layers
    }
    return Score(score=_number(detector.score(trace)), cells=cells)


def _number(scores: torch.Tensor) -> float | None:
    value = scores.item()
    return value if np.isfinite(value) else None


def _prompt_notes(model: Model, request: Request) -> list[str]:
    kept = truncated_at(model, request.prompt or "")
    return [f"prompt truncated to its first {kept} tokens"] if kept else []


def _save(trace: Trace, shard: Sequence[Indexed], bench: Bench, folder: Path, batching: Batching) -> list[list[str]]:
    """Decode and save the images as images/INDEX-k.png; returns their names for each item."""
    assert trace.latents is not None
    vae = bench.model.pipe.vae
    latents = trace.latents.flatten(0, 1).to(vae.device, vae.dtype)
    with torch.inference_mode():
        arrays = decode(bench.model, latents, batching)
    count = bench.sampler.num_seeds
    names = [f"{index:07d}-{k}.png" for index, _ in shard for k in range(count)]
    for name, array in zip(names, arrays, strict=True):
        Image.fromarray(array).save(folder / name)
    return [[f"images/{n}" for n in names[i * count : (i + 1) * count]] for i in range(len(shard))]
