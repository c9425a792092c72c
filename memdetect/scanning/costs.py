"""What a scan takes, from its plan alone: passes of the denoiser, time at the calibration's pace, memory."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers

from memdetect.adapters.opening import reason_of
from memdetect.adapters.schedule import is_flow, level_of_step
from memdetect.detectors import BUILT_IN
from memdetect.detectors.detector import Detector
from memdetect.errors import MemdetectError
from memdetect.judging.calibration import Calibration
from memdetect.probing.needs import AFTER, FIRST, Need
from memdetect.probing.running import sigma_of
from memdetect.runs.folder import RunFolder
from memdetect.runs.header import Header
from memdetect.scanning.prepare import Bench


@dataclass(frozen=True, slots=True)
class Effort:
    """What is done for each image of a prompt.

    timesteps: at which the finished image is probed, where a detector asks for it. kept: whether the image itself is
    wanted, so that no run ends early. levels: noise over signal of the run's steps; () = they are not known.
    """

    detectors: Sequence[Detector]
    steps: int
    guidance_scale: float
    timesteps: int = 1
    kept: bool = True
    levels: Sequence[float] = ()

    @property
    def probes(self) -> int:
        """Passes for an image that is there already."""
        return self.timesteps if any(d.of_images for d in self.detectors) else 0

    @property
    def passes(self) -> int:
        """Passes for an image that is made: its run, what captures ask further, and the probes of what came out."""
        further = sum(need.further * len(self._steps(need) or (0,)) for need in self._run)
        return (2 if self.guidance_scale > 1 else 1) * (self._made + further) + self.probes

    @property
    def _run(self) -> list[Need]:
        return list(dict.fromkeys(need for d in self.detectors for need in d.needs if need.when is not None))

    @property
    def _made(self) -> int:
        """Steps until a run ends, as `running.Wanted` has it; all of them where no schedule tells."""
        run, whole = self._run, len(self.levels) or self.steps
        after = self.probes or any(d.latents for d in self.detectors) or any(need.when == AFTER for need in run)
        return whole if self.kept or after or not run else 1 + max(self._steps(need)[-1] for need in run)

    def _steps(self, need: Need) -> range:
        """Steps at which a need is captured: at most all."""
        known = self.levels or need.when in (FIRST, AFTER)
        return need.when.steps(self.levels or [0.0]) if need.when and known else range(self.steps)


def levels_in(folder: Path | None, steps: int) -> Sequence[float]:
    """Noise over signal of each step, by the schedule in a model's folder; () where only the pipeline can tell.

    Raises MemdetectError for settings that diffusers makes no schedule of.
    """
    file = folder / "scheduler" / "scheduler_config.json" if folder else None
    if file is None or not file.is_file():
        return ()
    try:
        return _levels(json.loads(file.read_bytes()), steps)
    except Exception as problem:  # of diffusers and numpy: what damaged settings can make them raise has no end
        raise MemdetectError(f"{file} makes no schedule ({reason_of(problem)}); check the model's files") from None


def _levels(config: dict[str, Any], steps: int) -> Sequence[float]:
    name = str(config.get("_class_name"))
    kind = getattr(diffusers, name, None) if name.endswith("Scheduler") else None
    if kind is None:
        return ()
    scheduler = kind.from_config(config)
    if is_flow(scheduler):
        return ()
    scheduler.set_timesteps(steps)
    return [sigma_of(level_of_step(scheduler, i)) for i in range(len(scheduler.timesteps))]


def cost_lines(made: int, given: int, effort: Effort, clean: Calibration | None, folder: Path | None) -> Iterator[str]:
    """Images and passes, the time, and the memory, in words. made, given: images that are generated, and given ones."""
    passes = made * effort.passes + given * effort.probes
    yield f"{made + given} images, {passes} passes of the denoiser; {time_words(passes, clean, folder)}"
    held = folder.glob("*/*.safetensors") if folder else ()  # not the bank, which lies beside the card
    weights = sum(path.stat().st_size for path in held)
    if weights:
        yield f"memory: {_size(weights)} of weights on disk, twice that as fp32 if they are fp16, and the activations"
    else:
        yield "memory: unknown, the weights are not on this machine"


def time_words(passes: int, clean: Calibration | None, folder: Path | None) -> str:
    """How long so many passes take, as far as clean scores tell the model's pace."""
    pace = clean.provenance.get("seconds_per_image") if clean else None
    if clean is None or not pace:
        return "time unknown: no calibration of this model tells its pace; time a scan of a few prompts and multiply"
    device, seconds = clean.provenance.get("device"), pace * passes / max(1, effort_of(clean, folder).passes)
    return f"about {_span(seconds)} at the calibration's pace ({pace:g} s an image on {device})"


def effort_of(clean: Calibration, folder: Path | None) -> Effort:
    """What was done for each image of a calibration, which keeps none; detectors not built in count as none."""
    found = tuple(d for d in BUILT_IN if d.name in clean.scores)
    times = max((len(t) for d in found if d.of_images for t in clean.scores[d.name].values()), default=0)
    steps = clean.settings.steps
    return Effort(found, steps, clean.settings.guidance_scale, times, kept=False, levels=levels_in(folder, steps))


def _span(seconds: float) -> str:
    minutes = seconds / 60
    return f"{seconds:.0f} s" if minutes < 2 else f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def _size(count: int) -> str:
    return f"{count / 1e6:.0f} MB" if count < 1e9 else f"{count / 1e9:.1f} GB"


def pace_of(folder: RunFolder, header: Header, bench: Bench) -> dict[str, Any]:
    """Seconds for each image, and where: what a later scan of this model will about take."""
    shards = [event for event in folder.events() if event.get("event") == "shard"]
    timed = [(event.get("items"), event.get("seconds")) for event in shards]
    whole = [(count, spent) for count, spent in timed if isinstance(count, int) and isinstance(spent, int | float)]
    images = sum(count for count, _ in whole) * bench.sampler.num_seeds
    pace = sum(spent for _, spent in whole) / images if images else 0.0
    return {"seconds_per_image": round(pace, 4), "device": bench.model.device, "seed": bench.sampler.seed}
