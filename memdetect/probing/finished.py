"""Probe finished images: noise them to a timestep, pass them once without a condition, stop at the last layer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from memdetect.adapters import Model, Point, check_call, load
from memdetect.adapters.conditions import has_unconditional
from memdetect.adapters.prediction import kind_of
from memdetect.adapters.schedule import add_noise, last_timestep, levels, sigma, timestep_at
from memdetect.errors import MemdetectError
from memdetect.probing.asking import Wanted
from memdetect.probing.batches import Batching, seed_of
from memdetect.probing.decoding import encode
from memdetect.probing.hooks import CAPTURES, Replay, quiet, watch
from memdetect.probing.needs import Need
from memdetect.probing.refusals import blaming, starting
from memdetect.probing.replay import record
from memdetect.probing.sampling import Sampler, generators, sample_watched
from memdetect.probing.steps import Step
from memdetect.probing.trace import Trace


@runtime_checkable
class Needing(Protocol):
    """What probing reads of a detector."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def needs(self) -> tuple[Need, ...]: ...  # noqa: D102
    @property
    def latents(self) -> bool: ...  # noqa: D102
    @property
    def seeds(self) -> str: ...  # noqa: D102
    @property
    def unconditional(self) -> bool: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Probe:
    """What is captured: where finished images are probed, and what is needed of the sampling run.

    points, timesteps, needs, replay: of finished images; none where no detector asks for them. run: needs of the
    sampling run. latents: whether the run has to end by itself, for a detector reads what it gives.
    """

    model: Model
    points: tuple[Point, ...]
    timesteps: tuple[int, ...]
    needs: tuple[Need, ...]
    replay: Replay | None
    run: tuple[Need, ...] = ()
    latents: bool = False

    @classmethod
    def at(
        cls,
        model: Model,
        *,
        layers: Sequence[str] | None = None,
        timesteps: Sequence[int] | None = None,
        sigmas: Sequence[float] | None = None,
        detectors: Sequence[Needing] | None = None,
        call: Mapping[str, Any] | None = None,
    ) -> "Probe":
        """Resolve layers and timesteps (default: the card's) and record the unconditional call, as `record` does.

        detectors: what is needed; None = maxima and means of the layers' channels, of finished images.

        sigmas: noise over signal instead of timesteps; the nearest timesteps are taken. call: further arguments of the
        pipeline, of which those for sizes and a text's length count here. Raises MemdetectError for an unknown layer, a
        timestep or sigma outside the schedule, a detector that needs a branch that the model lacks, and a layer that
        does not run exactly once a pass.
        """
        check_branches(model, detectors or ())
        asked = CAPTURES if detectors is None else [need for detector in detectors for need in detector.needs]
        every = tuple(dict.fromkeys(asked))
        needs = tuple(need for need in every if need.when is None)
        run = tuple(need for need in every if need.when is not None)
        whole = bool(needs) or any(d.latents for d in detectors or ())
        deep = any(need.where == "features" for need in every)
        points = model.points(tuple(layers or model.card.layers)) if deep else ()
        if not needs:
            return cls(model, points, (), (), None, run, whole)
        steps = _timesteps(model, timesteps, sigmas)
        features = _features(needs)
        with blaming(call or {}), starting(model, call or {}):
            replay = record(model, call=call or {})
            # Passes that stop early cannot tell whether a layer would have run again: one whole pass can.
            with quiet(), watch(model.denoiser, points if features else (), features, stop=False):
                model.denoiser(**replay.call)
        return cls(model, points, steps, needs, replay, run, whole)

    @property
    def sigmas(self) -> tuple[float, ...]:
        """Noise over signal at each timestep."""
        return tuple(sigma(self.model.pipe.scheduler, t) for t in self.timesteps)

    def __call__(
        self, latents: Float[Tensor, "image chan row col"], seeds: Sequence[int], batching: Batching
    ) -> dict[tuple[Need, str], Float[Tensor, "step image ..."]]:
        """Captures of each image at each timestep; its noise comes from its own seed, one draw for all timesteps."""
        if not self.needs:
            return {}
        noise = torch.cat([torch.randn((1, *latents.shape[1:]), generator=g) for g in generators(seeds)])

        def work(rows: slice) -> dict[tuple[Need, str], Tensor]:
            clean = latents[rows].to(self.model.place, torch.float32)
            eps = noise[rows].to(clean.device)
            steps = [self._pass(clean, eps, t, seeds[rows]) for t in self.timesteps]
            return {key: torch.stack([step[key] for step in steps]) for key in steps[0]}

        with quiet():
            parts = list(batching.run(len(latents), work))
        return {key: torch.cat([part[key] for part in parts], dim=1) for key in parts[0]}

    def _pass(self, clean: Tensor, eps: Tensor, timestep: int, seeds: Sequence[int]) -> dict[tuple[Need, str], Tensor]:
        assert self.replay is not None
        level = levels(self.model.pipe.scheduler, timestep)
        noisy = add_noise(clean, eps, level).to(self.model.denoiser.dtype)
        t = torch.full((len(noisy),), timestep, device=noisy.device)
        of_output, features = [need for need in self.needs if need.where == "output"], _features(self.needs)
        points = self.points if features else ()
        with watch(self.model.denoiser, points, features, stop=not of_output) as seen:
            output = self.replay(noisy, t)
        made = {key: found[0].float().cpu() for key, found in seen.arrays.items()}
        for need in of_output:
            made[need, ""] = need.capture(self._step(noisy, timestep, output, seeds)).float().cpu()
        return made

    def _step(self, x: Tensor, timestep: int, output: Tensor, seeds: Sequence[int]) -> Step:
        """The pass as a Step: its only branch is the unconditional one."""
        scheduler, replay = self.model.pipe.scheduler, self.replay
        assert replay is not None

        def ask(other: Tensor, at: int | None) -> tuple[Tensor, Tensor | None]:
            times = torch.full((len(other),), timestep if at is None else at, device=other.device)
            return replay(other.to(x.dtype), times), None

        level, kind = levels(scheduler, timestep), kind_of(scheduler)
        last = last_timestep(scheduler)
        made = Step(x, level, output, None, kind, 1.0, 0, ask, lambda t: levels(scheduler, t), last)
        return replace(made, seeds=tuple(seeds))


def check_branches(model: Model, detectors: Sequence[Needing]) -> None:
    """Raise MemdetectError for a detector that needs a branch without a condition, which the model lacks."""
    for detector in detectors:
        if detector.unconditional and not has_unconditional(model):
            reason = model.distilled or "the model has other classes than its pipeline's null class"
            said = f"detector {detector.name!r} needs the unconditional branch, but {reason}; leave it out"
            raise MemdetectError(said)


def _features(needs: Sequence[Need]) -> tuple[Need, ...]:
    return tuple(need for need in needs if need.where == "features")


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
    images: bool = True,
) -> Trace:
    """Sample images for each prompt and probe the run and its final latents: a Trace with axes `step item seed ...`.

    model: what `load` takes. ids: what the seeds are made from (default: the prompts themselves). images: whether
    finished latents are wanted; where neither they nor a detector ask for the whole run, it ends after the last step
    needed. The latents are those of the sampler, neither decoded nor encoded again. Raises MemdetectError (usage).
    """
    model = load(model)
    sampler = sampler or Sampler.of(model)
    check_call(model, sampler.call)
    probe = probe or Probe.at(model, call=sampler.call)
    batching = Batching(sampler.batch_size)
    flat = [prompt for prompt in prompts for _ in range(sampler.num_seeds)]
    keys = _ids(ids, prompts)
    seeds = [seed for key in keys for seed in sampler.seeds(key)]
    wanted = Wanted(probe.run, probe.points, whole=images or probe.latents or not probe.run)
    with quiet():
        made = sample_watched(model, flat, seeds, sampler, batching, wanted)
    shape = (len(keys), sampler.num_seeds)
    found = {key: array.unflatten(1, shape) for key, array in made.arrays.items()}
    notes = {"halved": list(batching.halved), **({"further_passes": made.passes} if made.passes else {})}
    trace = Trace({}, (), ())
    if made.latents is not None:
        trace = trace_of(probe, made.latents, keys, sampler, batching)
    return replace(
        trace,
        arrays={**found, **trace.arrays},
        run_sigmas=made.sigmas,
        notes={**notes, **trace.notes},
    )


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
