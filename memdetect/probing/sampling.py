"""Generate images with a pipeline, one generator for each."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from memdetect.adapters import Model
from memdetect.adapters.conditions import arguments, guidance_arguments, output_arguments
from memdetect.adapters.latents import unpack
from memdetect.probing.asking import Run, Wanted
from memdetect.probing.batches import Batching, seed_of
from memdetect.probing.decoding import vae_factor
from memdetect.probing.needs import Need
from memdetect.probing.refusals import blaming
from memdetect.probing.running import Watched, watch_run


@dataclass(frozen=True, slots=True)
class Sampler:
    """How images are made: steps and guidance of the pipeline, images for each prompt, the run's seed.

    batch_size: images that go through the networks at once; no score depends on it beyond its last bits.
    """

    steps: int
    guidance_scale: float
    num_seeds: int
    seed: int = 0
    batch_size: int = 16
    call: dict[str, Any] = field(default_factory=dict[str, Any])

    @classmethod
    def of(cls, model: Model, **changes: Any) -> "Sampler":
        """The settings of the model's card, with those changes that are not None."""
        card = model.card
        defaults: dict[str, Any] = {
            "steps": card.steps,
            "guidance_scale": card.guidance_scale,
            "num_seeds": card.num_seeds,
        }
        return cls(**{**defaults, **{k: v for k, v in changes.items() if v is not None}})

    def seeds(self, item: str) -> list[int]:
        """The seeds of an item's images; `torch.Generator("cpu").manual_seed(s)` makes image k again."""
        return [seed_of(self.seed, item, k) for k in range(self.num_seeds)]


def sample_latents(
    model: Model, prompts: Sequence[str], seeds: Sequence[int], sampler: Sampler, batching: Batching
) -> Float[Tensor, "image chan row col"]:
    """Final latents of one image for each (prompt, seed), before the decoder; of a model of pixels, its images.

    A prompt is a label where the model has classes, and empty where it takes no condition.
    """

    def work(rows: slice) -> Tensor:
        return finished(model, sampler, run_arguments(model, sampler, prompts[rows], seeds[rows]))

    return torch.cat(list(batching.run(len(prompts), work)))


@dataclass(frozen=True, slots=True)
class Sampled:
    """What a watched sampling run left: captures by (need, layer), noise levels, and latents if it ran to its end.

    passes: further ones that captures asked for, of all batches together.
    """

    latents: Float[Tensor, "image chan row col"] | None
    arrays: Mapping[tuple[Need, str], Float[Tensor, "step image ..."]]
    sigmas: tuple[float, ...] = ()
    passes: int = 0


def sample_watched(
    model: Model, prompts: Sequence[str], seeds: Sequence[int], sampler: Sampler, batching: Batching, wanted: Wanted
) -> Sampled:
    """As `sample_latents`, with captures of the run itself, which may end after the last step needed.

    Nothing is run twice: one run serves all needs, and without any the pipeline is not touched.
    """
    if not wanted.needs:
        return Sampled(sample_latents(model, prompts, seeds, sampler, batching), {})

    def work(rows: slice) -> tuple[Tensor | None, Watched]:
        own = run_of(model, sampler, prompts[rows], seeds[rows], wanted)
        latents = None
        with watch_run(model, own) as seen:
            latents = finished(model, sampler, run_arguments(model, sampler, prompts[rows], seeds[rows]))
            seen.finished(latents)
        return latents, seen

    parts = list(batching.run(len(prompts), work))
    made = [latents for latents, _ in parts if latents is not None]
    first = parts[0][1]
    arrays = {key: torch.cat([torch.stack(seen.arrays[key]) for _, seen in parts], dim=1) for key in first.arrays}
    passes = sum(seen.passes for _, seen in parts)
    return Sampled(torch.cat(made) if made else None, arrays, first.sigmas, passes)


def run_of(model: Model, sampler: Sampler, prompts: Sequence[str], seeds: Sequence[int], wanted: Wanted) -> Run:
    """What a batch's sampling run is."""
    factor = vae_factor(model) * (2 if model.adapter.packed else 1)
    rows, cols = (side // factor * (2 if model.adapter.packed else 1) for side in image_size(model, sampler.call))
    scale = guidance_of(model, sampler)
    asked = any(need.where in ("attention", "values", "text") for need in wanted.needs)
    ends = tuple(end_of(model, prompt) for prompt in prompts) if asked else ()
    two_calls = model.adapter.halves == "two calls" and scale > 1
    return Run(len(prompts), (rows, cols), scale, wanted, two_calls, tuple(seeds), ends)


def guidance_of(model: Model, sampler: Sampler) -> float:
    """By how much a run's two branches are weighed: at most 1 where it runs no branch without the condition."""
    if model.adapter.halves != "two calls":
        return sampler.guidance_scale
    avoided = any(sampler.call.get(name) is not None for name in ("negative_prompt", "negative_prompt_embeds"))
    return float(sampler.call.get("true_cfg_scale", 1.0)) if avoided else 1.0


def run_arguments(model: Model, sampler: Sampler, prompts: Sequence[str], seeds: Sequence[int]) -> dict[str, Any]:
    """The pipeline's arguments for a batch of images."""
    return {
        **model.adapter.fixed,
        **arguments(model, prompts),
        **guidance_arguments(model, sampler.guidance_scale),
        **output_arguments(model),
        "generator": generators(seeds),
        "num_inference_steps": sampler.steps,
        **_for_rows(sampler.call, len(prompts)),
    }


def finished(model: Model, sampler: Sampler, call: dict[str, Any]) -> Float[Tensor, "image chan row col"]:
    """Run the pipeline; its last latents as feature maps."""
    if model.adapter.condition == "label":
        return _before_decoding(model, call, sampler.call)
    with blaming(sampler.call):
        images = model.run(**call).images
    if model.adapter.condition == "none":
        return torch.from_numpy(images).permute(0, 3, 1, 2) * 2 - 1
    if model.adapter.packed:
        factor = vae_factor(model) * 2
        rows, cols = (2 * (side // factor) for side in image_size(model, sampler.call))
        return unpack(images, rows, cols)
    return images


class _Decoding(BaseException):
    """Ends a pipeline that cannot be asked for latents where it would decode them."""


def _before_decoding(
    model: Model, call: dict[str, Any], given: Mapping[str, Any]
) -> Float[Tensor, "image chan row col"]:
    vae, found = model.pipe.vae, list[Tensor]()

    def instead(latents: Tensor, *_: Any, **__: Any) -> None:
        found.append(latents)
        raise _Decoding

    vae.decode = instead
    try:
        with blaming(given):
            model.run(**call)
    except _Decoding:
        pass
    finally:
        del vae.decode
    return found[0] * vae.config.scaling_factor


def _for_rows(call: dict[str, Any], rows: int) -> dict[str, Any]:
    # Next to a list of prompts, pipelines refuse a negative prompt that is not a list of the same length.
    negative = {k: [v] * rows for k, v in call.items() if k.startswith("negative_prompt") and isinstance(v, str)}
    return {**call, **negative}


def generators(seeds: Sequence[int]) -> list[torch.Generator]:
    """CPU generators: the same noise on every device, whatever the batch."""
    return [torch.Generator("cpu").manual_seed(seed) for seed in seeds]


def image_size(model: Model, call: Mapping[str, Any] | None = None) -> tuple[int, int]:
    """(height, width) in pixels of what the pipeline makes: those of the call, else its own default."""
    side = model.denoiser.config.get("sample_size") or model.pipe.default_sample_size
    sides = (side, side) if isinstance(side, int) else side
    height, width = (int(n) * vae_factor(model) for n in sides)
    call = call or {}
    return int(call.get("height", height)), int(call.get("width", width))


def truncated_at(model: Model, prompt: str) -> int | None:
    """Number of tokens kept of a prompt by the tokenizer that keeps most, where even that one cuts it, else None."""
    if model.adapter.condition != "prompt":
        return None
    tokenizers = [getattr(model.pipe, name, None) for name in ("tokenizer", "tokenizer_2", "tokenizer_3")]
    longest = inspect.signature(model.pipe.__call__).parameters.get("max_sequence_length")
    reach = [(_limit(each, longest), each) for each in tokenizers if each is not None]
    limit, tokenizer = max(reach, key=lambda pair: pair[0])
    ids = tokenizer(prompt, truncation=False, verbose=False).input_ids
    return limit if len(ids) > limit else None


def end_of(model: Model, prompt: str) -> int:
    """Place of a prompt's end token in the text that the network attends to, as cut by the tokenizer of that text."""
    tokenizer = getattr(model.pipe, model.adapter.tokenizer)
    longest = inspect.signature(model.pipe.__call__).parameters.get("max_sequence_length")
    ids = tokenizer(prompt, truncation=False, verbose=False).input_ids
    return min(len(ids), _limit(tokenizer, longest)) - 1


def _limit(tokenizer: Any, longest: inspect.Parameter | None) -> int:
    """How many tokens a pipeline takes from a tokenizer: CLIP's own number, T5's as the pipeline says."""
    if longest is None or "CLIP" in type(tokenizer).__name__:
        return int(tokenizer.model_max_length)
    return int(longest.default)
