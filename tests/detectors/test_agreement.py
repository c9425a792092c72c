"""Agreement and specificity against values by hand, and against correlations worked out pair by pair."""

import math

import numpy as np
import pytest
import torch
from hand_made import cleans, drawn

from memdetect.detectors.agreement import AGREEMENT, AGREEMENT_FINAL, EARLY_CLEAN, agreement, unit_pictures
from memdetect.detectors.bank import Bank, bank_of
from memdetect.detectors.specificity import specificity
from memdetect.errors import MemdetectError
from memdetect.probing.needs import Window
from memdetect.probing.trace import Trace

WAVES = torch.tensor([[[1.0, -1, 1, -1]] * 4, [[1.0, 1, -1, -1]] * 4])  # orthogonal, both without a mean


def correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    """Of all values of two pictures [chan row col], each channel less its own mean."""
    x, y = ([channel - channel.mean() for channel in picture.numpy().astype(float)] for picture in (a, b))
    x, y = np.concatenate([c.ravel() for c in x]), np.concatenate([c.ravel() for c in y])
    return float((x * y).sum() / math.sqrt((x * x).sum() * (y * y).sum()))


def one_channel(*pictures: torch.Tensor) -> torch.Tensor:
    return torch.stack(pictures)[None, :, None]


@pytest.mark.parametrize(
    ("pictures", "expected"),
    [
        ((WAVES[0], WAVES[0]), 1.0),
        ((WAVES[0], 5 * WAVES[0] + 3), 1.0),  # scale and brightness are no part of a picture
        ((WAVES[0], WAVES[1]), 0.0),
        ((WAVES[0], -WAVES[0]), -1.0),
        ((WAVES[0], WAVES[0], WAVES[1]), 1 / 3),
        ((WAVES[0], WAVES[0], -WAVES[0]), -1 / 3),
    ],
)
def test_values_by_hand(pictures, expected):
    found = agreement(one_channel(*pictures))
    torch.testing.assert_close(found, torch.full((1, len(pictures)), expected), atol=1e-6, rtol=0)


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, -7.3, 1 / 3, 1e4])
def test_a_picture_of_one_colour_agrees_with_nothing(value):
    """Also where its mean is rounded."""
    flat = torch.full((3, 5), value)
    assert agreement(torch.stack([drawn(2, 3, 5), flat.expand(2, 3, 5)])[None]).isnan().all()


def test_channels_are_centred_one_by_one_and_weighed_by_their_contrast():
    a = torch.stack([WAVES[0] + 10, WAVES[1] - 10])
    b = torch.stack([WAVES[0] - 20, -WAVES[1] * 3])
    expected = (16 - 3 * 16) / (math.sqrt(32) * math.sqrt(16 + 9 * 16))
    torch.testing.assert_close(agreement(torch.stack([a, b])[None])[0, 0], torch.tensor(expected))


def test_three_seeds_are_the_mean_of_their_pairs():
    latents = drawn(4, 3, 2, 6, 5)
    found = agreement(latents)
    for item, own in enumerate(latents):
        pairs = [correlation(own[i], own[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
        np.testing.assert_allclose(found[item], [np.mean(pairs)] * 3, rtol=1e-5, atol=1e-6)


def test_the_two_detectors_read_the_early_estimate_and_the_finished_latents():
    early, late = drawn(3, 2, 1, 4, 4, seed=1), drawn(3, 2, 1, 4, 4, seed=2)
    trace = Trace({(EARLY_CLEAN, ""): early[None]}, (), (), late)
    assert torch.equal(AGREEMENT.score(trace), agreement(early))
    assert torch.equal(AGREEMENT_FINAL.score(trace), agreement(late))
    assert (EARLY_CLEAN.when, AGREEMENT_FINAL.latents) == (Window("at", 8.0), True)


def test_a_single_seed_has_nothing_to_agree_with():
    with pytest.raises(MemdetectError, match="compares the images of a prompt with each other, and there is one"):
        agreement(drawn(2, 1, 2, 4, 4))


def clean_prompts(count: int = 30) -> tuple[torch.Tensor, tuple[str, ...]]:
    """Estimates of clean prompts [item seed ...] that have something in common, two prompts to a family."""
    return drawn(count, 2, 2, 4, 5, seed=3) + 0.8 * drawn(2, 4, 5, seed=4), tuple(f"f{i // 2}" for i in range(count))


def bank() -> Bank:
    return bank_of([cleans(*clean_prompts())])


def test_specificity_is_the_formula_worked_out_pair_by_pair():
    """1.5e-3: the bank is kept in half precision."""
    own, (others, families) = drawn(4, 3, 2, 4, 5, seed=5) + 0.5 * drawn(2, 4, 5, seed=4), clean_prompts()
    ours = ("f0", "elsewhere", "f3", "f14")
    found = specificity(bank()).score(cleans(own, ours))
    for item, seeds in enumerate(own):
        within = np.mean([correlation(seeds[i], seeds[j]) for i, j in ((0, 1), (0, 2), (1, 2))])
        across = [
            np.mean([correlation(a, b) for a in seeds for b in other])
            for other, family in zip(others, families, strict=True)
            if family != ours[item]
        ]
        assert len(across) == (30 if ours[item] == "elsewhere" else 28)
        nearest = np.mean(sorted(across)[-10:])
        expected = math.log((1 - nearest + 0.02) / (1 - within + 0.02))
        np.testing.assert_allclose(found[item], [expected] * 3, atol=1.5e-3)


def test_an_own_family_is_left_out_or_a_prompt_would_be_unspecific_to_itself():
    estimates, families = clean_prompts()
    estimates[4:6] = drawn(2, 4, 5, seed=6)  # a memorized family in the bank
    detector = specificity(bank_of([cleans(estimates, families)]))
    of = [detector.score(cleans(estimates[4:5], (family,)))[0, 0].item() for family in ("f2", "another")]
    assert of[0] > of[1] + 0.1
    unnamed = detector.score(cleans(estimates[4:5]))[0, 0].item()
    assert unnamed == pytest.approx(of[1])


def test_a_bank_of_another_size_is_refused():
    with pytest.raises(MemdetectError, match="holds pictures of 40 numbers, this run makes 32; calibrate with images"):
        specificity(bank()).score(cleans(drawn(1, 2, 2, 4, 4), ("x",)))


def test_where_few_other_families_are_left_these_are_the_nearest():
    estimates, _ = clean_prompts(24)
    families = ("large",) * 20 + ("a", "b", "c", "d")
    detector = specificity(bank_of([cleans(estimates, families)]))
    found = detector.score(cleans(estimates[:2], ("large", "large")))
    fewer = bank_of([cleans(estimates, families)])
    only = Bank(families[20:], fewer.pictures[20:], fewer.ways)
    torch.testing.assert_close(found, specificity(only).score(cleans(estimates[:2], ("large", "large"))))
    assert found.isfinite().all()
    alone = Bank(("large",) * 24, fewer.pictures, fewer.ways)
    assert specificity(alone).score(cleans(estimates[:1], ("large",))).isnan().all()


def test_a_banks_vectors_give_the_mean_over_all_pairs_of_seeds():
    others, _ = clean_prompts(20)
    kept = bank_of([cleans(others, tuple("abcdefghijklmnopqrst"))]).pictures.float()
    picture = drawn(2, 4, 5, seed=8)
    for row, seeds in zip(kept, others, strict=True):
        expected = np.mean([correlation(picture, other) for other in seeds])
        assert float(unit_pictures(picture) @ row) == pytest.approx(expected, abs=1e-3)


def test_specificity_of_seeds_that_agree_like_the_bank_is_zero_and_has_its_ends():
    one = WAVES[None, None]  # a picture of two channels
    same = one.expand(1, 2, 2, 4, 4)
    alike = Bank(tuple("abcdefghij"), unit_pictures(one[0]).expand(10, -1).half(), torch.zeros(2, 1))
    away = Bank(alike.families, -alike.pictures, alike.ways)
    assert specificity(alike).score(cleans(same))[0, 0].item() == pytest.approx(0, abs=0.02)
    assert specificity(away).score(cleans(same))[0, 0].item() == pytest.approx(math.log(2.02 / 0.02), abs=0.02)
