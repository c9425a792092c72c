"""What a probe costs: over a bare forward that ends at the same layer, and as a share of a whole forward."""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from startup import compare
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from memdetect import load
from memdetect.adapters import ADAPTERS, Point, list_points
from memdetect.adapters.points import resolve
from memdetect.adapters.schedule import add_noise, levels
from memdetect.inputs.options import Loading
from memdetect.probing import Probe, Sampler, probe_images, watch
from memdetect.probing.batches import seed_of
from memdetect.probing.hooks import CHANNEL_MAX

OVERHEAD_BAR, SHARE_BAR = 1.10, 0.50


class Enough(Exception):
    """Ends the bare forward."""


@contextmanager
def ends_at(unet: nn.Module, points: Sequence[Point], seen: dict[str, list[Tensor]]) -> Iterator[None]:
    """Forwards end at the last of the points, whose features are kept by name: what the probe itself probes."""

    def keep(name: str, features: Tensor) -> None:
        seen[name].append(features)
        if len({len(kept) for kept in seen.values()}) == 1:
            raise Enough

    with ExitStack() as hooks:
        for point in points:
            module = unet.get_submodule(point.module)
            if point.read == "input":
                handle = module.register_forward_pre_hook(lambda _, args, name=point.name: keep(name, args[0]))
            else:
                handle = module.register_forward_hook(lambda _, _args, out, name=point.name: keep(name, out))
            hooks.callback(handle.remove)
        yield


def overhead(given: argparse.Namespace) -> bool:
    """`probe_images` on given latents over bare forwards of the same batches at the same timestep."""
    model = load(given.model, Loading(device="cpu"))
    unet = model.denoiser
    probe = Probe.at(model, timesteps=[given.timestep])
    sampler = Sampler.of(model, num_seeds=1, batch_size=given.batch)
    side, count = unet.config["sample_size"], given.batch * given.batches
    draw = torch.Generator().manual_seed(0)
    latents = torch.randn(count, unet.config["in_channels"], side, side, generator=draw)
    ids = [str(i) for i in range(count)]

    seeds = [seed_of(sampler.seed, name, 0, "look") for name in ids]
    noise = torch.stack([torch.randn(latents.shape[1:], generator=torch.Generator().manual_seed(s)) for s in seeds])
    noisy = add_noise(latents, noise, levels(model.pipe.scheduler, given.timestep)).to(unet.dtype)
    with torch.inference_mode():
        empty = model.pipe.encode_prompt("", "cpu", 1, False)[0]
    seen: dict[str, list[Tensor]] = {}

    def bare() -> None:
        seen.update({point.name: [] for point in probe.points})
        with torch.inference_mode():
            for x in noisy.split(given.batch):
                try:
                    unet(x, given.timestep, encoder_hidden_states=empty.expand(len(x), -1, -1))
                except Enough:
                    continue
                raise SystemExit("the bare forward did not end at the layer")

    def probed(prepared: Probe | None) -> Any:
        return probe_images(model, latents=latents, ids=ids, sampler=sampler, probe=prepared)

    def alone(call: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            with ends_at(unet, probe.points, seen):
                call()

        return run

    alone(bare)()
    for layer, found in probed(probe).need(CHANNEL_MAX).items():
        wanted = torch.cat(seen[layer]).amax(dim=(2, 3)).float()
        torch.testing.assert_close(found[0, :, 0], wanted, rtol=1e-4, atol=1e-4, msg=f"{layer}: other features")

    print(f"{model.name}: {given.batches} batches of {given.batch} latents, t = {given.timestep}, {model.dtype}")
    print(f"up to {', '.join(point.name for point in probe.points)}")
    ratio = compare(lambda: probed(probe), alone(bare), given.rounds)
    print(ratio.report("probe_images over a bare truncated forward", OVERHEAD_BAR))
    first = compare(lambda: probed(None), alone(bare), given.rounds)
    print(first.report("the same, the empty prompt recorded anew in each call"))
    return ratio.median <= OVERHEAD_BAR


def stable_diffusion_15(device: str, width: int = 320) -> UNet2DConditionModel:
    """A U-Net of the shape of Stable Diffusion 1.5; small random weights, written once instead of initialised.

    width: channels of the outermost blocks; others than 320 keep the proportions.
    """
    widths = (width, 2 * width, 4 * width, 4 * width)
    with torch.device("meta"):
        unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768, block_out_channels=widths)
        unet.eval().requires_grad_(False)
    if device != "meta":
        unet.to_empty(device=device)
        for parameter in unet.parameters():
            parameter.uniform_(-0.02, 0.02)
    return unet


def passes(
    unet: nn.Module, side: int, device: str, layer: str = "paper"
) -> tuple[Callable[[], None], Callable[[], None]]:
    """A probe that ends at a layer, and a whole forward; both of two latents."""
    x = torch.randn(2, 4, side, side, device=device)
    call = (x, torch.full((2,), 50, device=device), torch.randn(2, 77, 768, device=device))
    points = resolve([layer], list_points(unet), ADAPTERS["StableDiffusionPipeline"].aliases)

    def probe() -> None:
        with torch.inference_mode(), watch(unet, points, [CHANNEL_MAX], stop=True):
            unet(*call)
            raise SystemExit("the forward was not stopped")

    def whole() -> None:
        with torch.inference_mode():
            unet(*call)

    return probe, whole


def flops(call: Callable[[], None]) -> int:
    """Floating point operations of matrix products, convolutions and attention in a call on meta tensors."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


def share(given: argparse.Namespace) -> bool:
    """A probe at the paper's point over a whole forward, in time and in operations."""
    side = given.latent_side
    print(f"Stable Diffusion 1.5 shape, random weights, fp32, batch 2, {side} x {side} latents, cpu")
    shape = stable_diffusion_15("meta", given.width)
    for layer, what in (("paper", "the paper's point in up_blocks.0"), ("up_blocks.0", "the end of up_blocks.0")):
        probe, whole = passes(shape, side, "meta", layer)
        print(f"share of operations up to {what}: {flops(probe) / flops(whole):.3f}")
    ratio = compare(*passes(stable_diffusion_15("cpu", given.width), side, "cpu"), given.share_rounds)
    print(ratio.report("share of time: a probe at the paper's point over a whole forward", SHARE_BAR))
    return ratio.median <= SHARE_BAR


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one comparison or both; 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=["overhead", "share"], help="one of the two comparisons")
    parser.add_argument("--model", default="emoji-scenes", help="bundled name or folder, for the overhead")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--batches", type=int, default=4)
    parser.add_argument("--timestep", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=20, help="of the overhead")
    parser.add_argument("--latent-side", type=int, default=64, help="of the share")
    parser.add_argument("--width", type=int, default=320, help="of the share: channels of the outermost blocks")
    parser.add_argument("--share-rounds", type=int, default=5, help="of the share; a round takes a minute on a laptop")
    given = parser.parse_args(arguments)
    met = [run(given) for run in (overhead, share) if given.only in (None, run.__name__)]
    return int(not all(met))


if __name__ == "__main__":
    sys.exit(main())
