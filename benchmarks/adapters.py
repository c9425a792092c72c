"""Operations of a whole pass and of one that ends at the default point, per adapter at full size, on meta tensors.

No weights, no run: FlopCounterMode counts matrix products, convolutions and attention from shapes alone.
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from diffusers import (
    DiTTransformer2DModel,
    FluxTransformer2DModel,
    PixArtTransformer2DModel,
    SD3Transformer2DModel,
    UNet2DConditionModel,
    UNet2DModel,
)
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from memdetect.adapters import ADAPTERS, list_points
from memdetect.adapters.points import resolve, spelled_out
from memdetect.probing import watch
from memdetect.probing.hooks import CHANNEL_MAX


def noise(*shape: int) -> Tensor:
    return torch.randn(1, *shape, device="meta")


def at(t: float) -> Tensor:
    return torch.full((1,), t, device="meta")


def sd1() -> tuple[nn.Module, dict[str, Any]]:
    net = UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8)
    return net, {"sample": noise(4, 64, 64), "timestep": at(50), "encoder_hidden_states": noise(77, 768)}


def sd2() -> tuple[nn.Module, dict[str, Any]]:
    net = UNet2DConditionModel(
        sample_size=96, cross_attention_dim=1024, attention_head_dim=(5, 10, 20, 20), use_linear_projection=True
    )
    return net, {"sample": noise(4, 96, 96), "timestep": at(50), "encoder_hidden_states": noise(77, 1024)}


def sdxl() -> tuple[nn.Module, dict[str, Any]]:
    net = UNet2DConditionModel(
        sample_size=128,
        block_out_channels=(320, 640, 1280),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2, 10),
        attention_head_dim=(5, 10, 20),
        cross_attention_dim=2048,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=2816,
    )
    added = {"text_embeds": noise(1280), "time_ids": noise(6)}
    text = noise(77, 2048)
    call = {"sample": noise(4, 128, 128), "timestep": at(50), "encoder_hidden_states": text, "added_cond_kwargs": added}
    return net, call


def sd3() -> tuple[nn.Module, dict[str, Any]]:
    net = SD3Transformer2DModel(
        sample_size=128,
        patch_size=2,
        in_channels=16,
        out_channels=16,
        num_layers=24,
        attention_head_dim=64,
        num_attention_heads=24,
        joint_attention_dim=4096,
        caption_projection_dim=1536,
        pooled_projection_dim=2048,
        pos_embed_max_size=192,
    )
    text = {"encoder_hidden_states": noise(77 + 256, 4096), "pooled_projections": noise(2048)}
    return net, {"hidden_states": noise(16, 128, 128), "timestep": at(150), **text}


def flux() -> tuple[nn.Module, dict[str, Any]]:
    net = FluxTransformer2DModel(guidance_embeds=True)
    ids = {"txt_ids": torch.zeros(512, 3, device="meta"), "img_ids": torch.zeros(4096, 3, device="meta")}
    text = {"encoder_hidden_states": noise(512, 4096), "pooled_projections": noise(768), "guidance": at(1)}
    return net, {"hidden_states": noise(4096, 64), "timestep": at(0.15), **text, **ids}


def pixart() -> tuple[nn.Module, dict[str, Any]]:
    net = PixArtTransformer2DModel(sample_size=128, caption_channels=4096, use_additional_conditions=False)
    text = {"encoder_hidden_states": noise(300, 4096)}
    added = {"added_cond_kwargs": {"resolution": None, "aspect_ratio": None}}
    return net, {"hidden_states": noise(4, 128, 128), "timestep": at(50), **text, **added}


def dit() -> tuple[nn.Module, dict[str, Any]]:
    labels = torch.zeros(1, dtype=torch.long, device="meta")
    return DiTTransformer2DModel(sample_size=32, in_channels=4, out_channels=8), {
        "hidden_states": noise(4, 32, 32),
        "timestep": at(50),
        "class_labels": labels,
    }


def ddpm() -> tuple[nn.Module, dict[str, Any]]:
    net = UNet2DModel(
        sample_size=32,
        block_out_channels=(128, 256, 256, 256),
        layers_per_block=2,
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=None,
    )
    return net, {"sample": noise(3, 32, 32), "timestep": at(50)}


NETWORKS: dict[str, tuple[str, Callable[[], tuple[nn.Module, dict[str, Any]]]]] = {
    "SD 1.4, 1.5; 512": ("StableDiffusionPipeline", sd1),
    "SD 2.1; 768": ("StableDiffusionPipeline", sd2),
    "SDXL; 1024": ("StableDiffusionXLPipeline", sdxl),
    "SD3 medium; 1024": ("StableDiffusion3Pipeline", sd3),
    "FLUX.1-dev; 1024": ("FluxPipeline", flux),
    "PixArt-Sigma; 1024": ("PixArtSigmaPipeline", pixart),
    "DiT-XL/2; 256": ("DiTPipeline", dit),
    "DDPM-CIFAR10; 32": ("DDPMPipeline", ddpm),
}


def count(net: nn.Module, call: dict[str, Any], points: Any, *, stop: bool) -> int:
    """Operations of one pass at batch 1; a product and a sum are two."""
    counter = FlopCounterMode(display=False)
    with torch.inference_mode(), sdpa_kernel(SDPBackend.MATH), counter, watch(net, points, [CHANNEL_MAX], stop=stop):
        net(**call)
    return counter.get_total_flops()


def rows(names: Iterable[str]) -> list[tuple[str, float, int, int, str]]:
    """Name, parameters in millions, operations of a whole and of an ended pass, and the default layers."""
    found = []
    for name in names:
        adapter, make = NETWORKS[name]
        with torch.device("meta"):
            net, call = make()
        aliases = spelled_out(ADAPTERS[adapter].aliases, net)
        points = resolve(["paper"], list_points(net), aliases)
        whole, ended = (count(net, call, points, stop=stop) for stop in (False, True))
        found.append((name, sum(p.numel() for p in net.parameters()) / 1e6, whole, ended, aliases["paper"]))
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=NETWORKS, metavar="ROW", help=f"one of {', '.join(map(repr, NETWORKS))}")
    given = parser.parse_args(arguments)
    print("| model; pixels | parameters, M | TFLOP of a pass | TFLOP to the point | share | default point |")
    print("|---|---:|---:|---:|---:|---|")
    for name, size, whole, ended, point in rows([given.only] if given.only else NETWORKS):
        print(f"| {name} | {size:,.0f} | {whole / 1e12:.3g} | {ended / 1e12:.3g} | {ended / whole:.2f} | `{point}` |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
