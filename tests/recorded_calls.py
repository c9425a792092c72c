"""What a network is shown and gives, kept by a wrapper of its forward: no hook, and nothing of memdetect."""

import functools
import inspect
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

UNCOND_FIRST = (
    "StableDiffusionPipeline",
    "StableDiffusionXLPipeline",
    "StableDiffusion3Pipeline",
    "PixArtSigmaPipeline",
)


@dataclass(frozen=True)
class Call:
    """The arguments of a call by name, the sample among them, and its output."""

    given: dict[str, Any]
    sample: str
    out: torch.Tensor

    @property
    def x(self) -> torch.Tensor:
        return self.given[self.sample]


@contextmanager
def recorded(network: Any) -> Generator[list[Call]]:
    """Each call of the network in the body."""
    own, calls = network.forward, list[Call]()
    signature = inspect.signature(own)

    @functools.wraps(own)
    def forward(*args: Any, **kwargs: Any) -> Any:
        out = own(*args, **kwargs)
        given = dict(signature.bind(*args, **kwargs).arguments)
        first = next(iter(given))
        found = (out if isinstance(out, torch.Tensor) else out[0]).clone()
        calls.append(Call({**given, first: given[first].clone()}, first, found))
        return out

    network.forward = forward
    try:
        yield calls
    finally:
        del network.forward


def maps(pipe: Any, tokens: torch.Tensor, side: int = 8) -> torch.Tensor:
    """FLUX's tokens as maps, by diffusers' own function; others' maps as they are."""
    if type(pipe).__name__ != "FluxPipeline":
        return tokens
    return type(pipe)._unpack_latents(
        tokens, side * pipe.vae_scale_factor, side * pipe.vae_scale_factor, pipe.vae_scale_factor
    )


def tokens(pipe: Any, latents: torch.Tensor) -> torch.Tensor:
    """The way back."""
    if type(pipe).__name__ != "FluxPipeline":
        return latents
    return type(pipe)._pack_latents(latents, *latents.shape)


@dataclass(frozen=True)
class Expected:
    """A step of the pipeline: input, outputs with and without the condition."""

    x: torch.Tensor
    cond: torch.Tensor
    uncond: torch.Tensor | None


def steps_of(pipe: Any, calls: list[Call], images: int, *, guided: bool) -> list[Expected]:
    """A run's calls as steps, by what each pipeline is known to do."""
    name, found = type(pipe).__name__, list[Expected]()
    if name == "FluxPipeline" and guided:
        pairs = [(calls[i], calls[i + 1]) for i in range(0, len(calls), 2)]
        return [Expected(maps(pipe, a.x), maps(pipe, a.out), maps(pipe, b.out)) for a, b in pairs]
    for call in calls:
        x, out = maps(pipe, call.x), maps(pipe, call.out)
        out = out[:, : x.shape[1]]  # without the variance that is learned beside
        assert len(x) == images * (2 if guided else 1)
        if not guided:
            found.append(Expected(x, out, None))
            continue
        assert torch.equal(x[:images], x[images:])
        halves = out[:images], out[images:]
        found.append(Expected(x[:images], *(halves[::-1] if name in UNCOND_FIRST else halves)))
    return found
