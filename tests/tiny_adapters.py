"""A tiny random pipeline of every adapter: a few thousand weights, 32x32 pixels, no training, nothing fetched."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tiny_stable import tiny_tokenizer


def clip_text(tokenizer: Any, *, projected: bool = False) -> Any:
    """A CLIP text encoder of width 16 for a tiny tokenizer."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    size = len(tokenizer)
    config = CLIPTextConfig(
        vocab_size=size,
        hidden_size=16,
        intermediate_size=32,
        projection_dim=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=12,
        bos_token_id=size - 2,
        eos_token_id=size - 1,
        pad_token_id=size - 1,
    )
    return (CLIPTextModelWithProjection if projected else CLIPTextModel)(config).eval()


def t5(width: int = 16) -> tuple[Any, Any]:
    """A T5 encoder and a tokenizer of single letters."""
    from transformers import T5Config, T5EncoderModel, T5TokenizerFast

    pieces = ["<pad>", "</s>", "<unk>", "\u2581", *"abcdefghijklmnopqrstuvwxyz"]
    tokenizer = T5TokenizerFast(vocab=[(p, float(-i)) for i, p in enumerate(pieces)], extra_ids=0)
    config = T5Config(
        vocab_size=len(pieces),
        d_model=width,
        d_kv=8,
        d_ff=32,
        num_layers=1,
        num_heads=2,
        feed_forward_proj="gated-gelu",
    )
    return T5EncoderModel(config).eval(), tokenizer


def autoencoder(channels: int = 4, **config: Any) -> Any:
    """A factor 4 autoencoder."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(4, 4, 8),
        layers_per_block=1,
        norm_num_groups=2,
        latent_channels=channels,
        mid_block_add_attention=False,
        sample_size=32,
        **config,
    ).eval()


def unet(**config: Any) -> Any:
    """A conditional U-Net of two levels on 8x8x4 latents."""
    from diffusers import UNet2DConditionModel

    common = {
        "sample_size": 8,
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "attention_head_dim": 2,
        "cross_attention_dim": 16,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    }
    return UNet2DConditionModel(**{**common, **config}).eval()


def tiny_sdxl(tokenizer: Any, scheduler: Any = None, **latents: Any) -> Any:
    """Two text encoders, pooled text and sizes beside the prompt, by default an Euler scheduler."""
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline

    plain = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
    return StableDiffusionXLPipeline(
        vae=autoencoder(force_upcast=True, **latents),
        text_encoder=clip_text(tokenizer),
        text_encoder_2=clip_text(tokenizer, projected=True),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=unet(
            cross_attention_dim=32,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=16 + 6 * 8,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        ),
        scheduler=scheduler or EulerDiscreteScheduler(**plain),
        add_watermarker=False,
    )


def tiny_playground(tokenizer: Any) -> Any:
    """SDXL as Playground v2.5 samples it: Karras's sigmas, and latents normalised to a spread of sigma_data = 0.5."""
    from diffusers import EDMDPMSolverMultistepScheduler

    moments = {"latents_mean": [-1.6, 1.1, 3.3, -0.6], "latents_std": [8.4, 5.9, 4.4, 3.3], "scaling_factor": 0.5}
    return tiny_sdxl(tokenizer, EDMDPMSolverMultistepScheduler(), **moments)


def tiny_cosxl(tokenizer: Any) -> Any:
    """SDXL as CosXL samples it: exponential sigmas and v-prediction, sigma_data = 1."""
    from diffusers import EDMEulerScheduler

    curve = {"sigma_min": 0.002, "sigma_max": 120.0, "sigma_data": 1.0, "sigma_schedule": "exponential"}
    return tiny_sdxl(tokenizer, EDMEulerScheduler(prediction_type="v_prediction", **curve))


def tiny_lcm(tokenizer: Any) -> Any:
    """A distilled model: the guidance scale is an input of the network."""
    from diffusers import LatentConsistencyModelPipeline, LCMScheduler

    return LatentConsistencyModelPipeline(
        vae=autoencoder(),
        text_encoder=clip_text(tokenizer),
        tokenizer=tokenizer,
        unet=unet(time_cond_proj_dim=8),
        scheduler=LCMScheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def tiny_sd3(tokenizer: Any) -> Any:
    """Joint attention of three text streams' tokens with the image's; rectified flow."""
    from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline

    text, third = t5(32)
    torch.manual_seed(3)
    return StableDiffusion3Pipeline(
        transformer=SD3Transformer2DModel(
            sample_size=8,
            patch_size=2,
            in_channels=16,
            num_layers=3,
            attention_head_dim=8,
            num_attention_heads=2,
            joint_attention_dim=32,
            caption_projection_dim=16,
            pooled_projection_dim=32,
            out_channels=16,
            pos_embed_max_size=16,
        ).eval(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=autoencoder(16, shift_factor=0.06, scaling_factor=1.5),
        text_encoder=clip_text(tokenizer, projected=True),
        tokenizer=tokenizer,
        text_encoder_2=clip_text(tokenizer, projected=True),
        tokenizer_2=tokenizer,
        text_encoder_3=text,
        tokenizer_3=third,
    )


def tiny_flux(tokenizer: Any, *, distilled: bool = True) -> Any:
    """Latents packed to tokens, double and single blocks, guidance as an input of the network if distilled."""
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel

    text, second = t5()
    torch.manual_seed(4)
    pipe = FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=autoencoder(4, shift_factor=0.1, scaling_factor=0.36),
        text_encoder=clip_text(tokenizer),
        tokenizer=tokenizer,
        text_encoder_2=text,
        tokenizer_2=second,
        transformer=FluxTransformer2DModel(
            patch_size=1,
            in_channels=16,
            num_layers=3,
            num_single_layers=2,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=16,
            pooled_projection_dim=16,
            axes_dims_rope=(4, 4, 8),
            guidance_embeds=distilled,
        ).eval(),
    )
    pipe.default_sample_size = 8
    return pipe


def tiny_pixart(tokenizer: Any) -> Any:
    """Cross-attention over T5, the variance learned beside the noise."""
    from diffusers import DDIMScheduler, PixArtSigmaPipeline, PixArtTransformer2DModel

    text, own = t5()
    torch.manual_seed(5)
    return PixArtSigmaPipeline(
        tokenizer=own,
        text_encoder=text,
        vae=autoencoder(),
        transformer=PixArtTransformer2DModel(
            sample_size=8,
            num_layers=3,
            patch_size=2,
            attention_head_dim=8,
            num_attention_heads=2,
            in_channels=4,
            out_channels=8,
            cross_attention_dim=16,
            caption_channels=16,
            use_additional_conditions=False,
        ).eval(),
        scheduler=DDIMScheduler(clip_sample=False),
    )


def tiny_dit(_tokenizer: Any) -> Any:
    """Classes 0 to 999 and the null class 1000; the pipeline cannot be asked for latents."""
    from diffusers import DDIMScheduler, DiTPipeline, DiTTransformer2DModel

    torch.manual_seed(6)
    return DiTPipeline(
        transformer=DiTTransformer2DModel(
            sample_size=8,
            num_layers=3,
            patch_size=2,
            attention_head_dim=8,
            num_attention_heads=2,
            in_channels=4,
            out_channels=8,
            num_embeds_ada_norm=1000,
        ).eval(),
        vae=autoencoder(),
        scheduler=DDIMScheduler(clip_sample=False),
        id2label={"0": "tench, Tinca tinca", "1": "goldfish", "207": "golden retriever"},
    )


def tiny_unet2d() -> Any:
    """An unconditional U-Net of pixels, 16x16x3."""
    from diffusers import UNet2DModel

    torch.manual_seed(7)
    return UNet2DModel(
        sample_size=16,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=4,
    ).eval()


def tiny_ddpm(_tokenizer: Any) -> Any:
    """Noise at every step, from the images' own generators."""
    from diffusers import DDPMPipeline, DDPMScheduler

    return DDPMPipeline(unet=tiny_unet2d(), scheduler=DDPMScheduler())


def tiny_ddim(_tokenizer: Any) -> Any:
    """The same network without noise on the way."""
    from diffusers import DDIMPipeline, DDIMScheduler

    return DDIMPipeline(unet=tiny_unet2d(), scheduler=DDIMScheduler())


ADAPTER_MAKERS: dict[str, Callable[[Any], Any]] = {
    "sdxl": tiny_sdxl,
    "edm-karras": tiny_playground,
    "edm-exponential": tiny_cosxl,
    "lcm": tiny_lcm,
    "sd3": tiny_sd3,
    "flux-distilled": tiny_flux,
    "flux-true-cfg": lambda tokenizer: tiny_flux(tokenizer, distilled=False),
    "pixart": tiny_pixart,
    "dit": tiny_dit,
    "ddpm": tiny_ddpm,
    "ddim": tiny_ddim,
}


def tiny_adapter(name: str, folder: Path) -> Any:
    """A pipeline of an adapter by its name here; the folder takes its tokenizer's files."""
    torch.manual_seed(0)
    pipe = ADAPTER_MAKERS[name](tiny_tokenizer(folder))
    pipe.set_progress_bar_config(disable=True)
    return settled(pipe)


def settled(pipe: Any) -> Any:
    """Random values in the place of the zeros that some networks start from, so that a condition shows."""
    random = torch.Generator().manual_seed(1)
    network = pipe.unet if hasattr(pipe, "unet") else pipe.transformer
    with torch.no_grad():
        for name, value in network.named_parameters():
            if value.ndim > 1 and not value.any():
                value.copy_(0.1 * torch.randn(value.shape, generator=random))
            assert value.isfinite().all(), name
    return pipe
