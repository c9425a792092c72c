"""Whether a pipeline is still what it was: a quick fingerprint of its weights, its adapters and its schedule."""

import hashlib
import json
from typing import Any

import torch
from torch import nn

SAMPLED = 64  # values of a tensor that are compared, evenly spaced


def state_of(pipe: Any) -> str:
    """Hex digits that change with the weights, the scales of adapters and the scheduler's settings; for `unchanged`.

    Of each tensor shape, number format and 64 values, which are the same on every device; and, after a colon, how often
    tensors were written to, `-` where hooks move them about. A change of other values alone, past PyTorch's count of
    writes, is not seen.
    """
    total = hashlib.sha256(json.dumps(dict(pipe.scheduler.config), sort_keys=True, default=str).encode())
    total.update(type(pipe.scheduler).__name__.encode())
    writes, moved = hashlib.sha256(), False
    for part, module in sorted(pipe.components.items()):
        if isinstance(module, nn.Module):
            total.update(f"{part}{_scales(module)}".encode())
            moved = moved or any(hasattr(each, "_hf_hook") for each in module.modules())
            for name, value in sorted(module.state_dict(keep_vars=True).items()):
                total.update(f"{name}{tuple(value.shape)}{value.dtype}".encode() + _values(value))
                writes.update(f"{part}{name}{value._version}".encode())
    return f"{total.hexdigest()[:16]}:{'-' if moved else writes.hexdigest()[:16]}"


def unchanged(pipe: Any, state: str) -> bool:
    """Whether a pipeline is in a state that `state_of` gave; writes count only where no hooks moved weights about."""
    (was, written), (now, again) = state.split(":"), state_of(pipe).split(":")
    return was == now and (written == again or "-" in (written, again))


def _values(value: torch.Tensor) -> bytes:
    if value.device.type == "meta":
        return b""
    flat = value.detach().flatten()
    return flat[:: max(1, len(flat) // SAMPLED)].cpu().contiguous().view(torch.uint8).numpy().tobytes()


def _scales(module: nn.Module) -> list[str]:
    """The scales of adapters (LoRAs), and which of them are on: no weights tell."""
    found = [(name, each) for name, each in module.named_modules() if isinstance(getattr(each, "scaling", None), dict)]
    return [f"{name}{each.scaling}{getattr(each, 'active_adapters', '')}" for name, each in found]
