"""LoRA files: read before any model is opened, taken whole or refused by name."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from memdetect.adapters import load, loras
from memdetect.errors import MemdetectError
from memdetect.inputs.options import Loading
from memdetect.inputs.prompts import Requests

LAYER = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
FACTORS = (f"{LAYER}.lora_A.weight", f"{LAYER}.lora_B.weight")


def weights(path: Path, *names: str, value: float = 1.0) -> Path:
    save_file({name: torch.full((4, 4), value) for name in names or FACTORS}, path)
    return path


def test_a_lora_needs_a_file_of_safetensors(tmp_path):
    file = weights(tmp_path / "pytorch_lora_weights.safetensors")
    assert loras.parse_lora(str(file)) == (file, 1.0)
    assert loras.parse_lora(f"{file}@0.5") == (file, 0.5)
    assert loras.parse_lora(f"{tmp_path}@-1") == (file, -1.0)
    for wrong in ("nowhere.safetensors", "nowhere.safetensors@2", str(tmp_path / "x@y"), str(tmp_path / "x.bin")):
        with pytest.raises(MemdetectError, match=re.escape(f"--lora {wrong!r}: no .safetensors file there")):
            loras.parse_lora(wrong)
    for scale in ("0", "-0.0", "1e-30", "nan", "inf", "-inf"):
        with pytest.raises(
            MemdetectError, match=r"the scale is .*, with which the base would be audited without the LoRA"
        ):
            loras.parse_lora(f"{file}@{scale}")


@pytest.mark.parametrize(
    "names",
    [
        FACTORS,
        (f"{LAYER}.lora_A.default.weight", f"{LAYER}.lora_B.default.weight", f"{LAYER}.lora_B.default.bias"),
        (f"{LAYER}.lora.down.weight", f"{LAYER}.lora.up.weight", f"{LAYER}.alpha"),
        (f"{LAYER}.processor.to_q_lora.down.weight", f"{LAYER}.processor.to_q_lora.up.weight"),
        ("lora_unet_mid_to_q.lora_down.weight", "lora_unet_mid_to_q.lora_up.weight", "lora_unet_mid_to_q.alpha"),
        (*FACTORS, f"{LAYER}.lora_magnitude_vector"),
        tuple(f"base_model.model.diffusion_model.blocks.0.lora_{side}.weight" for side in "AB"),
    ],
)
def test_the_names_that_trainers_write_are_known(tmp_path, names):
    file = weights(tmp_path / "a.safetensors", *names)
    assert loras.check_lora(f"{file}@2") == (file, 2.0)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (
            (*FACTORS, "lora_unet_mid.dora_scale"),
            r"1 of 3 tensors, such as 'lora_unet_mid.dora_scale', are DoRA",
        ),
        (
            (*FACTORS, "lora_unet_mid.lora_mid.weight"),
            "are LoCon with a middle factor, which would go unseen",
        ),
        ((*FACTORS, "bundle_emb.sks"), "such as 'bundle_emb.sks', are an embedding"),
        ((*FACTORS, f"{LAYER}.diff"), "are whole differences of weights"),
        ((*FACTORS, f"{LAYER}.diff_b"), "are whole differences of weights"),
        (("lora_unet_mid.hada_w1_a", "lora_unet_mid.hada_w1_b"), "holds LoHa and no factors of a LoRA"),
        (("lora_unet_mid.lokr_w1",), "holds LoKr and no factors of a LoRA"),
        (("unet.conv_in.weight",), "holds 1 tensors and no factors of a LoRA"),
    ],
)
def test_what_diffusers_would_drop_is_refused_by_name(tmp_path, names, said):
    with pytest.raises(MemdetectError, match=said) as caught:
        loras.check_lora(str(weights(tmp_path / "a.safetensors", *names)))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_lora_at_all_is_one_line(tmp_path):
    whole = weights(tmp_path / "whole.safetensors").read_bytes()
    empty = tmp_path / "empty.safetensors"
    save_file({}, empty)
    for k, content in enumerate((b"", b"<!DOCTYPE html><html></html>", whole[: len(whole) // 2], empty.read_bytes())):
        file = tmp_path / f"{k}.safetensors"
        file.write_bytes(content)
        with pytest.raises(MemdetectError, match=r"cannot be read as \.safetensors|holds 0 tensors") as caught:
            loras.check_lora(str(file))
        assert "\n" not in str(caught.value)


def test_a_lora_is_looked_at_before_the_model_is_opened(tmp_path, monkeypatch):
    from memdetect.scanning import Options, run_scan

    monkeypatch.setattr("memdetect.scanning.flow.load", lambda *_: pytest.fail("opened"))
    file = weights(tmp_path / "a.safetensors", *FACTORS, "lora_unet_mid.dora_scale")
    with pytest.raises(MemdetectError, match="DoRA"):
        run_scan(Requests((), 0, 0), "emoji-scenes", tmp_path / "run", Options(loading=Loading(loras=(str(file),))))


class Loras:
    """A pipeline that writes down what is added to it."""

    def __init__(self) -> None:
        self.said: list[Any] = []

    def load_lora_weights(self, folder: str, *, weight_name: str, adapter_name: str) -> None:
        if weight_name == "bad.safetensors":
            raise ValueError("not correctly renamed:\n\n" + "some.key " * 60)
        self.said.append((folder, weight_name, adapter_name))

    def set_adapters(self, names: list[str], adapter_weights: list[float]) -> None:
        self.said.append((names, adapter_weights))


def test_loras_are_added_each_at_its_scale_and_change_the_digest(tmp_path, monkeypatch):
    monkeypatch.setattr(loras, "_check_taken", lambda *_: None)
    one, two = weights(tmp_path / "one.safetensors"), weights(tmp_path / "two.safetensors", value=2.0)
    pipe = Loras()
    digest = loras.add_loras(pipe, (str(one), f"{two}@0.5"))
    folder = str(tmp_path)
    expected = [(folder, "one.safetensors", "lora0"), (folder, "two.safetensors", "lora1")]
    assert pipe.said == [*expected, (["lora0", "lora1"], [1.0, 0.5])]
    others = [loras.add_loras(Loras(), given) for given in ((str(one), str(two)), (str(one),), ())]
    assert len({digest, *others}) == 4
    assert others[-1] == ""


def test_of_two_loras_the_one_that_fails_is_named_with_the_reason_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(loras, "_check_taken", lambda *_: None)
    good, bad = weights(tmp_path / "good.safetensors"), weights(tmp_path / "bad.safetensors")
    with pytest.raises(
        MemdetectError, match=r"bad\.safetensors' could not be added: not correctly renamed: some\.key"
    ) as caught:
        loras.add_loras(Loras(), (str(good), str(bad)))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_lora_of_another_model_is_an_error_of_one_line(tmp_path, model_folder):
    with pytest.raises(
        MemdetectError, match=r"--lora .*(could not be added: |the model took 0 of its 1 layers)"
    ) as caught:
        load(str(model_folder), Loading(device="cpu", loras=(str(weights(tmp_path / "one.safetensors")),)))
    assert "\n" not in str(caught.value)


def test_another_prefix_is_told_with_the_expected_ones(tmp_path, model_folder):
    file = weights(tmp_path / "a.safetensors", *(name.replace("unet.", "base_model.model.") for name in FACTORS))
    with pytest.raises(MemdetectError, match=r"'base_model\.model\..*, expected names that begin with .*unet\.: "):
        load(str(model_folder), Loading(device="cpu", loras=(str(file),)))
