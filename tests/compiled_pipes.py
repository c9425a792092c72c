"""Ways to compile a pipeline's network, and a backend that counts its runs."""

from collections.abc import Callable
from typing import Any

import torch


class Counted:
    """A backend that runs graphs as they are and counts their runs."""

    def __init__(self) -> None:
        self.runs = 0

    def __call__(self, graph: Any, _inputs: Any) -> Callable[..., Any]:
        def run(*args: Any) -> Any:
            self.runs += 1
            return graph.forward(*args)

        return run


def wrapped(pipe: Any, part: str, backend: Any) -> None:
    setattr(pipe, part, torch.compile(getattr(pipe, part), backend=backend))


def in_place(pipe: Any, part: str, backend: Any) -> None:
    getattr(pipe, part).compile(backend=backend)


def by_block(pipe: Any, part: str, backend: Any) -> None:
    network = getattr(pipe, part)
    for block in [*getattr(network, "up_blocks", ()), *getattr(network, "transformer_blocks", ())]:
        block.compile(backend=backend)


WAYS = {"wrapped": wrapped, "in place": in_place, "by block": by_block}
