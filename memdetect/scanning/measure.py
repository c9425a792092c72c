"""Measure one shard: sample or open, probe and score; then look its images up and keep them."""

import hashlib
import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from memdetect.copies.compared import plain
from memdetect.errors import MemdetectError
from memdetect.files import open_regular, written
from memdetect.inputs.images import IN_PART, open_ways, said_ways, to_array
from memdetect.inputs.prompts import Request
from memdetect.inputs.wording import family_key
from memdetect.judging.telling import told_fields
from memdetect.probing import Decoded, decode, image_size, probe_images, probe_prompts, truncated_at
from memdetect.probing.batches import Batching
from memdetect.probing.texts import texts_once
from memdetect.probing.trace import Trace
from memdetect.runs.records import Measurement, Score, Status
from memdetect.runs.sharding import numbered
from memdetect.scanning.prepare import Bench
from memdetect.scanning.scoring import scores_in
from memdetect.scanning.soundness import checked

Indexed = tuple[int, Request]


@dataclass(frozen=True, slots=True)
class Sampled:
    """A shard that went through the network. finish: looks its images up, keeps them, and returns the shard's rows.

    The network is not asked again, so that another thread may finish a shard while the next one is sampled.
    notes: for the journal.
    """

    finish: Callable[[], list[Measurement]]
    notes: dict[str, Any]


def measure(shard: Sequence[Indexed], bench: Bench, images: Path) -> list[Measurement]:
    """Measure one shard of prompts or of images; returns its rows. images: the folder for those of the shard."""
    return sampled(shard, bench, images).finish()


def sampled(shard: Sequence[Indexed], bench: Bench, images: Path) -> Sampled:
    """Take one shard of prompts or of images through the network.

    A run that no detector and nobody else needs the end of is ended before. Images are decoded where they are kept or
    looked up; where neither is so, no pixel takes part in the answer, and only latents and scores are asked whether
    they are finite.
    """
    if shard[0][1].image is not None:
        return _sampled_images(shard, bench)
    prompts = [request.prompt or "" for _, request in shard]
    wanted = bench.options.save_images or bench.evidence is not None
    with texts_once(bench.model) if bench.texts_once else nullcontext():
        trace = probe_prompts(
            bench.model,
            prompts,
            ids=[request.id for _, request in shard],
            sampler=bench.sampler,
            probe=bench.probe,
            images=wanted,
        )
    trace = replace(trace, families=tuple(family_key(request.meta, request.prompt) for _, request in shard))
    decoding = Batching(bench.sampler.batch_size)
    made = _decoded(trace, bench, decoding) if wanted else [[] for _ in shard]
    scores = scores_in(trace, bench.detectors, bench.sampler.num_seeds // bench.rounds)
    told = told_fields(prompts, bench.kinds)
    rows = [
        _row(*item, bench, scores[i]).model_copy(update={**told[i], "notes": _prompt_notes(bench, item[1])})
        for i, item in enumerate(shard)
    ]
    latents: Sequence[Tensor | None] = [None] * len(rows) if trace.latents is None else list(trace.latents)

    def finish() -> list[Measurement]:
        pairs = zip(rows, latents, made, strict=True)
        return [_kept(checked(row, own, seen, bench.evidence), seen, bench, images) for row, own, seen in pairs]

    return Sampled(finish, {**trace.notes, "halved": [*trace.notes["halved"], *decoding.halved]})


def _kept(row: Measurement, made: Sequence[Decoded], bench: Bench, images: Path) -> Measurement:
    """The row of a prompt, once its images are saved, if they are to be."""
    return row.model_copy(update={"files": _save(made, row.index, images)}) if bench.options.save_images else row


@dataclass(frozen=True, slots=True)
class _Given:
    """An image file: as it is looked up, as the network takes it, what was done to its pixels, and its digest.

    ways: what further ways of decoding make of it, looked up beside it; said: these in words.
    """

    image: Decoded
    fitted: Float[np.ndarray, "3 height width"]
    notes: tuple[str, ...]
    sha256: str
    ways: tuple[Image.Image, ...] = ()
    said: str = ""


def _sampled_images(shard: Sequence[Indexed], bench: Bench) -> Sampled:
    size = image_size(bench.model, bench.sampler.call)
    opened = [_open(request.image or Path(), size) for _, request in shard]
    good = [(item, given) for item, given in zip(shard, opened, strict=True) if isinstance(given, _Given)]
    lost = [
        unmeasured(item, given, "unreadable")
        for item, given in zip(shard, opened, strict=True)
        if isinstance(given, str)
    ]
    if not good:
        return Sampled(lambda: lost, {})
    trace = probe_images(
        bench.model,
        torch.from_numpy(np.stack([given.fitted for _, given in good])),
        ids=[request.id for (_, request), _ in good],
        sampler=bench.sampler,
        probe=bench.probe,
    )
    assert trace.latents is not None
    images = [detector for detector in bench.detectors if detector.of_images]
    found = list(zip(good, trace.latents, scores_in(trace, images), strict=True))

    def finish() -> list[Measurement]:
        seen = [_image_row(*own, latents[:1], scores, bench) for own, latents, scores in found]
        return sorted([*lost, *seen], key=lambda row: row.index)

    return Sampled(finish, dict(trace.notes))


def _open(path: Path, size: tuple[int, int]) -> _Given | str:
    """An image file, fitted to (height, width) in pixels, or why it cannot be opened."""
    try:
        opened, *others = open_ways(path)
    except MemdetectError as problem:
        return str(problem)
    fitted = to_array(opened.image, size)
    whole = Decoded(np.asarray(opened.image), bool(np.isfinite(fitted).all()))
    notes = (*opened.notes, IN_PART) if opened.in_part else opened.notes
    said = said_ways([opened.way, *(other.way for other in others)])
    return _Given(whole, fitted, notes, digest_of(path), tuple(other.image for other in others), said)


def _image_row(
    item: Indexed,
    given: _Given,
    latents: Float[torch.Tensor, "image chan row col"],
    scores: dict[str, Score],
    bench: Bench,
) -> Measurement:
    facts = {"sha256": given.sha256, "notes": [*given.notes, *([given.said] if given.said and bench.evidence else [])]}
    row = _row(*item, bench, scores).model_copy(update=facts)
    row = checked(row, latents, [given.image], bench.evidence, {0: given.ways})
    if IN_PART in given.notes and row.status == "ok":
        row = row.model_copy(update={"status": "unreadable"})
    if row.one_colour or not given.image.finite or not plain(_picture(given.fitted)):
        return row
    said = "the part of image 0 that the network takes has a single colour"
    return row.model_copy(update={"one_colour": [0], "notes": [*row.notes, said]})


def _picture(fitted: Float[np.ndarray, "chan row col"]) -> Image.Image:
    """What the network takes of a given image, -1 black to 1 white, as a picture."""
    pixels = np.clip((fitted.transpose(1, 2, 0) + 1) * 127.5, 0, 255)
    return Image.fromarray(pixels.round().astype(np.uint8))


def digest_of(path: Path) -> str:
    """The sha256, in hex, of a file's bytes, as the plan's digest of inputs takes it; "" if it cannot be read."""
    try:
        with open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (MemdetectError, OSError):
        return ""


def unmeasured(item: Indexed, reason: str, status: Status = "lost") -> Measurement:
    """The row of an item that cannot be measured, with the reason."""
    index, request = item
    return Measurement(
        index=index,
        id=request.id,
        prompt=request.prompt,
        image=str(request.image) if request.image else None,
        sha256=digest_of(request.image) if request.image else "",
        source=request.source,
        line=request.line,
        meta=dict(request.meta),
        status=status,
        notes=[reason],
    )


def _row(index: int, request: Request, bench: Bench, scores: dict[str, Score]) -> Measurement:
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
    )


def _prompt_notes(bench: Bench, request: Request) -> list[str]:
    kept = truncated_at(bench.model, request.prompt or "", bench.sampler.call)
    return [f"prompt truncated to its first {kept} tokens"] if kept else []


def _decoded(trace: Trace, bench: Bench, batching: Batching) -> list[list[Decoded]]:
    """The images of each item."""
    assert trace.latents is not None
    with torch.inference_mode():
        images = decode(bench.model, trace.latents.flatten(0, 1), batching)
    count = bench.sampler.num_seeds
    return [images[i : i + count] for i in range(0, len(images), count)]


def _save(images: Sequence[Decoded], index: int, folder: Path) -> list[str]:
    """Save the images of an item as FOLDER/INDEX-k.png, synced; returns these names as seen from the run's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{numbered(index)}-{k}.png" for k in range(len(images))]
    for name, image in zip(names, images, strict=True):
        with written(folder / name) as temporary, temporary.open("wb") as file:  # in a link's place, not through it
            Image.fromarray(image.pixels).save(file, "PNG")
            file.flush()
            os.fsync(file.fileno())
    return [f"images/{folder.name}/{name}" for name in names]
