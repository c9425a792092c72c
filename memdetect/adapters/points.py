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

    read: `input` = the module's first argument, `output` = what it returns.
    """

    name: str
    module: str
    read: Literal["input", "output"]
    what: str


_BLOCK = re.compile(r"conv_in|mid_block|up_blocks\.\d+")


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
            found[name] = Point(name, name, "output", "output of a block")
    return found


def resolve(names: Sequence[str], known: Mapping[str, Point], aliases: Mapping[str, str]) -> tuple[Point, ...]:
    """Points for names, globs and aliases, in the denoiser's order of modules, each once.

    Raises MemdetectError with the closest names for one that matches nothing.
    """
    chosen: set[str] = set()
    for name in names:
        pattern = aliases.get(name, name)
        hits = [p for p in known if p == pattern or fnmatchcase(p, pattern)]
        if not hits:
            close = get_close_matches(name, [*aliases, *known], n=3, cutoff=0.4)
            hint = f"closest: {', '.join(close)}; " if close else ""
            raise MemdetectError(f"no layer named {name!r}; {hint}`memdetect layers --model M` lists them all")
        chosen.update(hits)
    return tuple(point for name, point in known.items() if name in chosen)
