"""What probing adds to sampling, and what ending a probe early saves, by adapter on its tiny random pipeline.

Times are processor time of this process, of use on a busy machine; on an idle one with one thread they are wall time.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from adapters import ddpm
from startup import Ratio, compare
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from memdetect import load
from memdetect.adapters import Model
from memdetect.adapters.conditions import arguments, guidance_arguments, output_arguments
from memdetect.probing import Probe, Sampler, generators, probe_prompts, watch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from tiny_adapters import ADAPTER_MAKERS, tiny_adapter
from tiny_stable import tiny_stable_diffusion

BAR, TOLERANCE = 1.10, 0.20
ADAPTERS = ("sd", *ADAPTER_MAKERS)
PROMPTS = {"prompt": "a red cat", "label": "207", "none": ""}


@dataclass(frozen=True, slots=True)
class Row:
    """One adapter: probing over bare sampling, an ended over a whole pass in time, and in operations."""

    adapter: str
    overhead: Ratio
    share: Ratio
    operations: float

    @property
    def saving(self) -> float:
        """Time saved by ending early over what the operations left out would save."""
        return (1 - self.share.median) / (1 - self.operations)


def tiny(name: str) -> Model:
    """A tiny pipeline of an adapter, loaded live."""
    with tempfile.TemporaryDirectory() as folder:
        return load(tiny_stable_diffusion(Path(folder)) if name == "sd" else tiny_adapter(name, Path(folder)))


def bare(model: Model, sampler: Sampler, ids: Sequence[str], prompt: str) -> Callable[[], Any]:
    """The pipeline's own call for the same seeds, batch by batch; classes are decoded, for it cannot do without."""
    seeds = [seed for key in ids for seed in sampler.seeds(key)]
    batches = [seeds[i : i + sampler.batch_size] for i in range(0, len(seeds), sampler.batch_size)]

    def run() -> None:
        for batch in batches:
            with torch.inference_mode():
                model.pipe(
                    **model.adapter.fixed,
                    **arguments(model, [prompt] * len(batch)),
                    **guidance_arguments(model, sampler.guidance_scale),
                    **output_arguments(model),
                    generator=generators(batch),
                    num_inference_steps=sampler.steps,
                )

    return run


def passes(probe: Probe, batch: int) -> tuple[Callable[[], None], Callable[[], None]]:
    """A pass that ends at the probe's last layer, and a whole one, of the same noisy batch."""
    model, net = probe.model, probe.model.denoiser
    x = torch.randn(1, *_shape(model), generator=torch.Generator().manual_seed(0)).expand(batch, -1, -1, -1)
    t = torch.full((batch,), probe.timesteps[0])

    def ended() -> None:
        with torch.inference_mode(), watch(net, probe.points, probe.needs, stop=True):
            probe.replay(x, t)
            raise SystemExit("the pass was not ended")

    def whole() -> None:
        with torch.inference_mode():
            probe.replay(x, t)

    return ended, whole


def _shape(model: Model) -> tuple[int, ...]:
    if model.adapter.condition == "none":
        return 3, *(model.denoiser.config["sample_size"],) * 2
    return model.pipe.vae.config["latent_channels"], 8, 8


def operations(call: Callable[[], None]) -> int:
    """Operations of matrix products, convolutions and attention in a call."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


def measure(name: str, given: argparse.Namespace) -> Row:
    """Both comparisons of one adapter, each alternated."""
    model = tiny(name)
    steps = min(given.steps, model.card.steps)
    sampler = Sampler.of(model, steps=steps, num_seeds=1, batch_size=given.batch)
    ids, prompt = [str(i) for i in range(given.batch * given.batches)], PROMPTS[model.adapter.condition]
    probe = Probe.at(model)

    def probed() -> None:
        probe_prompts(model, [prompt] * len(ids), ids=ids, sampler=sampler, probe=probe)

    overhead = compare(probed, bare(model, sampler, ids, prompt), given.rounds, time.process_time)
    ended, whole = passes(probe, given.batch)
    share = compare(ended, whole, 4 * given.rounds, time.process_time)
    return Row(name, overhead, share, operations(ended) / operations(whole))


def full_size(given: argparse.Namespace) -> bool:
    """Ending early at the size of DDPM-CIFAR10, random weights, batch 2: small enough for a CPU."""
    net, _ = ddpm()
    probe = Probe.at(load(net.eval()))
    ended, whole = passes(probe, 2)
    share = compare(ended, whole, given.rounds, time.process_time)
    row = Row("DDPM-CIFAR10", share, share, operations(ended) / operations(whole))
    print(share.report("time to the point over a whole pass, DDPM-CIFAR10"))
    print(f"operations: {row.operations:.3f}; saved / expected: {row.saving:.2f}")
    return abs(row.saving - 1) <= TOLERANCE


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table in Markdown; 1 when an adapter misses a bar."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--adapter", nargs="*", choices=ADAPTERS, default=ADAPTERS)
    parser.add_argument("--steps", type=int, default=20, help="sampling steps, at most those of the adapter's card")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--batches", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--full-size", action="store_true", help="only ending early, of DDPM-CIFAR10 at full size")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if given.full_size:
        return int(not full_size(given))
    print(
        "| adapter | probing over bare sampling (range) | time to the point (range) | operations | saved / expected |"
    )
    print("|---|---:|---:|---:|---:|")
    met = True
    for name in given.adapter:
        row = measure(name, given)
        cells = [f"{r.median:.2f} ({min(r.values):.2f} to {max(r.values):.2f})" for r in (row.overhead, row.share)]
        print(f"| {name} | {cells[0]} | {cells[1]} | {row.operations:.2f} | {row.saving:.2f} |", flush=True)
        met &= row.overhead.median <= BAR and abs(row.saving - 1) <= TOLERANCE
    return int(not met)


if __name__ == "__main__":
    sys.exit(main())
