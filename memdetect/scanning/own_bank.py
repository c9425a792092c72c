"""The bank of a calibration: the first steps of its tuning prompts, for the detectors that compare with them."""

import hashlib
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import torch

from memdetect.adapters import Model
from memdetect.detectors import find
from memdetect.detectors.agreement import AGREEMENT
from memdetect.detectors.bank import Bank, bank_file, bank_of, needs_of, read_bank, write_bank
from memdetect.detectors.choice import chosen
from memdetect.errors import MemdetectError
from memdetect.inputs.prompts import Request, Requests
from memdetect.inputs.wording import family_key
from memdetect.judging.calibration import Calibration, parts_of
from memdetect.judging.calibration.banked import REMOVED
from memdetect.probing import Probe, Sampler, probe_prompts
from memdetect.probing.trace import Trace
from memdetect.runs.folder import RunFolder
from memdetect.runs.plan import inputs_digest
from memdetect.scanning.loop import Watch
from memdetect.scanning.planning import header_of
from memdetect.scanning.prepare import Options, prepare, sampler_of

FEWEST, MOST, EACH = 20, 1024, 150  # prompts of a bank; of each split, before one is made unasked


def made_bank(requests: Requests, model: Model, options: Options, out: Path, watch: Watch) -> tuple[Bank | None, bool]:
    """The bank beside the calibration `out`, made where it is not there; None where no detector compares with one.

    At most 1,024 prompts of the tuning split, which no score will be ranked among. Beside it, whether it was not
    stopped. Raises MemdetectError for a detector that needs one where there are fewer than 20 such prompts.
    """
    parts, _ = parts_of(requests.items)
    tuning = [item for item, part in zip(requests.items, parts, strict=True) if part == "tuning"][:MOST]
    sampler = sampler_of(model, options.sampling)
    asked = find(tuple(options.probing.detectors))
    enough = min(len(tuning), parts.count("calibration")) >= EACH
    if asked and not any(detector.banked for detector in asked):
        return None, True
    wanted = chosen(model, sampler, asked, banked=enough and all(item.prompt for item in requests.items))
    if not any(detector.banked for detector in wanted):
        return None, True
    if len(tuning) < FEWEST or len(tuning) == len(requests.items):
        raise MemdetectError(
            f"a bank is made of the tuning split, which has {len(tuning)} of {len(requests.items)} prompts; give at "
            f"least {FEWEST} for tuning and others for calibration, or leave out what compares with a bank"
        )
    settings = _digest(model, sampler, tuning)
    with run_beside(out).locked(watch.waits):  # of several processes one makes it, and the others wait
        found = read_bank(bank_file(out), settings)
        if found is None:
            _refuse_another(requests, model, options, out)
            found = _made(model, sampler, tuning, bank_file(out), settings, watch)
    return found, found is not None


def removed_of(made: Calibration, requests: Requests, families: Collection[str]) -> dict[str, list[str]]:
    """Ids of prompts that came back as copies, of those whose families are in the bank."""
    own = {item.id: family_key(item.meta, item.prompt) for item in requests.items}
    return {REMOVED: [entry.id for entry in made.removed if own.get(entry.id) in families]}


def bank_in(folder: Path, model: Model, sampler: Sampler, items: list[Request], watch: Watch) -> Bank | None:
    """The bank of these clean prompts in a folder, made where it is not there; None when it was stopped.

    Its file is called by what it rests on, so that banks of other prompts or settings stay as they are.
    """
    settings = _digest(model, sampler, items)
    path = folder / f"{settings[:16]}.bank.safetensors"
    return read_bank(path, settings) or _made(model, sampler, items, path, settings, watch)


def run_beside(out: Path) -> RunFolder:
    """The run of clean prompts that a calibration is made of."""
    return RunFolder(out.parent / f"{out.stem}.run")


def known_beside(out: Path) -> RunFolder:
    """The run of memorized prompts that a calibration's sensitivity is measured on."""
    return RunFolder(out.parent / f"{out.stem}.memorized.run")


def _refuse_another(requests: Requests, model: Model, options: Options, out: Path) -> None:
    """Refuse to go on with a run of another plan before its bank is written over."""
    unknown = Bank((), torch.zeros(0, 0), torch.zeros(2, 0), {"": torch.zeros(2, 0)})
    if (run_beside(out).path / "run.json").exists():
        run_beside(out).continued(header_of(prepare(model, options, bank=unknown), requests), later=("bank",))


def _made(model: Model, sampler: Sampler, items: list[Request], path: Path, settings: str, watch: Watch) -> Bank | None:
    probe = Probe.at(model, detectors=(AGREEMENT,), call=sampler.call)
    probe = replace(probe, run=needs_of(model))
    size = max(1, sampler.batch_size // sampler.num_seeds)
    traces: list[Trace] = []
    for start in range(0, len(items), size):
        if watch.stop():
            return None
        some = items[start : start + size]
        trace = probe_prompts(
            model,
            [item.prompt or "" for item in some],
            ids=[item.id for item in some],
            sampler=sampler,
            probe=probe,
            images=False,
        )
        traces.append(replace(trace, families=tuple(family_key(item.meta, item.prompt) for item in some)))
        watch.progress(start + len(some), len(items), "bank of clean prompts")
    bank = bank_of(traces)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bank(path, bank, settings)
    return bank


def _digest(model: Model, sampler: Sampler, items: list[Request]) -> str:
    """Of everything that a bank rests on."""
    inputs = inputs_digest((item.id, item.prompt, None) for item in items)
    said = (model.digest, model.dtype, sampler.steps, sampler.guidance_scale, sampler.num_seeds, sampler.seed, inputs)
    return hashlib.sha256(repr((*said, sorted(sampler.call.items()))).encode()).hexdigest()
