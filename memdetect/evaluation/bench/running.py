"""Measure labelled prompts with every variant of every detector, in one run that is sharded and resumed like a scan."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from memdetect.adapters import Model
from memdetect.detectors import BUILT_IN, find
from memdetect.detectors.bank import Bank
from memdetect.detectors.choice import with_bank
from memdetect.detectors.detector import Detector
from memdetect.errors import MemdetectError
from memdetect.evaluation.bench.asked import Labelled
from memdetect.evaluation.bench.variants import Variant, served, tried, variants_of, why_not
from memdetect.inputs.options import Lookup, Probing
from memdetect.inputs.prompts import Request, Requests
from memdetect.judging.integrity import unaltered
from memdetect.probing import Probe, Sampler
from memdetect.probing.checks import run_levels
from memdetect.runs.folder import RunFolder
from memdetect.runs.header import Header
from memdetect.runs.plan import inputs_digest
from memdetect.runs.records import Measurement
from memdetect.scanning.loop import Watch, sample_all
from memdetect.scanning.own_bank import FEWEST, MOST, bank_in
from memdetect.scanning.planning import header_of, settings_of
from memdetect.scanning.prepare import Bench, Options, sampler_of

EVERY_LAYER = ("*",)
TIMESTEPS = (10, 50, 100, 200, 400)


@dataclass(frozen=True, slots=True)
class Settings:
    """How a bench measures: what a scan is told, of which loading, sampling and probing count, and the steps to try.

    Of the probing, no detectors = all built-in ones, no layers = all, no timesteps = five. steps: numbers from 1, as
    `variants_of` takes them.
    """

    options: Options = field(default_factory=Options)
    steps: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a bench measures: the settings as a scan has them, the variants, and why detectors are missing.

    levels: noise over signal of the steps of a run.
    """

    bench: Bench
    variants: tuple[Variant, ...]
    missing: Mapping[str, str]
    levels: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Measured:
    """A run of a bench: what it measures, its header, and its rows; finished: whether it was not stopped."""

    prepared: Prepared
    header: Header
    rows: tuple[Measurement, ...]
    finished: bool


def run_bench(
    items: Sequence[Request], labels: Labelled, model: Model, out: Path, settings: Settings, watch: Watch
) -> Measured | None:
    """Measure the prompts and keep the run in the folder `out`; the same call again goes on.

    None where it was stopped before its first prompt. Raises MemdetectError for a run in `out` with another plan, whose
    first differing key is named, and where no detector is left.
    """
    requests = Requests(tuple(items), 0, 0)
    prepared = prepare(requests, labels, model, out, settings, watch)
    if prepared is None:
        return None
    folder = RunFolder(out)
    with folder.locked(watch.waits):
        header = folder.open(header_of(prepared.bench, requests))
    if not sample_all(requests.items, prepared.bench, folder, header, watch):
        return Measured(prepared, header, (), finished=False)
    return Measured(prepared, header, tuple(unaltered(folder)), finished=True)


def prepare(
    requests: Requests, labels: Labelled, model: Model, out: Path, settings: Settings, watch: Watch
) -> Prepared | None:
    """The settings resolved and checked, the bank made, each variant tried on one prompt; None when it was stopped."""
    options = _resolved(settings.options)
    sampler = sampler_of(model, options.sampling)
    levels = tuple(run_levels(model, sampler))
    found = served(model, sampler, find(tuple(settings.options.probing.detectors)) or BUILT_IN, levels)
    _refuse_another(requests, Bench(model, sampler, Probe(model, (), (), (), None), (), options), out)
    clean = [item for item in requests.items if item.id in set(labels.ids(labels.asked.clean, "tuning"))][:MOST]
    bank = None
    if any(detector.banked for detector in found.detectors) and len(clean) >= FEWEST:
        bank = bank_in(out, model, sampler, clean, watch)
        if bank is None:
            return None
    bound, unbound = _bound(found.detectors, bank, len(clean))
    listed = [variant for detector in bound for variant in variants_of(detector, levels, settings.steps)]
    kept = [variant for variant in listed if not why_not(model, sampler, variant.record, levels)]
    variants, failed = tried(model, sampler, kept, options.probing.layers, requests.items[0])
    missing = {**found.missing, **unbound, **failed}
    if not variants:
        raise MemdetectError(f"no detector is left to measure: {next(iter(missing.values()), 'none is known')}")
    return Prepared(_bench(model, sampler, options, variants, bank), tuple(variants), missing, levels)


def _resolved(options: Options) -> Options:
    """The options of a bench: every layer and five timesteps where nothing is asked for, no index, no images kept."""
    asked = options.probing
    probing = Probing(
        layers=tuple(asked.layers) or EVERY_LAYER,
        timesteps=tuple(asked.timesteps) or (() if asked.sigmas else TIMESTEPS),
        sigmas=tuple(asked.sigmas),
    )
    return replace(options, probing=probing, lookup=Lookup(search=False), save_images=False)


def _bound(detectors: Sequence[Detector], bank: Bank | None, clean: int) -> tuple[list[Detector], dict[str, str]]:
    """The detectors, those that compare with a bank bound to it; and why others are missing."""
    kept, missing = list[Detector](), dict[str, str]()
    for detector in detectors:
        if detector.banked and bank is None:
            missing[detector.name] = (
                f"detector {detector.name!r} compares with a bank, made of at least {FEWEST} clean prompts of the "
                f"tuning split, and there are {clean}; give more by --clean-group"
            )
            continue
        try:
            kept += with_bank([detector], bank)
        except MemdetectError as problem:
            missing[detector.name] = str(problem)
    return kept, missing


def _bench(model: Model, sampler: Sampler, options: Options, variants: Sequence[Variant], bank: Bank | None) -> Bench:
    """The variants as the detectors of a scan."""
    records = tuple(variant.record for variant in variants)
    asked = options.probing
    probe = Probe.at(
        model,
        layers=asked.layers,
        timesteps=asked.timesteps,
        sigmas=asked.sigmas,
        detectors=records,
        call=sampler.call,
    )
    named = replace(options, probing=replace(asked, detectors=tuple(record.name for record in records)))
    return Bench(model, sampler, probe, records, named, bank=bank)


def _refuse_another(requests: Requests, bench: Bench, out: Path) -> None:
    """Refuse to go on with a run of other settings or prompts before a bank is made for it."""
    if not (out / "run.json").exists():
        return
    held = RunFolder(out).header().plan
    wanted: dict[str, Any] = dict(settings_of(bench))
    wanted |= {"num_seeds": bench.sampler.num_seeds, "seed": bench.sampler.seed}
    wanted["inputs"] = inputs_digest((item.id, item.prompt, None) for item in requests.items)
    for key, now in wanted.items():
        if (was := getattr(held, key)) != now:
            raise MemdetectError(
                f"{out} holds a run with another plan: {key} was {was!r:.60}, now {now!r:.60}; choose another --out, "
                "or give the same inputs and options to resume"
            )
