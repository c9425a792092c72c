"""The attention of an image to its text, worked out from what the query and key layers give while the network runs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from memdetect.errors import Exit, MemdetectError

Keep = Callable[[str, Tensor], None]
Asked = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Attention:
    """The attention of an image to its text in one layer: of each position a share for each token, mean over heads.

    ends: place of each prompt's end token; padding stands after it. size: rows and columns of the latents.
    """

    maps: Float[Tensor, "batch position token"]
    ends: tuple[int, ...]
    size: tuple[int, int]

    def of_end(self) -> Float[Tensor, "batch row col"]:
        """The attention to the end token as a map, of the layer's own rows and columns."""
        rows, cols = self.size
        positions = self.maps.shape[1]
        side = next(n for n in range(1, rows + 1) if -(-rows // n) * -(-cols // n) <= positions)
        own = torch.stack([maps[:, end] for maps, end in zip(self.maps, self.ends, strict=True)])
        return own.unflatten(1, (-(-rows // side), -1))


@dataclass(frozen=True, slots=True)
class Text:
    """Tokens of the prompts as numbers: what the network is given, or the values that one layer makes of that.

    ends: place of each prompt's end token.
    """

    states: Float[Tensor, "batch token dim"]
    ends: tuple[int, ...]


def cross_attentions(denoiser: nn.Module) -> dict[str, Any]:
    """Name -> module of each layer in which the image attends to the text by itself: `attn2` of diffusers' blocks.

    Joint attention, where image and text share one attention, has no such layer.
    """
    named = denoiser.named_modules()
    return {name: module for name, module in named if name.endswith("attn2") and hasattr(module, "to_k")}


def attending(denoiser: nn.Module, keep: Keep, asked: Asked) -> list[Any]:
    """Hooks on `to_q` and `to_k` of every cross-attention; `keep` is told (layer, maps [batch position token]).

    maps: softmax(q k^T * scale + mask) over the tokens, mean over heads, in float32; worked out in those calls alone in
    which `asked` says so. No processor is replaced, so that the network itself attends as it always does. Returns the
    handles, which the caller removes.
    """
    found = [_Attention(name, module, keep, asked) for name, module in cross_attentions(denoiser).items()]
    return [handle for each in found for handle in each()]


def valuing(denoiser: nn.Module, keep: Keep, asked: Asked) -> list[Any]:
    """Hooks on `to_v` of every cross-attention; `keep` is told (layer, values [row token dim]) if `asked` says so."""

    def hook(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def told(_module: nn.Module, _args: Any, out: Tensor) -> None:
            if asked():
                keep(name, out)

        return told

    return [module.to_v.register_forward_hook(hook(name)) for name, module in cross_attentions(denoiser).items()]


class _Attention:
    """Query, key and mask of one call of a cross-attention, until all three are there."""

    def __init__(self, name: str, module: Any, keep: Keep, asked: Asked) -> None:
        self.name, self.module, self.keep, self.asked = name, module, keep, asked
        self.query: Tensor | None = None
        self.mask: Tensor | None = None

    def __call__(self) -> list[Any]:
        """The handles of its hooks."""
        return [
            self.module.register_forward_pre_hook(self._begin, with_kwargs=True),
            self.module.to_q.register_forward_hook(self._query),
            self.module.to_k.register_forward_hook(self._key),
        ]

    def _begin(self, _module: nn.Module, _args: Any, kwargs: Mapping[str, Any]) -> None:
        self.query, self.mask = None, kwargs.get("attention_mask")

    def _query(self, _module: nn.Module, _args: Any, out: Tensor) -> None:
        self.query = out

    def _key(self, _module: nn.Module, _args: Any, out: Tensor) -> None:
        if not self.asked():
            return
        if self.query is None:
            raise MemdetectError(f"{self.name} asks for its keys before its queries; leave attention out", Exit.ERROR)
        self.keep(self.name, self._maps(self.query, out))

    def _maps(self, query: Tensor, key: Tensor) -> Float[Tensor, "batch position token"]:
        heads, module = int(self.module.heads), self.module
        q, k = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in (query, key))
        q = q if getattr(module, "norm_q", None) is None else module.norm_q(q)
        k = k if getattr(module, "norm_k", None) is None else module.norm_k(k)
        scores = (q.float() @ k.float().transpose(-1, -2)) * module.scale
        if self.mask is not None:  # a bias [batch, 1, token]
            scores = scores + self.mask.float().unsqueeze(1)
        return scores.softmax(dim=-1).mean(dim=1)
