"""Probe finished images: noise them to a timestep, pass them once without a condition, stop at the last layer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from memdetect.adapters import Model, Point, check_call, load
from memdetect.adapters.schedule import add_noise, levels, sigma, timestep_at
from memdetect.errors import MemdetectError
from memdetect.probing.batches import Batching, seed_of
from memdetect.probing.hooks import CAPTURES, Replay, quiet, watch
from memdetect.probing.replay import record
from memdetect.probing.sampling import Sampler, encode, generators, sample_latents
from memdetect.probing.trace import Trace


@runtime_checkable
class Needing(Protocol):
    """What probing reads of a detector: its name, when it looks, which captures it needs, and of which branch."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def look(self) -> str: ...  # noqa: D102
    @property
    def needs(self) -> frozenset[str]: ...  # noqa: D102
    @property
    def unconditional(self) -> bool: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Probe:
    """Where to probe: the layers, the timesteps, the captures that the detectors need, and the recorded call."""

    model: Model
    points: tuple[Point, ...]
    timesteps: tuple[int, ...]
    captures: tuple[str, ...]
    replay: Replay

    @classmethod
    def at(
        cls,
        model: Model,
        *,
        layers: Sequence[str] | None = None,
        timesteps: Sequence[int] | None = None,
        sigmas: Sequence[float] | None = None,
        detectors: Sequence[Needing] = (),
        call: Mapping[str, Any] | None = None,
    ) -> "Probe":
        """Resolve layers and timesteps (default: the card's) and record the unconditional call, as `record` does.

        sigmas: noise over signal instead of timesteps; the nearest timesteps are taken. call: further arguments of the
        pipeline, of which those for the size of the images count here. Raises MemdetectError for an unknown layer, a
        timestep or sigma outside the schedule, a detector that needs more than finished images, a capture that nobody
        has or a branch that the model lacks, and a layer that does not run exactly once a pass.
        """
        for detector in detectors:
            if detector.look != "image":
                raise MemdetectError(f"detector {detector.name!r} looks at {detector.look!r}, expected 'image'")
            if unknown := sorted(detector.needs - CAPTURES.keys()):
                raise MemdetectError(f"detector {detector.name!r} needs {unknown}; the captures are {list(CAPTURES)}")
            if detector.unconditional and model.distilled:
                raise MemdetectError(
                    f"detector {detector.name!r} needs the unconditional branch, but {model.distilled}; leave it out"
                )
        points = model.points(tuple(layers or model.card.layers))
        steps = _timesteps(model, timesteps, sigmas)
        captures = tuple(sorted({name for d in detectors for name in d.needs} or CAPTURES))
        replay = record(model, call=call or {})
        # Passes that stop early cannot tell whether a layer would have run again: one whole pass can.
        with quiet(), watch(model.denoiser, points, captures, stop=False):
            model.denoiser(**replay.call)
        return cls(model, points, steps, captures, replay)

    @property
    def sigmas(self) -> tuple[float, ...]:
        """Noise over signal at each timestep."""
        return tuple(sigma(self.model.pipe.scheduler, t) for t in self.timesteps)

    def __call__(
        self, latents: Float[Tensor, "image chan row col"], seeds: Sequence[int], batching: Batching
    ) -> dict[tuple[str, str], Float[Tensor, "step image ..."]]:
        """Captures of each image at each timestep; its noise comes from its own seed, one draw for all timesteps."""
        noise = torch.cat([torch.randn((1, *latents.shape[1:]), generator=g) for g in generators(seeds)])

        def work(rows: slice) -> dict[tuple[str, str], Tensor]:
            clean = latents[rows].to(self.model.place, torch.float32)
            eps = noise[rows].to(clean.device)
            steps = [self._pass(clean, eps, t) for t in self.timesteps]
            return {key: torch.stack([step[key] for step in steps]) for key in steps[0]}

        with quiet():
            parts = list(batching.run(len(latents), work))
        return {key: torch.cat([part[key] for part in parts], dim=1) for key in parts[0]}

    def _pass(self, clean: Tensor, eps: Tensor, timestep: int) -> dict[tuple[str, str], Tensor]:
        level = levels(self.model.pipe.scheduler, timestep)
        noisy = add_noise(clean, eps, level).to(self.model.denoiser.dtype)
        t = torch.full((len(noisy),), timestep, device=noisy.device)
        with watch(self.model.denoiser, self.points, self.captures, stop=True) as seen:
            self.replay(noisy, t)
        return {key: found[0].float().cpu() for key, found in seen.arrays.items()}


def _timesteps(model: Model, timesteps: Sequence[int] | None, sigmas: Sequence[float] | None) -> tuple[int, ...]:
    """Each timestep once: those given, those nearest to the sigmas given, or the card's."""
    if timesteps and sigmas:
        raise MemdetectError("timesteps and sigmas name the same thing; give one of the two")
    given = [timestep_at(model.pipe.scheduler, s) for s in sigmas or ()] or timesteps or model.card.timesteps
    for t in given:
        levels(model.pipe.scheduler, t)
    return tuple(dict.fromkeys(given))


def probe_prompts(
    model: Any,
    prompts: Sequence[str],
    *,
    ids: Sequence[str] | None = None,
    sampler: Sampler | None = None,
    probe: Probe | None = None,
) -> Trace:
    """Sample images for each prompt and probe their final latents: a Trace with axes `step item seed chan`.

    model: what `load` takes. ids: what the seeds are made from (default: the prompts themselves). The latents are
    those of the sampler, neither decoded nor encoded again. Raises MemdetectError (usage).
    """
    model = load(model)
    sampler = sampler or Sampler.of(model)
    check_call(model, sampler.call)
    probe = probe or Probe.at(model, call=sampler.call)
    batching = Batching(sampler.batch_size)
    flat = [prompt for prompt in prompts for _ in range(sampler.num_seeds)]
    keys = _ids(ids, prompts)
    seeds = [seed for key in keys for seed in sampler.seeds(key)]
    with quiet():
        latents = sample_latents(model, flat, seeds, sampler, batching)
    return trace_of(probe, latents, keys, sampler, batching)


def probe_images(
    model: Any,
    images: Float[Tensor, "item 3 height width"] | None = None,
    *,
    latents: Float[Tensor, "item chan row col"] | None = None,
    ids: Sequence[str] | None = None,
    sampler: Sampler | None = None,
    probe: Probe | None = None,
) -> Trace:
    """Probe given images (in [-1, 1]) or latents, `num_seeds` noise draws each: axes `step item seed chan`.

    The paper's Algorithm 1: one pass for each draw and timestep, no prompt, no training data.
    """
    model = load(model)
    sampler = sampler or Sampler.of(model)
    probe = probe or Probe.at(model, call=sampler.call)
    batching = Batching(sampler.batch_size)
    if (images is None) == (latents is None):
        raise MemdetectError("probe_images takes either images or latents; give one of the two")
    if latents is None:
        assert images is not None
        with quiet():
            latents = encode(model, images, batching)
    keys = _ids(ids, [str(i) for i in range(len(latents))])
    repeated = latents.repeat_interleave(sampler.num_seeds, dim=0)
    return trace_of(probe, repeated, keys, sampler, batching)


def _ids(given: Sequence[str] | None, default: Sequence[str]) -> list[str]:
    ids = list(given or default)
    if len(ids) != len(default) or not ids:
        raise MemdetectError(f"{len(ids)} ids for {len(default)} items; expected one for each, and at least one item")
    return ids


def trace_of(
    probe: Probe, latents: Float[Tensor, "image chan row col"], ids: Sequence[str], sampler: Sampler, batching: Batching
) -> Trace:
    """Probe `num_seeds` latents for each id, in that order, and fold them into a Trace."""
    noise = [seed_of(sampler.seed, key, k, "look") for key in ids for k in range(sampler.num_seeds)]
    arrays = probe(latents, noise, batching)
    shape = (len(ids), sampler.num_seeds)
    return Trace(
        arrays={key: array.unflatten(1, shape) for key, array in arrays.items()},
        timesteps=tuple(float(t) for t in probe.timesteps),
        sigmas=probe.sigmas,
        latents=latents.float().cpu().unflatten(0, shape),
        notes={"halved": list(batching.halved)},
    )
