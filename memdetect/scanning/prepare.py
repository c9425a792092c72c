"""What a scan will do: settings resolved against the model and checked before the first image."""

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from memdetect import __version__
from memdetect.adapters import Model, check_call, load
from memdetect.adapters.conditions import arguments
from memdetect.adapters.schedule import fingerprint
from memdetect.copies.embedders import Source
from memdetect.copies.index import Manifest
from memdetect.copies.matching import Evidence, open_evidence
from memdetect.detectors import DEFAULT, find
from memdetect.detectors.detector import Detector
from memdetect.errors import MemdetectError
from memdetect.inputs.prompts import Request, Requests
from memdetect.judging.calibration import Calibration
from memdetect.judging.statistics.combine import MOST
from memdetect.judging.text_shift import compare_wording
from memdetect.probing import Look, Sampler, image_size
from memdetect.runs.header import Header, inputs_digest, plan_digest
from memdetect.runs.index_facts import found_by
from memdetect.runs.policy import Policy

INDEX = "train.index"
PACKAGES = ("torch", "diffusers", "transformers", "numpy")
# Noise of images and looks comes from (run seed, item id, k): of two prompts it is independent, whatever the run seed.
NOISE = "own for each item"


@dataclass(frozen=True, slots=True)
class Options:
    """Settings of a scan; None = the model's card decides. `call`: further arguments of the pipeline.

    sigmas: noise over signal to look at, instead of timesteps.

    members: the detectors whose combination decides (default: the card's, or the first detector). strata: a column that
    p-values stay within. calibration: a file of clean scores instead of the one beside the model. policy: what the run
    will be judged by. base: what the model was fine-tuned from (as `load` takes it): the same prompts drawn by it are
    the null, `base_rounds` times (None = by their number).
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


def settings(bench: Bench) -> dict[str, Any]:
    """What a score depends on besides the input; a calibration has to agree in the part that it names."""
    scheduler = bench.model.pipe.scheduler
    return {
        "model": bench.model.digest,
        "family": bench.model.family.pipeline,
        "dtype": bench.model.dtype,
        "scheduler": f"{type(scheduler).__name__}:{fingerprint(scheduler)}",
        "steps": bench.sampler.steps,
        "guidance_scale": bench.sampler.guidance_scale,
        "num_seeds": bench.sampler.num_seeds,
        "seed": bench.sampler.seed,
        "size": list(image_size(bench.model, bench.sampler.call)),
        "noise": NOISE,
        "call": bench.sampler.call,
        "detectors": [d.name for d in bench.detectors],
        "members": members(bench.model, bench.options, bench.detectors),
        "strata": bench.options.strata,
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


def plan(bench: Bench, requests: Requests, calibration: Calibration | None = None) -> Header:
    """The run's header, complete before the first image: the plan, and the bar that it will be judged by."""
    arguments(bench.model, [r.prompt for r in requests.items if r.prompt is not None])  # a wrong one is refused here
    total = inputs_digest((request.id, request.prompt, _content(request.image)) for request in requests.items)
    sigmas = zip(bench.look.timesteps, bench.look.sigmas, strict=True)
    index, asked = searched(bench.evidence), bench.options
    made = {"inputs": total, **settings(bench), "index": index.get("digest", "")}
    made["base"] = load(asked.base).digest if asked.base is not None else ""
    if index:
        made["top_k"] = index["top_k"]
    return Header(
        memdetect=__version__,
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        model=bench.model.name,
        versions={name: version(name) for name in PACKAGES},
        plan=made,
        planned=len(requests.items),
        sigmas={str(t): s if np.isfinite(s) else None for t, s in sigmas},
        default_point="" if asked.layers or asked.timesteps or asked.sigmas else bench.model.card.default,
        dropped={"blank": requests.blank, "repeated": requests.repeated, "beside": requests.beside},
        index=index | (_given(bench) if index else {}),
        opening={key: value for key, value in asdict(bench.model.opening).items() if value},
        **_bar(bench.options.policy, made, requests.items, calibration),
    )


def _given(bench: Bench) -> dict[str, Any]:
    """How the index was named, so that it can be searched again, and from where its embedder came."""
    asked, evidence = bench.options, bench.evidence
    folder = evidence.index.folder if evidence and asked.train_images else asked.index
    given = {"given": folder, "weights": asked.embedder_weights}
    found: dict[str, Any] = {name: str(path) for name, path in given.items() if path}
    return found | ({"trust_torchscript": True} if asked.trust_torchscript else {})


def searched(evidence: Evidence | None) -> dict[str, Any]:
    """What the header says of the index: which, how much of the training set, what it rests on, what it finds."""
    if evidence is None:
        return {}
    return index_facts(evidence.index.folder.name, evidence.index.manifest, evidence.top_k)


def index_facts(name: str, manifest: Manifest, top_k: int) -> dict[str, Any]:
    """The same from an index's manifest alone. level: of the threshold; None where there is none."""
    limit = manifest.threshold
    return {
        "name": name,
        "digest": manifest.digest,
        "rows": manifest.count,
        "embedder": manifest.embedder.name,
        "top_k": top_k,
        "similarity": limit.similarity,
        "level": None if limit.similarity is None else limit.level if limit.shown else limit.attainable,
        "null_queries": limit.queries,
        **found_by(manifest.model_dump(mode="json")),
    }


def _bar(
    policy: Policy, made: Mapping[str, Any], items: Sequence[Request], calibration: Calibration | None
) -> dict[str, Any]:
    """Policy; digests of policy, plan and calibration; whether the prompts' text tells them from the clean ones."""
    digest = calibration.cut(made).digest if calibration else ""
    return {
        "policy": policy.model_dump(mode="json"),
        "policy_digest": policy.digest,
        "plan_digest": plan_digest(made),
        "calibration": digest,
        "wording": {**compare_wording(items, calibration), "calibration": digest} if calibration else {},
    }
