"""Texts are encoded once: of equal rows of a batch a text encoder sees one, and what it gives is repeated."""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from memdetect.adapters import Model

ENCODERS = ("text_encoder", "text_encoder_2", "text_encoder_3")


@contextmanager
def texts_once(model: Model) -> Generator[None]:
    """Within the body each text of a batch goes through the text encoders once, also if several images are made of it.

    The images of a prompt share its text, and all images of a batch the empty one, which guidance takes beside it. What
    an encoder gives differs in the last bits at most, as between batches of other sizes.
    """
    handles: list[Any] = []
    for name in ENCODERS:
        encoder = getattr(model.pipe, name, None)
        if isinstance(encoder, nn.Module):
            once = _Once()
            handles.append(encoder.register_forward_pre_hook(once.before, with_kwargs=True))
            handles.append(encoder.register_forward_hook(once.after))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Once:
    """The hooks of one encoder. back: where each row of the present call is in the shorter one; None = all differ."""

    def __init__(self) -> None:
        self.back: Tensor | None = None
        self.rows = 0

    def before(self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Leave out the rows that repeat an earlier one."""
        ids = args[0] if args else kwargs.get("input_ids")
        self.back = None
        if not isinstance(ids, Tensor) or ids.ndim != 2:
            return None
        first: dict[tuple[int, ...], int] = {}
        keys = [tuple(row) for row in ids.tolist()]
        back = [first.setdefault(key, len(first)) for key in keys]
        if len(first) == len(keys):
            return None
        held = torch.tensor([back.index(i) for i in range(len(first))], device=ids.device)
        self.back, self.rows = torch.tensor(back, device=ids.device), len(first)
        short = _each(lambda value: value[held.to(value.device)], len(keys))
        return tuple(map(short, args)), {name: short(value) for name, value in kwargs.items()}

    def after(self, _module: nn.Module, _args: Any, output: Any) -> Any:
        """Repeat what was given for a row wherever the row was."""
        back = self.back
        if back is None:
            return None
        return _each(lambda value: value[back.to(value.device)], self.rows)(output)


def _each(change: Callable[[Tensor], Tensor], rows: int) -> Callable[[Any], Any]:
    """A change of every tensor with so many rows, in what an encoder takes or gives; all else stays as it is."""

    def made(value: Any) -> Any:
        if isinstance(value, Tensor):
            return change(value) if value.ndim and len(value) == rows else value
        if isinstance(value, Mapping):  # the outputs of transformers are such
            return type(value)(**{str(name): made(part) for name, part in value.items()})
        return tuple(map(made, value)) if isinstance(value, tuple) else value

    return made
