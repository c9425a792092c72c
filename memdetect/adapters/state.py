"""Which weights and settings a pipeline has: its digest, and whether it is still what it was when it was loaded."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from memdetect.errors import MemdetectError

SAMPLED = 64  # values of a tensor that are compared, evenly spaced
FREEU = ("s1", "s2", "b1", "b2")


def unwrapped(module: Any) -> Any:
    """The module that `torch.compile` wrapped; any other as it is."""
    return getattr(module, "_orig_mod", module)


def settings_of(scheduler: Any) -> str:
    """Kind and settings of a scheduler as text, the same in every process.

    Without what diffusers notes for itself (`_diffusers_version`, and `_use_default_values`, a list whose order is that
    of a set), and as they are once the scheduler has run. `shift` is the one in force: `set_shift` writes it nowhere.
    """
    held = {key: value for key, value in dict(scheduler.config).items() if not key.startswith("_")}
    kind = type(scheduler).__name__
    if kind == "DPMSolverSinglestepScheduler" and held.get("final_sigmas_type") == "zero":
        held["lower_order_final"] = True  # which set_timesteps turns on
    if "_shift" in vars(scheduler):
        held["shift"] = vars(scheduler)["_shift"]
    return f"{kind}{json.dumps(held, sort_keys=True, default=_plain)}"


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)


def weights_digest(pipe: Any) -> str:
    """sha256 over a live pipeline's parameters, in their present dtype, its adapters and its scheduler's settings.

    Raises MemdetectError (usage) for weights that are on no device.
    """
    total = hashlib.sha256(settings_of(pipe.scheduler).encode())
    for part, module in _networks(pipe):
        for name, value in sorted(module.state_dict().items()):
            if value.device.type == "meta":
                raise MemdetectError("the pipeline's weights are offloaded; load it without offload")
            total.update(f"{part}.{name}{tuple(value.shape)}".encode())
            total.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        if turned := list(_turned(module)):
            total.update(f"{part}{turned}".encode())
    return total.hexdigest()


def state_of(pipe: Any) -> str:
    """Hex digits that change with the weights, what is turned at them, and the scheduler's settings; for `unchanged`.

    Of each tensor shape, number format and 64 values, which are the same on every device; and, after a colon, how often
    tensors were written to, `-` where hooks move them about. A change of other values alone, past PyTorch's count of
    writes, is not seen.
    """
    total = hashlib.sha256(settings_of(pipe.scheduler).encode())
    writes, moved = hashlib.sha256(), False
    for part, module in _networks(pipe):
        total.update(f"{part}{list(_turned(module))}".encode())
        moved = moved or any(hasattr(each, "_hf_hook") for each in module.modules())
        for name, value in sorted(module.state_dict(keep_vars=True).items()):
            total.update(f"{name}{tuple(value.shape)}{value.dtype}".encode() + _values(value))
            writes.update(f"{part}{name}{value._version}".encode())
    return f"{total.hexdigest()[:16]}:{'-' if moved else writes.hexdigest()[:16]}"


def unchanged(pipe: Any, state: str) -> bool:
    """Whether a pipeline is in a state that `state_of` gave; writes count only where no hooks moved weights about."""
    (was, written), (now, again) = state.split(":"), state_of(pipe).split(":")
    return was == now and (written == again or "-" in (written, again))


def _networks(pipe: Any) -> Iterator[tuple[str, nn.Module]]:
    """The parts that are networks, by name; of compiled ones what is inside."""
    for part, module in sorted(pipe.components.items()):
        if isinstance(module, nn.Module):
            yield part, unwrapped(module)


def _values(value: torch.Tensor) -> bytes:
    if value.device.type == "meta":
        return b""
    flat = value.detach().flatten()
    return flat[:: max(1, len(flat) // SAMPLED)].cpu().contiguous().view(torch.uint8).numpy().tobytes()


def _turned(module: nn.Module) -> Iterator[str]:
    """What is turned at a network and no weights tell: scales of adapters and which are on, image prompts, FreeU."""
    for name, each in module.named_modules():
        scaling = getattr(each, "scaling", None)
        if isinstance(scaling, dict):
            on = getattr(each, "active_adapters", ""), getattr(each, "disable_adapters", "")
            yield f"{name}{sorted(scaling.items())}{on}"
        if hasattr(each, "to_k_ip"):
            yield f"{name}{getattr(each, 'scale', '')}"
        free = [getattr(each, key, None) for key in FREEU]
        if all(isinstance(value, int | float) for value in free):
            yield f"{name}{free}"
