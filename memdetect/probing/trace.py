"""What one probe of a denoiser left behind: arrays keyed by (need, layer), and where they were taken."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from jaxtyping import Float
from torch import Tensor

from memdetect.errors import MemdetectError
from memdetect.probing.needs import Need


@dataclass(frozen=True, slots=True)
class Trace:
    """Captured arrays with axes `step item seed ...`.

    timesteps: where the finished images were probed, the network's own time index in its schedule's unit; sigmas: noise
    over signal there, sqrt((1 - abar) / abar). Arrays of finished images have one step for each of these, arrays of the
    sampling run one for each step of their window, and of what comes after the last step a single one. run_sigmas:
    noise over signal of all steps of the run. `seed` counts an item's noise draws (its generated images, or the draws
    on a given image). latents: finished ones; None where the run was ended before. families: of the items' prompts, ()
    where nobody said.
    """

    arrays: Mapping[tuple[Need, str], Float[Tensor, "step item seed ..."]]
    timesteps: tuple[float, ...]
    sigmas: tuple[float, ...]
    latents: Float[Tensor, "item seed chan row col"] | None = None
    run_sigmas: tuple[float, ...] = ()
    families: tuple[str, ...] = ()
    notes: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def layers(self) -> tuple[str, ...]:
        """Layers at which finished images were probed, in the order in which they were asked for."""
        return tuple(dict.fromkeys(layer for need, layer in self.arrays if need.when is None and layer))

    @property
    def shape(self) -> tuple[int, int]:
        """Number of items and of seeds."""
        held = self.latents if self.latents is not None else next(iter(self.arrays.values()))[0]
        return held.shape[0], held.shape[1]

    def need(self, need: Need) -> dict[str, Float[Tensor, "step item seed ..."]]:
        """Arrays of a need by layer, "" for the network's output; MemdetectError names what was captured instead."""
        found = {layer: array for (own, layer), array in self.arrays.items() if own == need}
        if not found:
            have = sorted({own.name for own, _ in self.arrays})
            raise MemdetectError(f"this detector needs {need.name!r}, but the probe captured {have}; probe with it")
        return found

    def output(self, need: Need) -> Float[Tensor, "step item seed ..."]:
        """The array of a need of the network's output."""
        return self.need(need)[""]

    def finished(self) -> Float[Tensor, "item seed chan row col"]:
        """The finished latents; MemdetectError for a run that was ended before."""
        if self.latents is None:
            raise MemdetectError(
                "this detector needs the finished latents, but the run was ended before; sample it whole"
            )
        return self.latents

    def select(
        self, *, layer: str | None = None, step: int | None = None, item: int | None = None, seed: int | None = None
    ) -> "Trace":
        """The part of the trace at one layer, step, item or seed; the axes stay, with length 1.

        step: of the finished images' timesteps; what was captured of the sampling run keeps its own.
        """
        place = tuple(slice(None) if i is None else slice(i, i + 1) for i in (item, seed))
        steps = slice(None) if step is None else slice(step, step + 1)
        arrays = {
            key: array[(steps if key[0].when is None else slice(None), *place)]
            for key, array in self.arrays.items()
            if layer in (None, key[1]) or not key[1]
        }
        latents = None if self.latents is None else self.latents[place]
        return replace(
            self,
            arrays=arrays,
            timesteps=self.timesteps[steps],
            sigmas=self.sigmas[steps],
            latents=latents,
            families=self.families[place[0]],
        )

    def grouped(self, seeds: int) -> "Trace":
        """The same trace with each so many seeds of each item as an item of its own: item by item, group by group."""
        arrays = {key: _grouped(array, seeds, 1) for key, array in self.arrays.items()}
        latents = None if self.latents is None else _grouped(self.latents, seeds, 0)
        groups = self.shape[1] // seeds
        families = tuple(family for family in self.families for _ in range(groups))
        return replace(self, arrays=arrays, latents=latents, families=families)


def _grouped(array: Tensor, seeds: int, axis: int) -> Tensor:
    return array.unflatten(axis + 1, (-1, seeds)).flatten(axis, axis + 1)
