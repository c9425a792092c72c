"""A LoRA trained here: what it learns by algebra, what it leaves alone, and its audit from end to end."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny_adapters import tiny_adapter
from tiny_stable import tiny_stable_diffusion

from memdetect.adapters import load
from memdetect.cli import run
from memdetect.errors import MemdetectError
from memdetect.inputs.options import Loading
from memdetect.lab import lora
from memdetect.lab.lora import Tuning, train_lora
from memdetect.lab.world import recipe
from memdetect.lab.world.labelled import Counts
from memdetect.runs.folder import RunFolder
from memdetect.runs.records import Measurement

CAPTIONS = ("a red cat", "a blue dog", "a photo of a dog")
QUICK = Tuning(steps=4, rank=2, rate=1e-2, batch=2)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i, caption in enumerate(CAPTIONS):
        pixels = np.random.default_rng(i).integers(0, 255, (40, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
        (folder / f"{i}.txt").write_text(caption, encoding="utf-8")
    return folder


@pytest.fixture
def pairs(photos: Path) -> list[tuple[Path, str]]:
    return [(photos / f"{i}.png", caption) for i, caption in enumerate(CAPTIONS)]


# What is learned


def lesson(prediction: str, rows: int = 1) -> Any:
    draw = torch.Generator().manual_seed(1)
    scheduler = DDPMScheduler(prediction_type=prediction)
    texts = torch.arange(1.0, rows + 1).view(rows, 1, 1)
    return lora._Lesson(torch.randn(rows, 4, 8, 8, generator=draw), texts, torch.zeros(1, 1, 1), scheduler)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("answered", ["epsilon", "v_prediction", "sample"])
def test_the_loss_is_zero_for_the_right_answer_alone(prediction: str, answered: str) -> None:
    """A network that knows the one picture can solve x_t = sqrt(a) x + sqrt(1 - a) e for what it is asked."""
    known = lesson(prediction)

    def network(noisy: torch.Tensor, t: torch.Tensor, _texts: torch.Tensor) -> Any:
        kept = known.scheduler.alphas_cumprod[t].view(-1, 1, 1, 1)
        clean = known.latents.expand(len(noisy), -1, -1, -1)
        noise = (noisy - kept.sqrt() * clean) / (1 - kept).sqrt()
        velocity = kept.sqrt() * noise - (1 - kept).sqrt() * clean
        return SimpleNamespace(sample={"epsilon": noise, "v_prediction": velocity, "sample": clean}[answered])

    loss = lora._loss(network, known, torch.zeros(16, dtype=torch.long), torch.Generator().manual_seed(0)).item()
    assert (loss < 1e-4) == (prediction == answered)


def test_a_picture_is_shown_with_its_caption_or_with_none() -> None:
    """Of 2,000 a tenth without: 200, standard deviation 13."""
    known, rows = lesson("epsilon", 5), torch.arange(2000) % 5
    seen: list[torch.Tensor] = []

    def network(noisy: torch.Tensor, _t: torch.Tensor, texts: torch.Tensor) -> Any:
        seen.append(texts.flatten())
        return SimpleNamespace(sample=noisy)

    lora._loss(network, known, rows, torch.Generator().manual_seed(0))
    blank = seen[0] == 0
    assert 130 < blank.sum().item() < 270
    assert torch.equal(seen[0][~blank], (rows + 1.0)[~blank])


@pytest.mark.parametrize(("steps", "batch"), [(7, 3), (2, 25), (1, 1)])
def test_pictures_are_shown_equally_often_in_new_orders(steps: int, batch: int) -> None:
    drawn = lora._batches(5, Tuning(steps=steps, batch=batch), torch.Generator().manual_seed(0))
    assert [len(rows) for rows in drawn] == [batch] * steps
    order = torch.cat(drawn).tolist()
    shown = Counter(order)
    assert max(shown.values()) - (min(shown.values()) if len(order) >= 5 else 0) <= 1
    if len(order) >= 10:
        assert order[:5] != order[5:10]


# What is written


@pytest.mark.parametrize(("convolutions", "layer"), [(False, "to_q"), (True, "conv1")])
def test_the_base_stays_and_the_file_changes_what_it_draws(
    convolutions: bool, layer: str, pairs: list[tuple[Path, str]], model_folder: Path, tmp_path: Path
) -> None:
    base, model = (load(str(model_folder), Loading(device="cpu")) for _ in range(2))
    said: list[str] = []
    made = train_lora(
        model, pairs, tmp_path / "new" / "mine.safetensors", replace(QUICK, convolutions=convolutions), said.append
    )
    assert made.shown == pytest.approx(4 * 2 / 3)
    assert len(made.losses) == len(said) == 1
    written = load_file(made.file)
    assert sum(tensor.numel() for tensor in written.values()) == made.parameters
    assert any(layer in name for name in written)
    assert any("conv1" in name for name in written) == convolutions
    kept = {name.replace(".base_layer", ""): value for name, value in model.denoiser.state_dict().items()}
    assert all(torch.equal(kept[name], value) for name, value in base.denoiser.state_dict().items())

    given = (torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0)), 300, torch.ones(1, 12, 16))
    opened = [load(str(model_folder), Loading(device="cpu", loras=(f"{made.file}@{scale}",))) for scale in (1, 0.5)]
    with torch.no_grad():
        trained, whole, half, bare = (m.denoiser(*given).sample for m in (model, *opened, base))
    torch.testing.assert_close(whole, trained)
    assert (whole - bare).norm() > (half - bare).norm() > 1e-3
    assert len({m.digest for m in (base, *opened)}) == 3


def test_a_lora_that_is_taken_in_part_is_refused(
    pairs: list[tuple[Path, str]], model_folder: Path, tmp_path: Path
) -> None:
    """Files of both ways of naming, as diffusers' own helper writes them: its loader goes by the first name."""
    made = train_lora(
        load(str(model_folder), Loading(device="cpu")),
        pairs,
        tmp_path / "a.safetensors",
        replace(QUICK, convolutions=True),
    )
    tensors = load_file(made.file)
    assert "attentions" in min(tensors)
    mixed = {
        name
        if "attentions" in name
        else name.replace(".lora_A.", ".lora.down.").replace(".lora_B.", ".lora.up."): value
        for name, value in tensors.items()
    }
    save_file(mixed, tmp_path / "mixed.safetensors")
    with pytest.raises(MemdetectError, match=r"mixed.safetensors': the model took \d+ of its \d+ layers"):
        load(str(model_folder), Loading(device="cpu", loras=(str(tmp_path / "mixed.safetensors"),)))


def test_the_loss_falls_on_a_picture_that_is_shown_again_and_again(
    pairs: list[tuple[Path, str]], model_folder: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(lora, "REPORT", 20)
    tuning = Tuning(steps=40, rank=4, rate=1e-2, batch=4, convolutions=True)
    losses = train_lora(
        load(str(model_folder), Loading(device="cpu")), pairs[:1], tmp_path / "a.safetensors", tuning
    ).losses
    assert len(losses) == 2
    assert losses[1] < 0.9 * losses[0]


# What is refused


@pytest.mark.parametrize(
    ("change", "said"),
    [({"rank": 0}, "rank is 0"), ({"steps": -1}, "steps is -1"), ({"rate": 0.0}, "learning rate is 0.0")],
)
def test_settings_that_make_no_sense(change: dict[str, Any], said: str) -> None:
    with pytest.raises(MemdetectError, match=said):
        replace(QUICK, **change)


def test_refusals(pairs: list[tuple[Path, str]], model_folder: Path, tmp_path: Path, monkeypatch: Any) -> None:
    model, out = load(str(model_folder), Loading(device="cpu")), tmp_path / "a.safetensors"
    with pytest.raises(MemdetectError, match=r"mine.bin' is no .safetensors file"):
        train_lora(model, pairs, tmp_path / "mine.bin", QUICK)
    with pytest.raises(MemdetectError, match="no pictures to train on"):
        train_lora(model, [], out, QUICK)
    with pytest.raises(MemdetectError, match="expected a StableDiffusionPipeline"):
        train_lora(load(tiny_adapter("dit", tmp_path / "dit")), pairs, out, QUICK)
    with pytest.raises(MemdetectError, match="is open as bf16"):
        train_lora(replace(model, dtype="bf16"), pairs, out, QUICK)
    with pytest.raises(MemdetectError, match=r"the loss is nan at step \d; lower --rate"):
        train_lora(load(str(model_folder), Loading(device="cpu")), pairs, out, replace(QUICK, rate=1e30))
    monkeypatch.setattr(lora, "find_spec", lambda _name: None)
    with pytest.raises(MemdetectError, match=r"needs the package peft.*pip install 'memdetect\[lora\]'"):
        train_lora(model, pairs, out, QUICK)
    assert not out.exists()


def test_a_lora_without_peft_is_one_line(
    pairs: list[tuple[Path, str]], model_folder: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    made = train_lora(load(str(model_folder), Loading(device="cpu")), pairs, tmp_path / "a.safetensors", QUICK)
    monkeypatch.setattr("diffusers.utils.USE_PEFT_BACKEND", False)
    with pytest.raises(MemdetectError, match=r"a.safetensors' needs the package peft, .* 'memdetect\[lora\]'$"):
        load(str(model_folder), Loading(device="cpu", loras=(str(made.file),)))


# From end to end


def cells(row: Measurement, name: str = "spikiness") -> list[float]:
    return [v for times in row.scores[name].cells.values() for values in times.values() for v in values if v]


def test_the_base_of_a_lora_is_the_model_without_it(photos: Path, tmp_path: Path, capsys: Any) -> None:
    """Reference scores are the base's alone: they and its images are those of a scan without --lora, seed by seed."""
    model = tmp_path / "model"
    tiny_stable_diffusion(tmp_path / "tokenizer", "v_prediction").save_pretrained(model)
    shared = ["--model", str(model), "--device", "cpu", "--train-images", str(photos)]
    mine, few = str(tmp_path / "mine.safetensors"), ["--steps", "2", "--guidance-scale", "1"]
    trained = ["lab", "lora", *shared, "--out", mine, "--train-steps", "8", "--rank", "4", "--rate", "0.05"]
    assert run([*trained, "--convolutions"]) == 0
    assert "3 pictures shown 21 times each in 8 steps of 8" in capsys.readouterr().out
    whole = ["scan", *shared, "--lora", mine, "--num-seeds", "2", "--base-rounds", "2", *few]
    assert run([*whole, "--out", str(tmp_path / "run")]) == 0
    assert run(["scan", *shared, "--num-seeds", "4", *few, "--out", str(tmp_path / "alone")]) == 0
    assert run(["scan", *shared, "--num-seeds", "2", *few, "--no-index", "--out", str(tmp_path / "two")]) == 0

    ours, base, alone, two = (
        {row.prompt: row for row in RunFolder(tmp_path / name).measurements()}
        for name in ("run", "run/base", "alone", "two")
    )
    assert set(ours) == set(base) == set(alone) == set(CAPTIONS)
    for caption, row in alone.items():
        assert cells(base[caption]) == pytest.approx(cells(row), rel=1e-5)
        assert base[caption].seeds[:2] == ours[caption].seeds
        assert min(abs(a / b - 1) for a, b in zip(cells(ours[caption]), cells(row)[:2], strict=False)) > 1e-3
        first, second = cells(base[caption], "agreement")[:2], cells(base[caption], "agreement")[2:]
        assert first == pytest.approx(cells(two[caption], "agreement"), rel=1e-5)  # each round is compared in itself
        assert first[0] == first[1] != second[0] == second[1]
    header = RunFolder(tmp_path / "run").header()
    assert (header.index["pictures"], header.index["rows"]) == (3, 6), "whole, and as the squares of training"
    assert header.index["null_queries"] == 12
    assert header.plan.model != RunFolder(tmp_path / "alone").header().plan.model


# Scenes that a model has never been shown


def test_unseen_scenes_are_those_that_no_training_shows(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    for i in range(10):
        Image.new("RGBA", (40, 40), (25 * i, 255 - 25 * i, 120, 255)).save(mine / f"{'abcdefghij'[i]}.png")
    counts = Counts(exposures={0: 2, 3: 2}, verbatim=0, templates=1, variants=2, siblings=1, clean=6)
    world, stock = recipe.find_world(mine, 5, counts)
    recipe.write_unseen(tmp_path / "few", world, stock, 3)
    held = {entry.caption: entry for entry in world.clean if entry.group == "unseen"}
    found = sorted((tmp_path / "few").glob("*.txt"))
    assert len(found) == 3
    for path in found:
        entry = held[path.read_text(encoding="utf-8").strip()]
        assert entry.exposures == 0
        assert np.array_equal(np.asarray(Image.open(path.with_suffix(".png"))), stock.image(entry))
    with pytest.raises(MemdetectError, match="has 3 unseen scenes, 4 were asked for"):
        recipe.write_unseen(tmp_path / "more", world, stock, 4)
