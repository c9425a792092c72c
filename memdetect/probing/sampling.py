"""Generate images with a pipeline, one generator for each."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from memdetect.adapters import Model
from memdetect.adapters.conditions import arguments, guidance_arguments, output_arguments
from memdetect.adapters.latents import unpack
from memdetect.errors import MemdetectError
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
    ends = tuple(end_of(model, prompt, sampler.call) for prompt in prompts) if asked else ()
    two_calls = model.adapter.halves == "two calls" and scale > 1
    return Run(len(prompts), (rows, cols), scale, wanted, two_calls, tuple(seeds), ends, rescaled(sampler))


def guidance_of(model: Model, sampler: Sampler) -> float:
    """By how much a run's two branches are weighed: at most 1 where it runs no branch without the condition."""
    if model.adapter.halves != "two calls":
        return sampler.guidance_scale
    embedded = ("negative_prompt_embeds", "negative_pooled_prompt_embeds")
    given = {name for name in ("negative_prompt", *embedded) if sampler.call.get(name) is not None}
    avoided = "negative_prompt" in given or given >= {*embedded}
    return _true_scale(sampler) if avoided else 1.0


def _true_scale(sampler: Sampler) -> float:
    """The scale of guidance beside a distilled one; what is no number is for the pipeline to refuse."""
    scale = sampler.call.get("true_cfg_scale", 1.0)
    return float(scale) if isinstance(scale, int | float) else inf


def rescaled(sampler: Sampler) -> bool:
    """Whether a run changes its guided output by `guidance_rescale`."""
    return bool(sampler.call.get("guidance_rescale"))


def avoids(model: Model, call: Mapping[str, Any]) -> str:
    """Name of the argument that changes the branch without the condition; "" where that is the pipeline's own.

    An empty text changes nothing, unless the pipeline takes zeros where there is no text.
    """
    zeros = bool(model.pipe.config.get("force_zeros_for_empty_prompt"))
    texts = [name for name, value in call.items() if value == "" and not (zeros and name == "negative_prompt")]
    given = {name: value for name, value in call.items() if name.startswith("negative_") and name not in texts}
    return next((name for name, value in given.items() if value is not None), "")


def check_guidance(model: Model, sampler: Sampler) -> None:
    """MemdetectError for arguments of guidance that a run without it would ignore."""
    if (scale := guidance_of(model, sampler)) > 1:
        return
    two, call = model.adapter.halves == "two calls", sampler.call
    given = [name for name, value in call.items() if name.startswith("negative_prompt") and _says(value)]
    if name := next((name for name in (*given, "guidance_rescale") if _says(call.get(name))), ""):
        cure = "give true_cfg_scale above 1 by --call as well" if two else "give --guidance-scale above 1"
        raise MemdetectError(f"pipeline argument {name} changes nothing at guidance {scale:g}; {cure}, or leave it out")
    if two and _true_scale(sampler) > 1:
        cure = "add --call 'negative_prompt=\"\"', or leave it out"
        raise MemdetectError(f"pipeline argument true_cfg_scale changes nothing without a negative_prompt; {cure}")


def _says(value: Any) -> bool:
    """Whether an argument of guidance is anything but none."""
    return isinstance(value, Tensor) or value not in (None, "", 0, [])


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


def truncated_at(model: Model, prompt: str, call: Mapping[str, Any] | None = None) -> int | None:
    """Number of tokens kept of a prompt by the tokenizer that keeps most, where even that one cuts it, else None.

    call: further arguments of the pipeline, of which `max_sequence_length` counts.
    """
    if model.adapter.condition != "prompt":
        return None
    tokenizers = [getattr(model.pipe, name, None) for name in ("tokenizer", "tokenizer_2", "tokenizer_3")]
    longest = _longest(model, call)
    reach = [(_limit(each, longest), each) for each in tokenizers if each is not None]
    limit, tokenizer = max(reach, key=lambda pair: pair[0])
    ids = tokenizer(prompt, truncation=False, verbose=False).input_ids
    return limit if len(ids) > limit else None


def end_of(model: Model, prompt: str, call: Mapping[str, Any] | None = None) -> int:
    """Place of a prompt's end token in the text that the network attends to, as cut by the tokenizer of that text.

    call: as for `truncated_at`.
    """
    tokenizer = getattr(model.pipe, model.adapter.tokenizer)
    ids = tokenizer(prompt, truncation=False, verbose=False).input_ids
    return min(len(ids), _limit(tokenizer, _longest(model, call))) - 1


def _longest(model: Model, call: Mapping[str, Any] | None) -> int | None:
    """How many tokens of a text a call takes, or by default its pipeline; None where that says nothing of it."""
    own = inspect.signature(model.pipe.__call__).parameters.get("max_sequence_length")
    given = (call or {}).get("max_sequence_length")
    return None if own is None else int(own.default if given is None else given)


def _limit(tokenizer: Any, longest: int | None) -> int:
    """How many tokens a pipeline takes from a tokenizer: CLIP's own number, T5's as the pipeline says."""
    if longest is None or "CLIP" in type(tokenizer).__name__:
        return int(tokenizer.model_max_length)
    return longest
