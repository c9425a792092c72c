"""What an image is made from, as a pipeline's arguments: prompts, class labels, or nothing but their number."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from memdetect.adapters.models import Model
from memdetect.errors import MemdetectError

GUIDED = 2.0  # any scale above 1 makes a pipeline run its unconditional branch
# What a network is told beside the prompt, which decides what its outputs are, whatever the prompt.
SHAPING = ("height", "width", "original_size", "crops_coords_top_left", "target_size", "max_sequence_length")
DIT_NULL = 1000  # the class that DiTPipeline takes for none, whatever its network


def arguments(model: Model, prompts: Sequence[str]) -> dict[str, Any]:
    """Arguments of the pipeline for a batch; "" is the empty condition: no prompt, the null class, or just an image.

    A prompt of a model of classes is a label: its number, or its name where the model knows names. Raises
    MemdetectError for a label that is not there and for a prompt to a model that takes none.
    """
    kind = model.adapter.condition
    if kind == "prompt":
        return {"prompt": list(prompts)}
    if kind == "label":
        return {"class_labels": [label_of(model, prompt) for prompt in prompts]}
    if given := next((prompt for prompt in prompts if prompt), None):
        raise MemdetectError(
            f"{model.adapter.pipeline} takes no prompt, found {given!r:.60}; scan it with --unconditional N, or images"
        )
    return {"batch_size": len(prompts)}


def label_of(model: Model, text: str) -> int:
    """Number of the class that a text names; "" is the null class, the one past the last."""
    count = int(model.denoiser.config["num_embeds_ada_norm"])
    if not text:
        return count
    names: dict[str, int] = getattr(model.pipe, "labels", None) or {}
    label = int(text) if text.isascii() and text.isdigit() else names.get(text, -1)
    if not 0 <= label < count:
        named = ", or the name of one" if names else ""
        raise MemdetectError(f"no class {text!r:.60}; expected a label from 0 to {count - 1}{named}")
    return label


def shaping_arguments(call: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a call that decides the size of the images, what the network is told of it, and a text's length."""
    return {name: call[name] for name in SHAPING if name in call}


def empty_call(model: Model, call: Mapping[str, Any], prompts: Sequence[str] = ("",)) -> dict[str, Any]:
    """Arguments of one step without guidance, at the sizes of `call`; by default under the empty condition."""
    made = {
        **model.adapter.fixed,
        **arguments(model, list(prompts)),
        **shaping_arguments(call),
        "num_inference_steps": 1,
    }
    return {**made, **guidance_arguments(model, 1.0), **output_arguments(model)}


def has_unconditional(model: Model) -> bool:
    """Whether the pipeline runs a branch without the condition when it guides.

    Not where guidance is distilled away or there is no condition, nor for a DiT of other classes than ImageNet's:
    its pipeline would take one of them, or one that is not there, for the null class.
    """
    if model.adapter.condition == "label" and int(model.denoiser.config["num_embeds_ada_norm"]) != DIT_NULL:
        return False
    return not model.distilled


def guided_call(model: Model, call: Mapping[str, Any], prompt: str = "") -> dict[str, Any]:
    """Arguments of one step with guidance, at the sizes of `call`, of one image. No prompt to avoid is given.

    Where guidance beside a distilled one is asked for by a scale of its own (FLUX), it takes a negative prompt: "".
    """
    made = {**empty_call(model, call, (prompt,)), **guidance_arguments(model, GUIDED)}
    if "true_cfg_scale" in inspect.signature(model.pipe.__call__).parameters:
        made |= {"true_cfg_scale": GUIDED, "negative_prompt": ""}
    return made


def guidance_arguments(model: Model, scale: float) -> dict[str, Any]:
    """The guidance scale, where the pipeline takes one."""
    return {} if model.adapter.condition == "none" else {"guidance_scale": scale}


def output_arguments(model: Model) -> dict[str, Any]:
    """What makes the pipeline give latents; a model of pixels gives arrays in [0, 1], one of classes decodes."""
    return {"output_type": "latent" if model.adapter.condition == "prompt" else "np"}
