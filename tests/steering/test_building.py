"""From references to a vector: plain torch as the oracle, what is said of the references, and what is refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from steered_pipes import request_of
from synthetic_runs import plan_of

from memdetect.adapters import load
from memdetect.adapters.schedule import levels
from memdetect.copies.embedders import load_embedder
from memdetect.errors import MemdetectError
from memdetect.inputs.images import to_array
from memdetect.judging.calibration import Calibration, Item
from memdetect.probing import Sampler
from memdetect.probing.batches import seed_of
from memdetect.steering import Recipe, build, checking, references
from memdetect.steering.checking import check_references, outliers
from memdetect.steering.references import gather

SAMPLER = Sampler(2, 2.0, 1, batch_size=2)
CATS, DOGS = ([request_of(f"{word} of {k}") for k in range(3)] for word in ("a cat", "a dog"))


def layer_means(pipe, requests, layer, t=10):
    """Mean over references and positions of what a layer returns, with nothing of memdetect but its seeds."""
    signal, noise = levels(pipe.scheduler, t)
    found = []
    with torch.inference_mode():
        for request in requests:
            own = torch.Generator().manual_seed(seed_of(0, request.id, 0))
            settings = {"num_inference_steps": 2, "guidance_scale": 2.0, "output_type": "latent"}
            clean = pipe(request.prompt, generator=own, **settings).images
            eps = torch.randn(
                clean.shape, generator=torch.Generator().manual_seed(seed_of(0, f"{request.id}-0", 0, "steering"))
            )
            text = pipe.encode_prompt(request.prompt, "cpu", 1, False)[0]
            kept = []
            handle = pipe.unet.get_submodule(layer).register_forward_hook(lambda _m, _a, out, k=kept: k.append(out))
            pipe.unet(signal * clean + noise * eps, torch.tensor([t]), text)
            handle.remove()
            found.append(kept[0].mean(dim=(0, 2, 3)))
    return torch.stack(found).mean(dim=0)


def test_the_difference_of_means_by_plain_torch(any_pipe):
    vector, _ = build(load(any_pipe), CATS, DOGS, SAMPLER)
    assert vector.header.method == "difference"
    assert (vector.header.positive, vector.header.negative, vector.header.prompted) == (3, 3, True)
    assert set(vector.layers) == {n for n in vector.layers if n.startswith(("up_blocks.0.resnets.", "up_blocks.1.res"))}
    for layer in ("up_blocks.0.resnets.0", "up_blocks.1.resnets.1"):
        expected = layer_means(any_pipe, CATS, layer) - layer_means(any_pipe, DOGS, layer)
        torch.testing.assert_close(vector.layers[layer], expected, rtol=1e-4, atol=1e-5)
        assert vector.header.lengths[layer] == pytest.approx(float(expected.norm()), rel=1e-3)


def test_references_that_are_not_finite_are_refused_by_name(pipe, monkeypatch, tmp_path):
    own = pipe.vae.decode

    def spoilt(latents, **options):
        (pixels,) = own(latents, **options)
        pixels[-1] = float("nan")
        return (pixels,)

    monkeypatch.setattr(pipe.vae, "decode", spoilt)
    with pytest.raises(MemdetectError, match="2 of 3 references are not finite, 'a cat of 1-0' first; use --dtype"):
        gather(load(pipe), CATS, SAMPLER, "positive")
    monkeypatch.undo()
    Image.new("RGB", (32, 32), "red").save(tmp_path / "a.png")
    monkeypatch.setattr(references, "encode", lambda *_given: torch.full((1, 4, 8, 8), float("inf")))
    with pytest.raises(MemdetectError, match="1 of 1 references are not finite"):
        gather(load(pipe), [request_of(image=tmp_path / "a.png")], SAMPLER, "positive")


def test_without_negatives_it_is_the_mean(pipe):
    vector, notes = build(load(pipe), CATS, [], SAMPLER, Recipe(layers=("up_blocks.0.resnets.0",), timestep=400))
    expected = layer_means(pipe, CATS, "up_blocks.0.resnets.0", 400)
    torch.testing.assert_close(vector.layers["up_blocks.0.resnets.0"], expected, rtol=1e-4, atol=1e-5)
    assert (vector.header.method, vector.header.negative, vector.header.timestep) == ("mean", 0, 400)
    assert vector.header.digest == load(pipe).digest
    assert notes == ["positive references were not checked for memorized ones: too few"]


def test_batches_change_nothing(pipe):
    one, many = (build(load(pipe), CATS, DOGS, Sampler(2, 2.0, 2, batch_size=size))[0].layers for size in (1, 16))
    for layer in one:
        torch.testing.assert_close(one[layer], many[layer], rtol=1e-3, atol=1e-4)


def test_hidden_features_are_those_that_a_scan_reads(pipe):
    vector, _ = build(load(pipe), CATS, [], SAMPLER, Recipe(layers=("up_blocks.0.resnets.0",), at="hidden"))
    (value,) = vector.layers.values()
    # SiLU is nowhere below -0.279.
    assert value.min() > -0.28
    assert vector.header.at == "hidden"


def pictures(folder, sizes):
    found = []
    for k, (width, height) in enumerate(sizes):
        array = np.random.default_rng(k).integers(0, 255, (height, width, 3), dtype=np.uint8)
        path = folder / f"{k}.png"
        Image.fromarray(array).save(path)
        found.append(request_of(image=path, id=f"p{k}"))
    return found


def test_images_of_mixed_size_are_fitted_and_that_is_said(pipe, tmp_path):
    model, requests = load(pipe), pictures(tmp_path, [(32, 32), (40, 64), (100, 20)])
    references = gather(model, requests, SAMPLER, "positive")
    assert references.notes == ("2 of 3 positive images were cropped to their centre and resized to 32x32",)
    array = torch.from_numpy(to_array(Image.open(tmp_path / "1.png"), (32, 32)))[None]
    with torch.inference_mode():
        expected = pipe.vae.encode(array).latent_dist.mode() * pipe.vae.config.scaling_factor
    torch.testing.assert_close(references.latents[1:2], expected, rtol=1e-4, atol=1e-4)
    vector, notes = build(model, requests, [], SAMPLER)
    assert references.notes[0] in notes
    assert vector.header.prompted is False
    assert gather(model, requests[:1], SAMPLER, "positive").notes == ()


def test_references_that_cannot_be_used(pipe, tmp_path):
    model = load(pipe)
    with pytest.raises(MemdetectError, match="3 positive references, 4 asked for"):
        build(model, CATS, DOGS, SAMPLER, Recipe(count=4))
    with pytest.raises(MemdetectError, match="3 negative references, 4 asked for"):
        build(model, [*CATS, request_of("a cat")], DOGS, SAMPLER, Recipe(count=4))
    with pytest.raises(MemdetectError, match="prompts only, or images only"):
        build(model, [*CATS, *pictures(tmp_path, [(32, 32)])], [], SAMPLER)
    with pytest.raises(MemdetectError, match="positive references hold nothing"):
        build(model, [], DOGS, SAMPLER)
    with pytest.raises(MemdetectError, match="outside the model's schedule"):
        build(model, CATS, DOGS, SAMPLER, Recipe(timestep=1000))
    with pytest.raises(MemdetectError, match="no layer named"):
        build(model, CATS, DOGS, SAMPLER, Recipe(layers=("nowhere",)))
    with pytest.raises(MemdetectError, match="leave no direction"):
        build(model, CATS, CATS, SAMPLER)
    (tmp_path / "bad.png").write_bytes(b"no image")
    with pytest.raises(MemdetectError, match="not an image of a known format"):
        build(model, [request_of(image=tmp_path / "bad.png")], [], SAMPLER)


def test_count_takes_the_first(pipe):
    some, all_of_them = (build(load(pipe), CATS[:n], [], SAMPLER, Recipe(count=2))[0] for n in (2, 3))
    assert some.header.positive == all_of_them.header.positive == 2
    assert all(torch.equal(some.layers[n], all_of_them.layers[n]) for n in some.layers)


def test_the_direction_among_embedded_images(pipe, tmp_path):
    embedder = load_embedder("pixels")
    first, second = pictures(tmp_path, [(32, 32), (32, 32)])
    vector, _ = build(load(pipe), [first], [second], SAMPLER, Recipe(), embedder)
    a, b = embedder.embed([Image.open(tmp_path / f"{k}.png") for k in (0, 1)])
    expected = torch.from_numpy((a - b) / np.linalg.norm(a - b))
    torch.testing.assert_close(vector.embedding, expected, rtol=1e-4, atol=1e-5)
    assert vector.header.embedder == {"name": "pixels", "fingerprint": embedder.fingerprint}


def test_an_outlier_among_references_is_told():
    assert outliers([1.0, 1.1, 0.9, 1.0, 1.2, 0.8, 1.05, 5.0]) == [False] * 7 + [True]
    assert outliers([1.0, 1.1, 0.9, 1.0, 1.2, 0.8, 1.05, -5.0]) == [False] * 8  # unusually balanced is no concern
    assert outliers([1.0, 5.0]) == [False, False]


def test_a_reference_is_ranked_among_clean_scores_where_they_hold(pipe, monkeypatch):
    model = load(pipe)
    references = gather(model, CATS, SAMPLER, "positive")
    layers = [point.name for point in model.points(model.card.layers)]
    plain = check_references(model, references, SAMPLER, "positive")
    assert plain.compared.startswith("nothing")
    middle = sorted(plain.scores)[1]

    def clean(settings, level):
        items = tuple(Item(id=str(k), family=str(k)) for k in range(199))
        cells = {layer: {"50": [[level] for _ in items]} for layer in layers}
        return Calibration(
            settings=plan_of(**{"steps": 2, "guidance_scale": SAMPLER.guidance_scale, **settings}).settings,
            items=items,
            scores={"spikiness": cells},
        )

    model = replace(model, folder=Path())
    for settings, level, spiky in (
        ({"model": model.digest, "steps": 2}, (middle + max(plain.scores)) / 2, 1),
        ({"model": model.digest, "steps": 2}, 1e9, 0),
        ({"model": model.digest, "steps": 3}, 0.0, 0),
        ({"model": "another"}, 0.0, 0),
    ):
        monkeypatch.setattr(checking, "read_calibration", lambda _path, s=settings, v=level: clean(s, v))
        found = check_references(model, references, SAMPLER, "positive")
        assert found.scores == plain.scores
        assert len(found.spiky) == spiky
        if spiky:
            assert found.spiky == (references.names[plain.scores.index(max(plain.scores))],)
            assert found.warning.startswith("1 of 3 positive references are unusually spiky among 199 clean prompts")
