"""Values of a pipeline's further arguments that no run can have, or that would reach its images and not its scores."""

from collections.abc import Mapping
from math import prod
from typing import Any

from memdetect.adapters.opening import memory_of
from memdetect.errors import MemdetectError

SIDES = ("height", "width")
PIXEL_BYTES = 64  # of 16 channels in fp32 at full size: less than the decoder of a published model takes


def check_values(call: Mapping[str, Any], device: str) -> None:
    """MemdetectError for a scale of LoRAs, layers to be skipped, and a size that is none, half of one or too large."""
    _check_network(call)
    _check_size(call, device)
    length = call.get("max_sequence_length")
    if length is not None and (not isinstance(length, int) or isinstance(length, bool) or length < 1):
        raise MemdetectError(
            f"pipeline argument 'max_sequence_length' is {length!r:.60}, expected a number of tokens, 1 or more"
        )


def _check_network(call: Mapping[str, Any]) -> None:
    for name, value in call.items():
        if name.endswith("attention_kwargs") and isinstance(value, Mapping) and "scale" in value:
            said = f"holds scale={value['scale']!r:.40}, with which images would be made and not probed"
            raise MemdetectError(
                f"pipeline argument {name!r} {said}; give the LoRA as --lora PATH@{value['scale']!s:.40}"
            )
        if name.startswith(("skip_guidance_", "skip_layer_guidance_")) and value is not None:
            said = "runs the network once more in some steps, which no detector can tell from a step"
            raise MemdetectError(f"pipeline argument {name!r} {said}; leave it out")


def _check_size(call: Mapping[str, Any], device: str) -> None:
    given = {name: call[name] for name in SIDES if name in call}
    for name, side in given.items():
        if not isinstance(side, int) or isinstance(side, bool) or side < 1:
            raise MemdetectError(f"pipeline argument {name!r} is {side!r:.60}, expected a number of pixels")
    if len(given) == 1:
        (other,) = set(SIDES) - set(given)
        raise MemdetectError(f"pipeline argument {next(iter(given))!r} is given without {other!r}; give both")
    held = memory_of(device)
    if held and prod(given.values()) * PIXEL_BYTES > held and given:
        sides = " x ".join(str(given[name]) for name in SIDES)
        raise MemdetectError(f"images of {sides} pixels do not fit in the memory of {device}; give a smaller size")
