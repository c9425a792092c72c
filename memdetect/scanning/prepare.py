"""Options of a scan, resolved against the model and checked before the first image."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from memdetect.adapters import Card, Model, check_call
from memdetect.copies.asking import source_in
from memdetect.copies.matching import Evidence, open_evidence
from memdetect.detectors import find
from memdetect.detectors.bank import Bank
from memdetect.detectors.choice import chosen, with_bank
from memdetect.detectors.detector import Detector
from memdetect.errors import MemdetectError
from memdetect.inputs.options import Judging, Loading, Lookup, Probing, Sampling, Screening, Sharing
from memdetect.inputs.prompts import Requests
from memdetect.judging.kinds import Kinds
from memdetect.judging.statistics.combine import MOST
from memdetect.probing import Probe, Sampler
from memdetect.probing.sampling import check_guidance
from memdetect.runs.plan import MOST_SEEDS
from memdetect.runs.policy import Policy

INDEX = "train.index"
LARGEST = {"num_seeds": MOST_SEEDS, "steps": 10**6, "batch_size": MOST_SEEDS}


@dataclass(frozen=True, slots=True)
class Options:
    """Everything that a run is told, a record each.

    policy: what it will be judged by, as `judging` says it. policy_file: where that was read from, as seen from the
    root of its repository; "" = no file there. save_images: whether generated images are kept. memorized:
    for clean scores, prompts that the model is known to have memorized, each of a kind. screening: which prompts are
    sampled in full.
    """

    loading: Loading = field(default_factory=Loading)
    sampling: Sampling = field(default_factory=Sampling)
    probing: Probing = field(default_factory=Probing)
    lookup: Lookup = field(default_factory=Lookup)
    judging: Judging = field(default_factory=Judging)
    policy: Policy = field(default_factory=Policy)
    save_images: bool = True
    memorized: Requests | None = None
    sharing: Sharing = field(default_factory=Sharing)
    screening: Screening = field(default_factory=Screening)
    policy_file: str = ""

    def base_of(self, model: Any) -> Any:
        """The base that is given; of a model with LoRAs whose training pictures are known, the model without them.

        Of a model that is loaded, the name by which it was: it holds the LoRAs.
        """
        tuned = self.judging.base is None and self.loading_of(model).loras and self.lookup.train_images
        own = model.name if isinstance(model, Model) else model
        return own if tuned else self.judging.base

    def loading_of(self, model: Any) -> Loading:
        """How a model is opened: of one that is loaded, how it was."""
        return model.loading if isinstance(model, Model) else self.loading


@dataclass(frozen=True, slots=True)
class Bench:
    """Everything that the shard function needs, resolved and checked before the first image.

    bank: clean prompts that some detectors compare with. rounds: how often each prompt's seeds are drawn, where each
    round has scores of its own. kinds: what tells the kind of each prompt, if anything. texts_once: equal texts of a
    batch are encoded once.
    """

    model: Model
    sampler: Sampler
    probe: Probe
    detectors: tuple[Detector, ...]
    options: Options
    evidence: Evidence | None = None
    bank: Bank | None = None
    rounds: int = 1
    kinds: Kinds | None = None
    texts_once: bool = False


def prepare(model: Model, options: Options, *, bank: Bank | None = None, images: bool = False) -> Bench:
    """Resolve and check all settings against the model; MemdetectError for what it does not know.

    bank: of the calibration that scores will be ranked among. images: whether only images are given.
    """
    sampler = sampler_of(model, options.sampling)
    detectors = measured(model, options, sampler, bank=bank, images=images)
    deciding(model.card, options, detectors)
    probe = Probe.at(
        model,
        layers=options.probing.layers,
        timesteps=options.probing.timesteps,
        sigmas=options.probing.sigmas,
        detectors=detectors,
        call=sampler.call,
    )
    return Bench(model, sampler, probe, detectors, options, _evidence(model, options), bank)


def measured(
    model: Model, options: Options, sampler: Sampler, *, bank: Bank | None, images: bool = False
) -> tuple[Detector, ...]:
    """The detectors that are asked for, else the usual ones of these settings, checked and bound to the bank."""
    asked = find(tuple(options.probing.detectors))
    if images and (wrong := next((d for d in asked if not d.of_images), None)):
        raise MemdetectError(
            f"detector {wrong.name!r} reads the run that makes an image, and images are given; leave it out"
        )
    return with_bank(chosen(model, sampler, asked, banked=bank is not None, images=images), bank)


def sampler_of(model: Model, asked: Sampling) -> Sampler:
    """How images are made, by the card where nothing is asked for; MemdetectError for what cannot be."""
    for name in ("num_seeds", "steps", "batch_size"):
        value = getattr(asked, name)
        if value is not None and value < 1:
            raise MemdetectError(f"{name} is {value}, expected at least 1")
        if value is not None and value > LARGEST[name]:
            raise MemdetectError(f"{name} is {value}, expected at most {LARGEST[name]:,}")
    if asked.guidance_scale is not None and not np.isfinite(asked.guidance_scale):
        raise MemdetectError(f"guidance_scale is {asked.guidance_scale}, expected a finite number")
    call = dict(asked.call)
    check_call(model, call)
    made = Sampler.of(model, **{each.name: getattr(asked, each.name) for each in fields(asked)} | {"call": call})
    check_guidance(model, made)
    return made


def _evidence(model: Model, options: Options) -> Evidence | None:
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


def deciding(card: Card, options: Options, detectors: Sequence[Detector]) -> list[str]:
    """The detectors that decide together: those asked for, else the card's with the usual detectors, else the first."""
    names, asked = [d.name for d in detectors], options.probing
    first = () if asked.detectors else card.combine
    found = [d.name for d in find(tuple(asked.combine) or first)] or names[:1]
    if absent := [name for name in found if name not in names]:
        raise MemdetectError(f"{absent[0]!r} is to decide but is not measured; add it with --detector")
    if len(found) > MOST:
        raise MemdetectError(f"{len(found)} detectors are to decide, at most {MOST} can; name fewer")
    if asked.by != "max" and len(found) < 2:
        raise MemdetectError(
            f"combine-by is {asked.by!r}, and {found[0]!r} alone decides; give --combine twice or more, or leave it out"
        )
    return found
