"""What a scan will do: settings resolved against the model and checked before the first image."""

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from memdetect import __version__
from memdetect.adapters import Model, check_call, load
from memdetect.adapters.conditions import arguments
from memdetect.adapters.schedule import fingerprint
from memdetect.copies.asking import source_in
from memdetect.copies.index import Manifest
from memdetect.copies.matching import Evidence, open_evidence
from memdetect.detectors import DEFAULT, find
from memdetect.detectors.detector import Detector
from memdetect.errors import MemdetectError
from memdetect.inputs.options import Judging, Loading, Lookup, Probing, Sampling
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
class Settings:
    """Everything that a run is told, a record each.

    policy: what it will be judged by, as `judging` says it. save_images: whether generated images are kept. memorized:
    for clean scores, prompts that the model is known to have memorized, each of a kind.
    """

    loading: Loading = field(default_factory=Loading)
    sampling: Sampling = field(default_factory=Sampling)
    probing: Probing = field(default_factory=Probing)
    lookup: Lookup = field(default_factory=Lookup)
    judging: Judging = field(default_factory=Judging)
    policy: Policy = field(default_factory=Policy)
    save_images: bool = True
    memorized: Requests | None = None

    @property
    def detectors(self) -> tuple[str, ...]:
        """Names of the detectors, the usual ones unless others are asked for."""
        return tuple(self.probing.detectors) or tuple(d.name for d in DEFAULT)

    def base_of(self, model: Any) -> Any:
        """The base that is given; of a model with LoRAs whose training pictures are known, the model without them."""
        tuned = self.judging.base is None and self.loading.loras and self.lookup.train_images
        return model if tuned else self.judging.base


@dataclass(frozen=True, slots=True)
class Bench:
    """Everything that the shard function needs, resolved and checked before the first image."""

    model: Model
    sampler: Sampler
    look: Look
    detectors: tuple[Detector, ...]
    options: Settings
    evidence: Evidence | None = None


def prepare(model: Model, options: Settings) -> Bench:
    """Resolve and check all settings against the model; MemdetectError for what it does not know."""
    sampler = sampler_of(model, options.sampling)
    detectors = find(options.detectors)
    members(model, options, detectors)
    look = Look.at(
        model,
        layers=options.probing.layers,
        timesteps=options.probing.timesteps,
        sigmas=options.probing.sigmas,
        detectors=detectors,
        call=sampler.call,
    )
    return Bench(model, sampler, look, detectors, options, _evidence(model, options))


def sampler_of(model: Model, asked: Sampling) -> Sampler:
    """How images are made, by the card where nothing is asked for; MemdetectError for what cannot be."""
    for name in ("num_seeds", "steps", "batch_size"):
        value = getattr(asked, name)
        if value is not None and value < 1:
            raise MemdetectError(f"{name} is {value}, expected at least 1")
    if asked.guidance_scale is not None and not np.isfinite(asked.guidance_scale):
        raise MemdetectError(f"guidance_scale is {asked.guidance_scale}, expected a finite number")
    call = dict(asked.call)
    check_call(model, call)
    return Sampler.of(model, **{each.name: getattr(asked, each.name) for each in fields(asked)} | {"call": call})


def _evidence(model: Model, options: Settings) -> Evidence | None:
    """The opened index that outputs are looked up in, if any."""
    asked = options.lookup
    if asked.top_k < 1:
        raise MemdetectError(f"top_k is {asked.top_k}, expected at least 1")
    tuned = options.judging.base is not None or bool(model.loading.loras)
    folder = searched_index(model.folder, asked, tuned=tuned)
    if folder is None or asked.train_images:
        return None
    return open_evidence(folder, source_in(model.folder, asked), asked.top_k)


def searched_index(model: Path | None, lookup: Lookup, *, tuned: bool = False) -> Path | None:
    """The index folder of a scan: the one asked for, else the one that ships with the model, else None.

    tuned: whether the model is a fine-tune (a LoRA, or judged against a base): what ships with its base is an index of
    another training set, and is not searched unless it is asked for. Raises MemdetectError for an index that is asked
    for and forbidden at once, or beside a folder of training pictures.
    """
    index, search = lookup.index, lookup.search
    if index and not search:
        raise MemdetectError(f"index {str(index)!r} and no-index exclude each other; give one of them")
    if index and lookup.train_images:
        raise MemdetectError(
            f"index {str(index)!r} and the training pictures of {str(lookup.train_images)!r} exclude each other: one "
            "index is searched; put the pictures into it with index build --append, or leave one of them out"
        )
    shipped = model / INDEX if model and not tuned else None
    return Path(index) if index else (shipped if search and shipped and shipped.is_dir() else None)


def members(model: Model, options: Settings, detectors: Sequence[Detector]) -> list[str]:
    """The detectors that decide together: those asked for, else the card's with the usual detectors, else the first."""
    names = [d.name for d in detectors]
    usual = options.detectors == tuple(d.name for d in DEFAULT)
    found = [d.name for d in find(tuple(options.probing.combine) or (model.card.members if usual else ()))] or names[:1]
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
        "strata": bench.options.probing.strata,
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
    index, asked, probed = searched(bench.evidence), bench.options, bench.options.probing
    made = {"inputs": total, **settings(bench), "index": index.get("digest", "")}
    made["base"] = load(asked.judging.base).digest if asked.judging.base is not None else ""
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
        default_point="" if any((probed.layers, probed.timesteps, probed.sigmas)) else bench.model.card.default,
        dropped={"blank": requests.blank, "repeated": requests.repeated, "beside": requests.beside},
        index=index | (_given(bench) if index else {}),
        opening=bench.model.loading.unusual,
        **_bar(bench.options.policy, made, requests.items, calibration),
    )


def _given(bench: Bench) -> dict[str, Any]:
    """How the index was named, so that it can be searched again, and from where its embedder came."""
    asked, evidence = bench.options.lookup, bench.evidence
    folder = evidence.index.folder if evidence and asked.train_images else asked.index
    given = {"given": folder, "weights": asked.weights}
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
