"""What a look costs: over a bare forward that ends at the same layer, and as a share of a whole forward."""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from startup import compare
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from memdetect import load
from memdetect.adapters import FAMILIES, list_points
from memdetect.adapters.points import resolve
from memdetect.adapters.schedule import add_noise, levels
from memdetect.inputs.options import Loading
from memdetect.probing import Look, Sampler, probe_images, watch
from memdetect.probing.batches import seed_of

OVERHEAD_BAR, SHARE_BAR = 1.10, 0.50


class Enough(Exception):
    """Ends the bare forward."""


@contextmanager
def ends_at_the_paper_point(unet: nn.Module, seen: list[Tensor]) -> Iterator[None]:
    """Forwards end where the last residual block of the first up block hands SiLU(norm2) to its second convolution."""

    def stop(_module: nn.Module, args: tuple[Tensor, ...]) -> None:
        seen.append(args[0])
        raise Enough

    handle = unet.get_submodule("up_blocks.0").resnets[-1].conv2.register_forward_pre_hook(stop)
    try:
        yield
    finally:
        handle.remove()


def overhead(given: argparse.Namespace) -> bool:
    """`probe_images` on given latents over bare forwards of the same batches at the same timestep."""
    model = load(given.model, Loading(device="cpu"))
    unet = model.denoiser
    look = Look.at(model, timesteps=[given.timestep])
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
    seen: list[Tensor] = []

    def bare() -> None:
        seen.clear()
        with torch.inference_mode():
            for x in noisy.split(given.batch):
                try:
                    unet(x, given.timestep, encoder_hidden_states=empty.expand(len(x), -1, -1))
                except Enough:
                    continue
                raise SystemExit("the bare forward did not end at the layer")

    def probe(prepared: Look | None) -> Any:
        return probe_images(model, latents=latents, ids=ids, sampler=sampler, look=prepared)

    def alone(call: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            with ends_at_the_paper_point(unet, seen):
                call()

        return run

    alone(bare)()
    wanted = torch.cat(seen).amax(dim=(2, 3)).float()
    found = list(probe(look).need("peak").values())[-1][0, :, 0]
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4, msg="the two do not see the same features")

    print(f"{model.name}: {given.batches} batches of {given.batch} latents, t = {given.timestep}, {model.dtype}")
    ratio = compare(lambda: probe(look), alone(bare), given.rounds)
    print(ratio.report("probe_images over a bare truncated forward", OVERHEAD_BAR))
    first = compare(lambda: probe(None), alone(bare), given.rounds)
    print(first.report("the same, the empty prompt recorded anew in each call"))
    return ratio.median <= OVERHEAD_BAR


def stable_diffusion_15(device: str) -> UNet2DConditionModel:
    """A U-Net of the shape of Stable Diffusion 1.5; small random weights, written once instead of initialised."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768).eval().requires_grad_(False)
    if device != "meta":
        unet.to_empty(device=device)
        for parameter in unet.parameters():
            parameter.uniform_(-0.02, 0.02)
    return unet


def passes(
    unet: nn.Module, side: int, device: str, layer: str = "paper"
) -> tuple[Callable[[], None], Callable[[], None]]:
    """A look that ends at a layer, and a whole forward; both of two latents."""
    x = torch.randn(2, 4, side, side, device=device)
    call = (x, torch.full((2,), 50, device=device), torch.randn(2, 77, 768, device=device))
    points = resolve([layer], list_points(unet), FAMILIES["StableDiffusionPipeline"].aliases)

    def look() -> None:
        with torch.inference_mode(), watch(unet, points, ["peak"], stop=True):
            unet(*call)
            raise SystemExit("the forward was not stopped")

    def whole() -> None:
        with torch.inference_mode():
            unet(*call)

    return look, whole


def flops(call: Callable[[], None]) -> int:
    """Floating point operations of matrix products, convolutions and attention in a call on meta tensors."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


def share(given: argparse.Namespace) -> bool:
    """A look at the paper's point over a whole forward, in time and in operations."""
    side = given.latent_side
    print(f"Stable Diffusion 1.5 shape, random weights, fp32, batch 2, {side} x {side} latents, cpu")
    shape = stable_diffusion_15("meta")
    for layer, what in (("paper", "the paper's point in up_blocks.0"), ("up_blocks.0", "the end of up_blocks.0")):
        look, whole = passes(shape, side, "meta", layer)
        print(f"share of operations up to {what}: {flops(look) / flops(whole):.3f}")
    ratio = compare(*passes(stable_diffusion_15("cpu"), side, "cpu"), given.share_rounds)
    print(ratio.report("share of time: a look at the paper's point over a whole forward", SHARE_BAR))
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
    parser.add_argument("--share-rounds", type=int, default=5, help="of the share; a round takes a minute on a laptop")
    given = parser.parse_args(arguments)
    met = [run(given) for run in (overhead, share) if given.only in (None, run.__name__)]
    return int(not all(met))


if __name__ == "__main__":
    sys.exit(main())
