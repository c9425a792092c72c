"""LoRA files in the names that trainers write, made by code: what each adds to a layer, or what refuses it.

The layers are those of the tiny pipeline of the tests. Names are facts of the formats; no trainer's code is used.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

LAYERS = (
    "mid_block.attentions.0.transformer_blocks.0.attn1.to_q",
    "mid_block.attentions.0.transformer_blocks.0.attn2.to_v",
)
RANK, ALPHA = 2, 1.0
WIDE = torch.ones(RANK, 16), torch.ones(16, RANK)  # factors of the text encoder

Weights = Mapping[str, tuple[int, int]]  # layer of the U-Net -> (values in, values out)
Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Lora:
    """A form: which row of the page tells of it, its tensors by layer, and what refuses it; "" = it is taken whole.

    scale: by what the product of the factors is added, before the user's own scale. opened: whether only the model
    tells. data: what became of the file on the way.
    """

    row: str
    make: Callable[[str, Tensor, Tensor], Tensors]
    refused: str = ""
    scale: float = 1.0
    more: Callable[[], Tensors] = dict
    opened: bool = False
    data: Callable[[bytes], bytes] = bytes


def factors(layer: str, widths: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The two factors of a layer [rank, in] and [out, rank], the same for all forms."""
    random = torch.Generator().manual_seed(len(layer))
    return torch.randn(RANK, widths[0], generator=random), torch.randn(widths[1], RANK, generator=random)


def tensors(form: Lora, widths: Weights) -> Tensors:
    made: Tensors = form.more()
    for layer in LAYERS:
        made |= form.make(layer, *factors(layer, widths[layer]))
    return {name: value.clone().contiguous() for name, value in made.items()}


def kohya(layer: str, part: str = "unet") -> str:
    return f"lora_{part}_{layer.replace('.', '_')}"


def _kohya(layer: str, down: Tensor, up: Tensor, part: str = "unet") -> Tensors:
    name = kohya(layer, part)
    return {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up, f"{name}.alpha": torch.tensor(ALPHA)}


def _peft(layer: str, down: Tensor, up: Tensor) -> Tensors:
    return {f"unet.{layer}.lora_A.weight": down, f"unet.{layer}.lora_B.weight": up}


def _old(layer: str, down: Tensor, up: Tensor) -> Tensors:
    stem, _, last = layer.rpartition(".")
    name = f"unet.{stem}.processor.{last}_lora"
    return {f"{name}.down.weight": down, f"{name}.up.weight": up}


def _diffusers(layer: str, down: Tensor, up: Tensor) -> Tensors:
    return {f"unet.{layer}.lora.down.weight": down, f"unet.{layer}.lora.up.weight": up}


def _with(name: str, *parts: str, dot: str = ".") -> Callable[[str, Tensor, Tensor], Tensors]:
    """A form of other tensors: by layer, in kohya's names."""
    return lambda layer, down, up: {f"{kohya(layer)}{dot}{part}": down.clone() for part in (name, *parts)}


def _prefixed(prefix: str) -> Callable[[str, Tensor, Tensor], Tensors]:
    return lambda layer, down, up: {f"{prefix}{layer}.lora_A.weight": down, f"{prefix}{layer}.lora_B.weight": up}


def _and(
    *parts: str, base: Callable[[str, Tensor, Tensor], Tensors] = _kohya
) -> Callable[[str, Tensor, Tensor], Tensors]:
    return lambda layer, down, up: base(layer, down, up) | _with(*parts)(layer, down, up)


def _bundled() -> Tensors:
    return {f"bundle_emb.sks.{end}": torch.ones(2, 8) for end in ("clip_l", "clip_l_out")}


def _text_encoder(layer: str, down: Tensor, up: Tensor) -> Tensors:
    """The same, with a layer of the text encoder beside those of the U-Net, as kohya's scripts write it."""
    made = _kohya(layer, down, up)
    for part in ("q", "k", "v", "out"):
        made |= _kohya(f"text_model.encoder.layers.0.self_attn.{part}_proj", *WIDE, part="te")
    return made


def _old_text_encoder(layer: str, down: Tensor, up: Tensor) -> Tensors:
    name = "text_encoder.text_model.encoder.layers.0.self_attn.q_proj.lora_linear_layer"
    own = {f"{name}.down.weight": WIDE[0].clone(), f"{name}.up.weight": WIDE[1].clone()}
    return _old(layer, down, up) | own


def _dora(layer: str, down: Tensor, up: Tensor) -> Tensors:
    return _peft(layer, down, up) | {f"unet.{layer}.lora_magnitude_vector": magnitude(up)}


def magnitude(up: Tensor) -> Tensor:
    """DoRA's own length of each row of a layer's weights."""
    return 1 + torch.arange(len(up)) / len(up)


UNSEEN = "which would go unseen; merge it into the model and scan that"
BROKEN, CANNOT = "a web page", r"cannot be read as \.safetensors \(.*\)"
AB, DOWN, OTHERS, EMBEDDED = "`lora_A`, `lora_B`", "`lora_down`, `lora_up`, `alpha`", "`hada_*`", "embeddings within"

LORAS: dict[str, Lora] = {
    "peft, SimpleTuner, diffusers scripts": Lora(AB, _peft),
    "diffusers, before peft": Lora(AB, _diffusers),
    "diffusers, in processors": Lora(AB, _old),
    "kohya sd-scripts, OneTrainer, ai-toolkit for SD": Lora(DOWN, _kohya, scale=ALPHA / RANK),
    "kohya sd-scripts, with the text encoder": Lora(DOWN, _text_encoder, scale=ALPHA / RANK),
    "diffusers, before peft, with the text encoder": Lora(AB, _old_text_encoder),
    "peft's DoRA": Lora("`lora_magnitude_vector`", _dora),
    "kohya's DoRA": Lora("`dora_scale`", _and("dora_scale"), f"are DoRA in kohya's names, {UNSEEN}"),
    "OneTrainer's DoRA beside peft": Lora("`dora_scale`", _and("dora_scale", base=_peft), "are DoRA in kohya's names"),
    "LoHa": Lora(
        OTHERS, _with("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "alpha"), "holds LoHa and no factors"
    ),
    "LoHa of convolutions": Lora(OTHERS, _and("hada_t1", "hada_t2"), "are LoHa"),
    "LoKr": Lora(OTHERS, _with("lokr_w1", "lokr_w2_a", "lokr_w2_b", "alpha"), "holds LoKr and no factors"),
    "LoKr beside LoRA": Lora(OTHERS, _and("lokr_w1", "lokr_t2"), "are LoKr"),
    "kohya's OFT": Lora(OTHERS, _with("oft_blocks", "alpha"), "holds OFT and no factors"),
    "OneTrainer's OFT": Lora(OTHERS, _with("oft_R.weight"), "holds OFT and no factors"),
    "LyCORIS' OFT": Lora(OTHERS, _with("oft_blocks", "rescale", "alpha"), "holds OFT and no factors"),
    "LyCORIS' Diag-OFT": Lora(OTHERS, _with("oft_diag"), "holds OFT and no factors"),
    "LyCORIS' GLoRA": Lora(
        OTHERS, _with("a1.weight", "a2.weight", "b1.weight", "b2.weight", "alpha"), "holds GLoRA and no"
    ),
    "LyCORIS' GLoRA of convolutions": Lora(OTHERS, _with("bm.weight"), "holds GLoRA and no factors"),
    "LyCORIS' IA3": Lora(OTHERS, _with("on_input"), "holds IA3 and no factors"),
    "LoCon with a middle factor": Lora(OTHERS, _and("lora_mid.weight"), f"are LoCon with a middle factor, {UNSEEN}"),
    "LyCORIS' own scale": Lora(OTHERS, _and("scalar"), f"are LyCORIS' own scale of a layer, {UNSEEN}"),
    "LyCORIS' normalisations": Lora(OTHERS, _and("w_norm", "b_norm"), "are differences of normalisations"),
    "whole differences": Lora(OTHERS, _with("diff", "diff_b"), "holds whole differences of weights and no factors"),
    "a LoRA with whole differences": Lora(OTHERS, _and("diff"), f"are whole differences of weights, {UNSEEN}"),
    "peft's of an embedding": Lora(OTHERS, _and("lora_embedding_A", base=_peft), "are a LoRA of an embedding"),
    "OneTrainer with a bundled embedding": Lora(EMBEDDED, _kohya, f"are an embedding, {UNSEEN}", more=_bundled),
    "a bundled embedding as a webui has it": Lora(
        EMBEDDED, _kohya, "are an embedding", more=lambda: {"bundle_emb.sks.string_to_param.*": torch.ones(2, 8)}
    ),
    "an embedding alone": Lora(
        EMBEDDED, lambda *_: {"emb_params": torch.ones(2, 8)}, "holds an embedding and no factors"
    ),
    "an embedding of SDXL": Lora(
        EMBEDDED,
        lambda *_: {"clip_l": torch.ones(2, 8), "clip_g": torch.ones(2, 8)},
        "holds an embedding and no factors",
    ),
    "of a webui's network": Lora(
        "names that begin otherwise", _prefixed("base_model.model."), "expected names that begin", opened=True
    ),
    "of ComfyUI": Lora(
        "names that begin otherwise",
        _prefixed("diffusion_model."),
        "expected names that begin with .*unet",
        opened=True,
    ),
    "without a beginning": Lora(
        "names that begin otherwise", _prefixed(""), "expected names that begin with .*unet", opened=True
    ),
    "a whole model": Lora(
        "whole models", lambda layer, *_: {f"unet.{layer}.weight": torch.ones(2, 2)}, "no factors of a LoRA"
    ),
    "half a file": Lora(BROKEN, _peft, f"{CANNOT}; fetch it again", data=lambda data: data[: len(data) // 2]),
    "a web page": Lora(BROKEN, _peft, f"{CANNOT}; fetch it again", data=lambda _: b"<!DOCTYPE html><html></html>"),
    "zero bytes": Lora(BROKEN, _peft, f"{CANNOT}; fetch it again", data=lambda _: b""),
    "no tensors": Lora(BROKEN, lambda *_: {}, "holds 0 tensors and no factors of a LoRA"),
}
