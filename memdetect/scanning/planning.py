"""The plan and the header of a run, made of prepared settings and complete before the first image."""

import hashlib
import time
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from memdetect import __version__
from memdetect.adapters import load
from memdetect.adapters.conditions import arguments
from memdetect.adapters.schedule import fingerprint
from memdetect.copies.index import Manifest
from memdetect.copies.index.part import limit_of
from memdetect.copies.matching import Evidence
from memdetect.detectors.detector import Detector
from memdetect.errors import MemdetectError
from memdetect.files import open_regular
from memdetect.inputs.options import Lookup, Sharing
from memdetect.inputs.prompts import Request, Requests
from memdetect.judging.calibration import Calibration
from memdetect.judging.text_shift import compare_wording
from memdetect.probing import Sampler, image_size
from memdetect.runs.header import Header
from memdetect.runs.index_facts import found_by
from memdetect.runs.plan import RUN, Plan, Reading, Settings, inputs_digest
from memdetect.runs.policy import Policy
from memdetect.runs.sharding import turns_of
from memdetect.scanning.prepare import Bench, deciding

PACKAGES = ("torch", "diffusers", "transformers", "numpy")
# Noise of images and probes comes from (run seed, item id, k): of two prompts it is independent, whatever the run seed.
NOISE = "own for each item"
FEWEST_IMAGES = 16  # of a shard, where a batch holds fewer


def settings_of(bench: Bench) -> Settings:
    """What a score depends on besides the input and the places, and clean scores have to share."""
    scheduler = bench.model.pipe.scheduler
    height, width = image_size(bench.model, bench.sampler.call)
    return Settings(
        model=bench.model.digest,
        adapter=bench.model.adapter.pipeline,
        dtype=bench.model.dtype,
        scheduler=f"{type(scheduler).__name__}:{fingerprint(scheduler)}",
        steps=bench.sampler.steps,
        guidance_scale=bench.sampler.guidance_scale,
        size=(height, width),
        noise=NOISE,
        call=bench.sampler.call,
    )


def plan_of(bench: Bench, requests: Requests) -> Plan:
    """What the run will measure, and of what; MemdetectError for a prompt that the model cannot take."""
    arguments(bench.model, [r.prompt for r in requests.items if r.prompt is not None])  # a wrong one is refused here
    index, asked = searched(bench.evidence), bench.options
    _check_strata(requests, asked.probing.strata)
    return Plan(
        **dict(settings_of(bench)),
        inputs=inputs_digest((request.id, request.prompt, _content(request.image)) for request in requests.items),
        num_seeds=bench.sampler.num_seeds,
        seed=bench.sampler.seed,
        detectors=tuple(d.name for d in bench.detectors),
        readings=readings_of(bench.detectors, [p.name for p in bench.probe.points], bench.probe.timesteps),
        combine=tuple(deciding(bench.model.card, asked, bench.detectors)),
        strata=asked.probing.strata,
        by=asked.probing.by,
        bank=bench.bank.digest if bench.bank and any(d.banked for d in bench.detectors) else "",
        layers=tuple(point.name for point in bench.probe.points) if bench.probe.timesteps else (),
        timesteps=tuple(bench.probe.timesteps),
        index=index.get("digest", ""),
        top_k=index.get("top_k"),
        base=load(asked.judging.base).digest if asked.judging.base is not None else "",
        shard_size=shard_size(asked.sharing, bench.sampler),
        turns=tuple(turns_of(request.image is not None for request in requests.items)),
    )


def shard_size(asked: Sharing, sampler: Sampler) -> int:
    """How many items a shard of a new run has: as asked for, else those of 16 images or of a larger batch."""
    return asked.shard_size or max(1, max(FEWEST_IMAGES, sampler.batch_size) // sampler.num_seeds)


def _check_strata(requests: Requests, column: str) -> None:
    """Refuse a column that no prompt has: all of them would be ranked as one stratum."""
    if column and not any(str(item.meta.get(column) or "") for item in requests.items):
        have = ", ".join(sorted({name for item in requests.items for name in item.meta})) or "none"
        raise MemdetectError(f"no prompt has a value in column {column!r} to stratify by; the columns are: {have}")


def readings_of(detectors: Sequence[Detector], layers: Sequence[str], timesteps: Sequence[int]) -> dict[str, Reading]:
    """Where each detector is read, and its rule over seeds."""
    cells = tuple((layer, str(t)) for layer in layers for t in timesteps)
    return {d.name: Reading(places=cells if d.of_images else (RUN,), seeds=d.seeds, seen=d.seen) for d in detectors}


def header_of(bench: Bench, requests: Requests, calibration: Calibration | None = None) -> Header:
    """The run's header: the plan, where everything came from, and the bar that the run will be judged by."""
    made, asked, index = plan_of(bench, requests), bench.options, searched(bench.evidence)
    probed = asked.probing
    sigmas = zip(bench.probe.timesteps, bench.probe.sigmas, strict=True)
    return Header(
        memdetect=__version__,
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        model=bench.model.name,
        versions=dict(_versions()),
        plan=made,
        planned=len(requests.items),
        sigmas={str(t): s if np.isfinite(s) else None for t, s in sigmas},
        default_point="" if any((probed.layers, probed.timesteps, probed.sigmas)) else bench.model.card.default,
        dropped={name: getattr(requests, name) for name in ("blank", "repeated", "beside", "further")},
        index=index | (named_index(asked.lookup, bench.evidence) if bench.evidence else {}),
        opening=bench.model.loading.unusual,
        device=(device := bench.model.device.partition(":")[0]),
        threads=torch.get_num_threads() if device == "cpu" else None,
        **bar_of(asked.policy, made, requests.items, calibration),
    )


@cache
def _versions() -> Mapping[str, str]:
    """Of the packages; read once, for each is looked for through all that are installed."""
    return {name: version(name) for name in PACKAGES}


def bar_of(policy: Policy, made: Plan, items: Sequence[Request], calibration: Calibration | None) -> dict[str, Any]:
    """Policy; digests of policy, plan and calibration; whether the prompts' text tells them from the clean ones."""
    digest = calibration.cut(made).digest if calibration else ""
    return {
        "policy": policy.model_dump(mode="json"),
        "policy_digest": policy.digest,
        "plan_digest": made.digest,
        "calibration": digest,
        "wording": {**compare_wording(items, calibration), "calibration": digest} if calibration else {},
    }


def searched(evidence: Evidence | None) -> dict[str, Any]:
    """What the header says of the index: which, how much of the training set, what it rests on, what it finds."""
    if evidence is None:
        return {}
    return index_facts(evidence.index.folder.name, evidence.index.manifest, evidence.top_k)


def index_facts(name: str, manifest: Manifest, top_k: int) -> dict[str, Any]:
    """The same from an index's manifest alone. level: of the threshold; None where there is none.

    part_limit: the share of a training image above which a part of it counts as found; of small ones it is no smaller.
    """
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
        "part_limit": min(limit_of(manifest.agreement, small=False), 1.0),
        **found_by(manifest.model_dump(mode="json")),
    }


def named_index(asked: Lookup, evidence: Evidence) -> dict[str, Any]:
    """How the index was named, so that it can be searched again, and from where its embedder came."""
    folder = evidence.index.folder if asked.train_images else asked.index
    given = {"given": folder, "weights": asked.weights}
    found: dict[str, Any] = {name: str(path) for name, path in given.items() if path}
    return found | ({"trust_torchscript": True} if asked.trust_torchscript else {})


def _content(image: Path | None) -> str | None:
    """Hash of an image file: its id may be the caller's own and stay when the file changes."""
    if image is None:
        return None
    try:
        with open_regular(image) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as problem:
        raise MemdetectError(f"{str(image)!r}: cannot be read ({problem.strerror}); check the file") from None
