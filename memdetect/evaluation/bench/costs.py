"""What a detector costs beside a run that makes the images: passes of the network by its needs, time by the clock."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from memdetect.evaluation.bench.choosing import Chosen, Place
from memdetect.evaluation.bench.running import Measured, Prepared
from memdetect.files import write_atomic
from memdetect.inputs.wording import family_key
from memdetect.probing import Probe, probe_prompts
from memdetect.probing.sampling import guidance_of
from memdetect.runs.records import Measurement
from memdetect.scanning.costs import Effort
from memdetect.scanning.loop import Watch
from memdetect.scanning.scoring import places_of

PACE = "pace.json"


@dataclass(frozen=True, slots=True)
class Cost:
    """What a detector costs at its chosen place.

    more: passes of the network for an image beside the run that makes it. alone: passes for an image that nobody wants,
    whose run ends once the detector has what it needs. slower: time of a run with the detector over that of bare
    sampling, less 1; screen: time alone over that of bare sampling; None where it was not timed.
    """

    more: int
    alone: int
    slower: float | None = None
    screen: float | None = None


def costs_of(chosen: Sequence[Chosen], prepared: Prepared, times: Mapping[str, tuple[float, float]]) -> dict[str, Cost]:
    """The cost of each detector. times: (slower, screen) by the name of its variant, as `timed` gives them."""
    return {each.detector: _cost(each, prepared, times.get(_key(each))) for each in chosen}


def _cost(chosen: Chosen, prepared: Prepared, times: tuple[float, float] | None) -> Cost:
    bench = prepared.bench
    record = next(v.record for v in prepared.variants if v.record.name == chosen.cell.record)
    scale = guidance_of(bench.model, bench.sampler)
    bare = Effort((), bench.sampler.steps, scale, levels=prepared.levels)
    own = replace(bare, detectors=(record,))
    more, alone = own.passes - bare.passes, replace(own, kept=False).passes
    return Cost(more, alone, *(times or (None, None)))


def timed(
    chosen: Sequence[Chosen], measured: Measured, out: Path, rounds: int, watch: Watch
) -> dict[str, tuple[float, float]] | None:
    """How much slower each chosen detector makes one prompt's images, and its time alone, over that of bare sampling.

    By the fastest of `rounds` in which bare sampling and both ways follow each other, on the first prompt; kept in
    `out`/pace.json, so that the same call does not time again. 0 rounds: none. None when it was stopped.
    """
    path, prepared, item = out / PACE, measured.prepared, measured.rows[0]
    device = str(prepared.bench.model.device)
    held = _held(path)
    times: dict[str, list[float]] = held.get(device, {}) if held.get("rounds") == rounds else {}
    for number, each in enumerate(chosen, 1):
        if _key(each) in times or not rounds:
            continue
        if watch.stop():
            return None
        times[_key(each)] = list(_time(each, prepared, item, rounds))
        write_atomic(path, json.dumps({"rounds": rounds, device: times}, indent=1) + "\n")
        watch.progress(number, len(chosen), "")
    return {name: (pair[0], pair[1]) for name, pair in times.items()}


def _held(path: Path) -> dict[str, Any]:
    """What was timed before; nothing where the file is not there or is damaged."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _time(chosen: Chosen, prepared: Prepared, item: Measurement, rounds: int) -> tuple[float, float]:
    bench = prepared.bench
    record = next(v.record for v in prepared.variants if v.record.name == chosen.cell.record)
    probe = _probe(chosen.cell.place, prepared, record)
    bare = Probe(bench.model, (), (), (), None)

    def run(what: Probe, images: bool) -> Callable[[], None]:
        def once() -> None:
            trace = probe_prompts(
                bench.model, [item.prompt or ""], ids=[item.id], sampler=bench.sampler, probe=what, images=images
            )
            trace = replace(trace, families=(family_key(item.meta, item.prompt),))
            for _, part in places_of(record, trace) if what is probe else ():
                record.score(part)

        return once

    ways = [run(bare, True), run(probe, True), run(probe, False)]
    ways[1]()  # what is compiled or loaded once is no cost of the first round
    seconds = [[_seconds(way) for way in ways] for _ in range(rounds)]
    plain, beside, alone = (min(column) for column in zip(*seconds, strict=True))
    return beside / plain - 1, alone / plain


def _probe(place: Place, prepared: Prepared, record: object) -> Probe:
    """What the chosen variant alone asks for."""
    bench = prepared.bench
    layers, timesteps = bench.options.probing.layers, bench.probe.timesteps
    if place.timestep:
        named = place.layer.removeprefix("mean of ")
        layers = bench.options.probing.layers if named.startswith("all ") else (named,)
        timesteps = (int(float(place.timestep)),)
    found = [v.record for v in prepared.variants if v.record is record]
    return Probe.at(bench.model, layers=layers, timesteps=timesteps, detectors=found, call=bench.sampler.call)


def _seconds(work: Callable[[], None]) -> float:
    begun = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - begun


def _key(chosen: Chosen) -> str:
    return f"{chosen.cell.record} at {chosen.cell.place}"
