"""Published detectors on a network: their scores by explicit calls of the bare pipeline."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from memdetect.adapters import load
from memdetect.copies.embedders import load_embedder
from memdetect.detectors import find
from memdetect.detectors.agreement_pictures import AGREEMENT_EMBEDDER, embedded, embedder_of
from memdetect.detectors.condition_jacobian import CONDITION_JACOBIAN
from memdetect.detectors.gap_sharpness import GAP_SHARPNESS, GAP_SHARPNESS_JVP
from memdetect.detectors.own_loss import CLID
from memdetect.detectors.text_norm import TEXT_NORM, end_norm
from memdetect.inputs.bundled import model_folder
from memdetect.probing import Probe, Sampler, generators, probe_prompts
from memdetect.probing.attention import Text
from memdetect.probing.batches import seed_of
from memdetect.probing.decoding import Decoded, Pictures
from memdetect.probing.trace import Trace

PROMPTS, IDS, SAMPLER = ["a cat", "a red dog"], ["x", "y"], Sampler(3, 3.0, 1)


def probed(pipe: Any, *detectors: Any) -> Trace:
    model = load(pipe)
    probe = Probe.at(model, detectors=detectors)
    return probe_prompts(model, PROMPTS, ids=IDS, sampler=SAMPLER, probe=probe, images=False)


def text(pipe: Any, prompt: str) -> torch.Tensor:
    return pipe.encode_prompt(prompt, "cpu", 1, False)[0]


def noise(pipe: Any, x: torch.Tensor, t: int, states: torch.Tensor) -> torch.Tensor:
    return pipe.unet(x, torch.tensor(t), encoder_hidden_states=states).sample


def first(name: str) -> torch.Tensor:
    (generator,) = generators([seed_of(0, name, 0)])
    return torch.randn(1, 4, 8, 8, generator=generator)


def test_the_condition_jacobian_by_embeddings_put_together_by_hand(pipe):
    found = CONDITION_JACOBIAN.score(probed(pipe, CONDITION_JACOBIAN))[:, 0]
    t = int(pipe.scheduler.timesteps[0])
    with torch.no_grad():
        for name, prompt, value in zip(IDS, PROMPTS, found, strict=True):
            whole, none = text(pipe, prompt), text(pipe, "")
            short = noise(pipe, first(name), t, whole - 0.05 * (whole - none))
            expected = (noise(pipe, first(name), t, whole) - short).norm() / 0.05
            torch.testing.assert_close(value, expected, rtol=1e-3, atol=1e-5)
            assert expected > 1e-3


def test_clid_by_explicit_calls_on_the_finished_latents(pipe):
    trace = probed(pipe, CLID)
    kept = pipe.scheduler.alphas_cumprod[100]
    with torch.no_grad():
        for i, (name, prompt) in enumerate(zip(IDS, PROMPTS, strict=True)):
            (own,) = generators([seed_of(seed_of(0, name, 0), "", 0, "query")])
            added = torch.randn(4, 8, 8, generator=own)[None]
            x = kept.sqrt() * trace.finished()[i] + (1 - kept).sqrt() * added
            losses = [(noise(pipe, x, 100, text(pipe, p)) - added).square().mean() for p in (prompt, "")]
            torch.testing.assert_close(CLID.score(trace)[i, 0], losses[1] - losses[0], rtol=1e-2, atol=1e-5)
            assert abs(losses[1] - losses[0]) > 1e-4


def test_the_sharpness_of_the_gap_exactly_and_by_differences_on_a_network(any_pipe):
    trace = probed(any_pipe, GAP_SHARPNESS, GAP_SHARPNESS_JVP)
    differences, exact = (d.score(trace) for d in (GAP_SHARPNESS, GAP_SHARPNESS_JVP))
    torch.testing.assert_close(differences, exact, rtol=0.2, atol=0)
    assert exact.min() > 0


def test_the_norm_is_that_of_the_text_encoders_end_token(pipe):
    """A tiny encoder's last norm makes all tokens alike, so that by hand the place of the end is asked as well."""
    text = Text(torch.tensor([[[3.0, 4], [6, 8], [0, 1]], [[5, 12], [0, 2], [8, 15]]]), (1, 2))
    assert end_norm(text).tolist() == [10.0, 17.0]
    found = TEXT_NORM.score(probed(pipe, TEXT_NORM))[:, 0]
    for prompt, value in zip(PROMPTS, found, strict=True):
        ids = pipe.tokenizer(prompt).input_ids
        with torch.no_grad():
            states = pipe.text_encoder(torch.tensor([ids]))[0]  # without padding, which an end token never sees
        torch.testing.assert_close(value, states[0, -1].norm(), rtol=1e-4, atol=1e-5)


def test_seeds_are_compared_by_the_embedder_of_the_models_card():
    model = load(str(model_folder("emoji-scenes")))
    assert embedder_of(model).name == "scenes"
    own = load_embedder("scenes", folder=model.folder)
    random = np.random.default_rng(0)
    images = [random.integers(0, 256, (64, 64, 3), dtype=np.uint8) for _ in range(3)]
    vectors = embedded(Pictures(model, tuple(Decoded(image, k != 2) for k, image in enumerate(images))))
    assert vectors[2].isnan().all()
    expected = own.embed([Image.fromarray(image) for image in images[:2]])
    torch.testing.assert_close(vectors[:2], torch.from_numpy(expected))
    scores = AGREEMENT_EMBEDDER.score(Trace({(AGREEMENT_EMBEDDER.needs[0], ""): vectors[None, None, :2]}, (), ()))
    assert scores.tolist() == [[pytest.approx(float(expected[0] @ expected[1]), abs=1e-6)] * 2]
    assert find(["wen2024-sscd"]) == (AGREEMENT_EMBEDDER,)
