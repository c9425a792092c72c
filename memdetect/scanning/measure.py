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
from memdetect.records import Match, Measurement, Score
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
    made = _decoded(trace, bench, decoding) if bench.options.save_images or bench.evidence else [[] for _ in shard]
    rows: list[Measurement] = []
    for i, (index, request) in enumerate(shard):
        facts = {
            "files": _save(made[i], index, images) if bench.options.save_images else [],
            "matches": _matches(made[i], bench),
            "notes": _prompt_notes(bench.model, request),
        }
        rows.append(_row(index, request, bench, trace.select(item=i)).model_copy(update=facts))
    return rows, {**trace.notes, "halved": [*trace.notes["halved"], *decoding.halved]}


def _measure_images(shard: Sequence[Indexed], bench: Bench) -> tuple[list[Measurement], dict[str, Any]]:
    size = image_size(bench.model, bench.sampler.call)
    pixels: list[np.ndarray] = []
    matches: list[list[Match]] = []
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
        matches.append(_matches([opened.image], bench))
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
        rows.append(
            _row(index, request, bench, trace.select(item=i)).model_copy(
                update={"notes": notes[i], "matches": matches[i]}
            )
        )
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


def _decoded(trace: Trace, bench: Bench, batching: Batching) -> list[list[Image.Image]]:
    """The images of each item."""
    assert trace.latents is not None
    with torch.inference_mode():
        images = [Image.fromarray(array) for array in decode(bench.model, trace.latents.flatten(0, 1), batching)]
    count = bench.sampler.num_seeds
    return [images[i : i + count] for i in range(0, len(images), count)]


def _save(images: Sequence[Image.Image], index: int, folder: Path) -> list[str]:
    """Save the images of an item as images/INDEX-k.png; returns these names."""
    names = [f"{index:07d}-{k}.png" for k in range(len(images))]
    for name, image in zip(names, images, strict=True):
        image.save(folder / name)
    return [f"images/{name}" for name in names]


def _matches(images: Sequence[Image.Image], bench: Bench) -> list[Match]:
    """The training images near those of an item, image by image; none where no index is searched."""
    if bench.evidence is None or not images:
        return []
    return bench.evidence.of(images)
