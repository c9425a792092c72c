"""Where a denoiser can be probed: names, globs and aliases -> modules whose features are read."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Literal

from torch import nn

from memdetect.errors import MemdetectError


@dataclass(frozen=True, slots=True)
class Point:
    """A place in the denoiser: `name` for the user, the module to hook, and which of its tensors is read.

    read: `input` = the module's first argument, `output` = what it returns. index: which of a tuple holds the image.
    text: the tokens of the text stand before those of the image and are left out.
    """

    name: str
    module: str
    read: Literal["input", "output"]
    what: str
    index: int = 0
    text: bool = False


_BLOCK = re.compile(r"conv_in|mid_block|up_blocks\.\d+|(single_)?transformer_blocks\.\d+")
_SINGLE = re.compile(r"single_transformer_blocks\.\d+\.act_mlp")
# Blocks of joint attention return (text, image), their attention (image, text).
_TEXT_FIRST = frozenset({"JointTransformerBlock", "FluxTransformerBlock", "FluxSingleTransformerBlock"})
_OF_TEXT = re.compile(r"context|add_[qkv]_proj|norm_added|to_add_out|attn2\.to_[kv]\b|caption|text|encoder_hid")


def list_points(denoiser: nn.Module) -> dict[str, Point]:
    """All points of a denoiser by name, in the order of its modules.

    A residual block stands for SiLU(norm2(.)), which is read as the input of its second convolution: its
    `nonlinearity` runs three times a pass, so that a hook there would see the wrong tensor.
    """
    found: dict[str, Point] = {}
    for name, module in denoiser.named_modules():
        if type(module).__name__ == "ResnetBlock2D":
            found[name] = Point(name, f"{name}.conv2", "input", "SiLU(norm2) of a residual block")
        elif name.endswith("ff.net.0"):
            found[name] = Point(name, name, "output", "hidden layer of a feed-forward")
        elif _BLOCK.fullmatch(name):
            found[name] = _output(name, module, "output of a block")
        elif _SINGLE.fullmatch(name):
            found[name] = Point(name, name, "output", "hidden layer of a feed-forward", text=True)
    return found


def any_module(denoiser: nn.Module, name: str) -> Point | None:
    """The output of a module that is not listed, by its exact name; None when there is none, or it is of the text."""
    modules = dict(denoiser.named_modules())
    if not name or name not in modules or _OF_TEXT.search(name):
        return None
    if name.startswith("single_transformer_blocks.") and name.count(".") > 1:
        return Point(name, name, "output", "output of a module", text=True)
    return _output(name, modules[name], "output of a module")


def _output(name: str, module: nn.Module, what: str) -> Point:
    return Point(name, name, "output", what, index=int(type(module).__name__ in _TEXT_FIRST))


def spelled_out(aliases: Mapping[str, str], denoiser: nn.Module) -> dict[str, str]:
    """Aliases of an adapter with the number of this denoiser's middle block in place of `{mid}`."""
    blocks = getattr(denoiser, "transformer_blocks", ())
    return {alias: pattern.replace("{mid}", str(len(blocks) // 2)) for alias, pattern in aliases.items()}


def _pattern(name: str, aliases: Mapping[str, str]) -> str:
    """What an alias stands for; `block:12` is that of `block:N` with 12 in place of N."""
    head, colon, number = name.partition(":")
    if colon and number.isascii() and number.isdigit():
        return aliases.get(f"{head}:N", name).replace(".N.", f".{number}.")
    return aliases.get(name, name)


def resolve(names: Sequence[str], known: Mapping[str, Point], aliases: Mapping[str, str]) -> tuple[Point, ...]:
    """Points for names, globs and aliases, in the denoiser's order of modules, each once.

    Raises MemdetectError with the closest names for one that matches nothing.
    """
    chosen: set[str] = set()
    for name in names:
        pattern = _pattern(name, aliases)
        hits = [p for p in known if p == pattern or fnmatchcase(p, pattern)]
        if not hits:
            close = get_close_matches(name, [*aliases, *known], n=3, cutoff=0.4)
            hint = f"closest: {', '.join(close)}; " if close else ""
            raise MemdetectError(f"no layer named {name!r}; {hint}`memdetect layers --model M` lists them all")
        chosen.update(hits)
    return tuple(point for name, point in known.items() if name in chosen)
