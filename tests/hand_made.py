"""Steps and traces made by hand, without a network."""

from collections.abc import Sequence
from typing import Any

import torch

from memdetect.detectors.agreement import EARLY_CLEAN
from memdetect.detectors.bank import Bank
from memdetect.detectors.trajectory import WAY
from memdetect.probing.needs import Need
from memdetect.probing.steps import Step
from memdetect.probing.trace import Trace

MAPS = (2, 3, 4)  # channels, rows and columns of a latent
# Of one row of a capture of the run; () = a number.
SHAPES: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(("clean", "place", "noise", "noise_difference"), MAPS),
    **{"gap_power": MAPS[1:], "end_map": (3, 2), "token_shares": (5,), "shares_after": (2, 5)},
    **{"reduced": (3, 16, 16), "embedded": (8,), "value_sizes": (7,)},
}
STEPS = {"gap_norm": 2, "place": 3, "noise": 2, "gap_power": 4, "shares_after": 6}
LARGEST = {"reduced": 0.4}  # of the numbers drawn for a capture, else 1
LAYERS = ("down_blocks.0.attn2", "mid_block.attn2", "up_blocks.0.attn2")


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def step_of(x: torch.Tensor, cond: torch.Tensor, uncond: torch.Tensor | None = None, **changes: Any) -> Step:
    """A step of a network that predicts noise, at half signal."""

    def ask(_x: torch.Tensor, _timestep: int | None) -> Any:
        raise AssertionError("nothing further is asked")

    given = {"level": (0.6, 0.8), "kind": "epsilon", "scale": 1.0, "number": 0, "ask": ask, "last": 999}
    return Step(x=x, cond=cond, uncond=uncond, **{**given, "level_at": lambda _t: (0.6, 0.8), **changes})


def random_trace(needs: Sequence[Need], items: int = 6, seeds: int = 3, seed: int = 0) -> Trace:
    """Random numbers wherever these needs ask for some, finished latents, and families by twos."""
    random = torch.Generator().manual_seed(seed)
    arrays: dict[tuple[Need, str], torch.Tensor] = {}
    for need in dict.fromkeys(needs):
        if need.when is None:
            for layer, channels in (("layer0", 16), ("layer1", 8)):
                arrays[need, layer] = torch.rand(2, items, seeds, channels, generator=random)
        else:
            shape = (STEPS.get(need.name, 1), items, seeds, *SHAPES.get(need.name, ()))
            for layer in LAYERS if need.where in ("attention", "values") else ("",):
                arrays[need, layer] = LARGEST.get(need.name, 1) * torch.rand(shape, generator=random)
    latents = torch.randn(items, seeds, *MAPS, generator=random)
    families = tuple(f"family {i // 2}" for i in range(items))
    return Trace(arrays, (50.0, 200.0), (0.1, 0.5), latents, (9.0, 5.0, 1.0), families)


def random_bank(prompts: int = 30, seed: int = 7) -> Bank:
    """Directions and ways of no network; some families are those of `random_trace`."""
    pictures = drawn(prompts, 24, seed=seed)
    families = tuple(f"family {i}" for i in range(prompts))
    neurons = {layer: drawn(2, 7, seed=k).abs() for k, layer in enumerate(LAYERS)}
    units = (pictures / 2 / pictures.norm(dim=1, keepdim=True)).half()
    return Bank(families, units, torch.tensor([[2.0, 3], [0.5, 1]]), neurons)


def cleans(estimates: torch.Tensor, families: tuple[str, ...] = ()) -> Trace:
    """A trace of clean estimates [item seed chan row col] at the early step, and of three places on the way there."""
    ways = torch.stack([estimates * k for k in (0.0, 1.0, 3.0)])
    return Trace({(EARLY_CLEAN, ""): estimates[None], (WAY, ""): ways}, (), (), families=families)
