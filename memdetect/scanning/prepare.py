"""Settings of a scan, resolved against the model and checked before the first image."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from memdetect.adapters import Model, check_call
from memdetect.copies.embedders import Source
from memdetect.copies.matching import Evidence, open_evidence
from memdetect.detectors import DEFAULT, find
from memdetect.detectors.detector import Detector
from memdetect.errors import MemdetectError
from memdetect.inputs.prompts import Requests
from memdetect.judging.statistics.combine import MOST
from memdetect.probing import Look, Sampler
from memdetect.runs.policy import Policy

INDEX = "train.index"


@dataclass(frozen=True, slots=True)
class Options:
    """Settings of a scan; None = the model's card decides. `call`: further arguments of the pipeline.

    sigmas: noise over signal to look at, instead of timesteps.

    members: the detectors whose combination decides (default: the card's, or the first detector). strata: a column that
    p-values stay within. calibration: a file of clean scores instead of the one beside the model. policy: what the run
    will be judged by. first_step_only: refuse detectors that need images. base: what the model was fine-tuned from
    (as `load` takes it): the same prompts drawn by it are the null, `base_rounds` times (None = by their number).
    train_images: a folder of training pictures to look outputs up in, instead of an index. memorized: for `calibrate`,
    prompts that the model is known to have memorized, as `prompts.read` takes or gives them.
    """

    layers: Sequence[str] | None = None
    timesteps: Sequence[int] | None = None
    sigmas: Sequence[float] | None = None
    detectors: Sequence[str] = tuple(d.name for d in DEFAULT)
    steps: int | None = None
    guidance_scale: float | None = None
    num_seeds: int | None = None
    seed: int = 0
    batch_size: int = 16
    save_images: bool = True
    call: Mapping[str, Any] = field(default_factory=dict[str, Any])
    members: Sequence[str] = ()
    strata: str = ""
    calibration: Path | None = None
    policy: Policy = field(default_factory=Policy)
    first_step_only: bool = False
    index: Path | None = None
    search: bool = True
    top_k: int = 3
    embedder_weights: Path | None = None
    trust_torchscript: bool = False
    base: Any = None
    base_rounds: int | None = None
    train_images: Path | None = None
    memorized: Requests | Sequence[str | Path] = ()


@dataclass(frozen=True, slots=True)
class Bench:
    """Everything that the shard function needs, resolved and checked before the first image."""

    model: Model
    sampler: Sampler
    look: Look
    detectors: tuple[Detector, ...]
    options: Options
    evidence: Evidence | None = None


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
    if options.first_step_only and (late := [d.name for d in detectors if d.look not in ("text", "first")]):
        raise MemdetectError(f"{', '.join(late)} cannot be scored from the first step; leave out --first-step-only")
    members(model, options, detectors)
    look = Look.at(
        model,
        layers=options.layers,
        timesteps=options.timesteps,
        sigmas=options.sigmas,
        detectors=detectors,
        call=dict(options.call),
    )
    return Bench(model, sampler, look, detectors, options, _evidence(model, options))


def _evidence(model: Model, options: Options) -> Evidence | None:
    """The opened index that outputs are looked up in, if any."""
    if options.top_k < 1:
        raise MemdetectError(f"top_k is {options.top_k}, expected at least 1")
    tuned = options.base is not None or bool(model.opening.loras)
    folder = searched_index(model.folder, options, tuned=tuned)
    if folder is None or options.train_images:
        return None
    source = Source(model.folder, options.embedder_weights, options.trust_torchscript)
    return open_evidence(folder, source, options.top_k)


def searched_index(model: Path | None, options: Options, *, tuned: bool = False) -> Path | None:
    """The index folder of a scan: the one asked for, else the one that ships with the model, else None.

    tuned: whether the model is a fine-tune (a LoRA, or judged against a base): what ships with its base is an index of
    another training set, and is not searched unless it is asked for. Raises MemdetectError for an index that is asked
    for and forbidden at once, or beside a folder of training pictures.
    """
    index, search = options.index, options.search
    if index and not search:
        raise MemdetectError(f"index {str(index)!r} and no-index exclude each other; give one of them")
    if index and options.train_images:
        raise MemdetectError(
            f"index {str(index)!r} and the training pictures of {str(options.train_images)!r} exclude each other: one "
            "index is searched; put the pictures into it with index build --append, or leave one of them out"
        )
    shipped = model / INDEX if model and not tuned else None
    return index or (shipped if search and shipped and shipped.is_dir() else None)


def members(model: Model, options: Options, detectors: Sequence[Detector]) -> list[str]:
    """The detectors that decide together: those asked for, else the card's with the usual detectors, else the first."""
    names = [d.name for d in detectors]
    usual = tuple(options.detectors) == tuple(d.name for d in DEFAULT)
    found = [d.name for d in find(tuple(options.members) or (model.card.members if usual else ()))] or names[:1]
    if absent := [name for name in found if name not in names]:
        raise MemdetectError(f"{absent[0]!r} is to decide but is not measured; add it with --detector")
    if len(found) > MOST:
        raise MemdetectError(f"{len(found)} detectors are to decide, at most {MOST} can; name fewer")
    return found
