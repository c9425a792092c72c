"""What one probe of a denoiser left behind: named arrays keyed by (capture, layer), and where they were taken."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from jaxtyping import Float
from torch import Tensor

from memdetect.errors import MemdetectError


@dataclass(frozen=True, slots=True)
class Trace:
    """Captured arrays with axes `step item seed chan ...`, one step for each timestep probed at.

    timesteps: the network's own time index of each step, in its schedule's unit; sigmas: noise over signal there,
    sqrt((1 - abar) / abar). `seed` counts an item's noise draws (its generated images, or the draws on a given image).
    """

    arrays: Mapping[tuple[str, str], Float[Tensor, "step item seed ..."]]
    timesteps: tuple[float, ...]
    sigmas: tuple[float, ...]
    latents: Float[Tensor, "item seed chan row col"] | None = None
    notes: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def layers(self) -> tuple[str, ...]:
        """Layers captured, in the order in which they were asked for."""
        return tuple(dict.fromkeys(layer for _, layer in self.arrays))

    def need(self, capture: str) -> dict[str, Float[Tensor, "step item seed ..."]]:
        """Arrays of a capture by layer; MemdetectError names what was captured instead."""
        found = {layer: array for (name, layer), array in self.arrays.items() if name == capture}
        if not found:
            have = sorted({name for name, _ in self.arrays})
            raise MemdetectError(f"this detector needs {capture!r}, but the probe captured {have}; probe with it")
        return found

    def select(
        self, *, layer: str | None = None, step: int | None = None, item: int | None = None, seed: int | None = None
    ) -> "Trace":
        """The part of the trace at one layer, step, item or seed; the axes stay, with length 1."""
        chosen = tuple(slice(None) if i is None else slice(i, i + 1) for i in (step, item, seed))
        arrays = {key: array[chosen] for key, array in self.arrays.items() if layer in (None, key[1])}
        steps = chosen[0]
        latents = None if self.latents is None else self.latents[chosen[1:]]
        return replace(self, arrays=arrays, timesteps=self.timesteps[steps], sigmas=self.sigmas[steps], latents=latents)

    def apart(self) -> "Trace":
        """The same trace with each seed of each item as an item of its own: item by item, one seed each."""
        arrays = {key: array.flatten(1, 2).unsqueeze(2) for key, array in self.arrays.items()}
        latents = None if self.latents is None else self.latents.flatten(0, 1).unsqueeze(1)
        return replace(self, arrays=arrays, latents=latents)
