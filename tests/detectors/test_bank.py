"""A bank is written and read back to the bit, tells its settings apart, and a broken file is one line."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from hand_made import LAYERS, cleans, drawn, random_bank
from safetensors.torch import save_file

from memdetect.detectors import AGREEMENT, BUILT_IN, NEURONS, NOISE_GAP, SPECIFICITY, SPIKINESS, TRAJECTORY
from memdetect.detectors.agreement import AGREEMENT_FINAL
from memdetect.detectors.bank import Bank, bank_file, bank_of, read_bank, write_bank
from memdetect.detectors.choice import usual, with_bank
from memdetect.detectors.trajectory import WAY
from memdetect.errors import Exit, MemdetectError

PROMPTS = tuple(f"f{i}" for i in range(24))


def estimates(count: int = 24) -> torch.Tensor:
    return drawn(count, 2, 2, 4, 5)


def test_a_bank_holds_mean_unit_pictures_and_moments_of_the_ways():
    values = estimates()
    bank = bank_of([cleans(values[:10], PROMPTS[:10]), cleans(values[10:], PROMPTS[10:])])
    assert bank.families == PROMPTS
    assert bank.pictures.dtype == torch.float16
    for row, seeds in zip(bank.pictures, values.numpy().astype(float), strict=True):
        centred = [(s - s.mean(axis=(1, 2), keepdims=True)).ravel() for s in seeds]
        expected = np.mean([c / np.linalg.norm(c) for c in centred], axis=0)
        np.testing.assert_allclose(row, expected, atol=1e-3)
    lengths = np.sqrt((values.numpy().astype(float) ** 2).sum(axis=(2, 3, 4))).ravel()  # places at 0, 1 and 3 times
    expected = [[lengths.mean(), 2 * lengths.mean()], [lengths.std(), 2 * lengths.std()]]
    np.testing.assert_allclose(bank.ways, expected, rtol=1e-5)


@pytest.mark.filterwarnings("error")
def test_a_run_whose_early_step_is_its_first_has_no_ways_and_says_nothing_of_it():
    trace = cleans(estimates(), PROMPTS)
    trace.arrays[WAY, ""] = trace.arrays[WAY, ""][:1]
    bank = bank_of([trace])
    assert bank.ways.shape == (2, 0)
    assert bank.families == PROMPTS
    with pytest.raises(MemdetectError, match="trajectory compares 0 ways with 0, expected as many, at least one"):
        with_bank([TRAJECTORY], bank)[0].score(trace)


def test_a_prompt_that_is_not_finite_is_left_out_whole():
    values = estimates()
    values[3, 1, 0, 2, 2] = torch.nan
    values[5, 0] = 0.0  # one colour: a unit picture of nan
    trace, sound = cleans(values, PROMPTS), [i for i in range(24) if i not in (3, 5, 7)]
    trace.arrays[WAY, ""][2, 7, 1, 0, 0, 0] = torch.inf  # a place alone
    bank = bank_of([trace])
    expected = bank_of([cleans(values[sound], tuple(PROMPTS[i] for i in sound))])
    assert bank.families == expected.families
    assert bank.digest == expected.digest


def test_fewer_than_twenty_prompts_are_no_bank():
    with pytest.raises(MemdetectError, match="a bank of 19 clean prompts is too small; give at least 20") as caught:
        bank_of([cleans(estimates(19), PROMPTS[:19])])
    assert caught.value.exit is Exit.USAGE


def test_what_is_written_is_read(tmp_path):
    bank, path = random_bank(), bank_file(tmp_path / "calibration.json")
    assert path == tmp_path / "calibration.bank.safetensors"
    assert read_bank(path) is None
    write_bank(path, bank, "some settings")
    for settings in (None, "some settings"):
        found = read_bank(path, settings)
        assert found is not None
        assert (found.families, found.digest) == (bank.families, bank.digest)
        assert torch.equal(found.pictures, bank.pictures)
        assert torch.equal(found.ways, bank.ways)
        assert found.neurons.keys() == bank.neurons.keys() == set(LAYERS)
        assert all(torch.equal(found.neurons[layer], own) for layer, own in bank.neurons.items())
    assert read_bank(path, "others") is None


def test_a_digest_is_of_families_shapes_and_every_number():
    bank = random_bank()
    content = "\n".join(bank.families).encode() + b"(30, 24)" + bank.pictures.numpy().tobytes()
    content += b"(2, 2)" + bank.ways.numpy().tobytes()
    assert replace(bank, neurons={}).digest == hashlib.sha256(content).hexdigest()
    for layer in sorted(bank.neurons):
        content += f"neurons/{layer}(2, 7)".encode() + bank.neurons[layer].numpy().tobytes()
    assert bank.digest == hashlib.sha256(content).hexdigest()
    moved = bank.pictures.clone()
    moved[29, 23] += 0.01
    changed = [
        replace(bank, pictures=moved),
        replace(bank, ways=bank.ways * 1.0001),
        replace(bank, families=("x", *bank.families[1:])),
        replace(bank, neurons={**bank.neurons, LAYERS[0]: bank.neurons[LAYERS[0]] * 1.0001}),
        replace(bank, neurons={}),
    ]
    assert len({bank.digest, *(each.digest for each in changed)}) == 6
    assert bank.facts == {"digest": bank.digest, "prompts": 30, "numbers": 24}


def test_a_broken_file_is_one_line(tmp_path):
    whole, path = tmp_path / "whole.safetensors", tmp_path / "broken.safetensors"
    write_bank(whole, random_bank())
    tensors = {"pictures": random_bank().pictures}
    ways = {**tensors, "ways": random_bank().ways}
    broken = [
        lambda: path.write_bytes(whole.read_bytes()[:200]),
        lambda: path.write_bytes(b""),
        lambda: path.write_bytes(b"no bank\n" * 9),
        lambda: save_file(ways, path),
        lambda: save_file(ways, path, {"settings": "", "families": "{"}),
        lambda: save_file(tensors, path, {"settings": "", "families": "[]"}),
        lambda: save_file(ways, path, {"settings": "", "families": '["one"]'}),
        lambda: save_file(ways, path, {"settings": "", "families": "7"}),
    ]
    for make in broken:
        make()
        with pytest.raises(
            MemdetectError, match=r"broken\.safetensors is no bank of clean prompts .*calibrate again"
        ) as e:
            read_bank(path)
        assert "\n" not in str(e.value)


def test_a_bank_is_bound_to_the_detectors_that_compare_with_it_and_to_no_other():
    bank = random_bank()
    found = with_bank(BUILT_IN, bank)
    changed = [new.name for old, new in zip(BUILT_IN, found, strict=True) if new is not old]
    assert changed == [d.name for d in BUILT_IN if d.banked] == ["specificity", "trajectory", "neurons"]
    assert [replace(new, score=old.score) for old, new in zip(BUILT_IN, found, strict=True)] == list(BUILT_IN)
    assert with_bank((SPIKINESS, AGREEMENT), None) == (SPIKINESS, AGREEMENT)
    with pytest.raises(MemdetectError, match="detector 'neurons' compares with neurons, which this bank does not keep"):
        with_bank((NEURONS,), replace(bank, neurons={}))
    assert with_bank((TRAJECTORY,), replace(bank, neurons={}))[0] is not TRAJECTORY
    for detector in (SPECIFICITY, TRAJECTORY, NEURONS):
        with pytest.raises(MemdetectError, match=f"detector '{detector.name}' compares with a bank .*there is none"):
            with_bank((NOISE_GAP, detector), None)


def test_neurons_are_their_mean_and_deviation_over_prompts_of_one_seed():
    clean = cleans(estimates(20), PROMPTS[:20])
    seeds = clean.shape[1]
    values = {layer: drawn(1, 20, 1, 7, seed=k).expand(-1, -1, seeds, -1) for k, layer in enumerate(LAYERS)}
    arrays = {(NEURONS.needs[0], layer): own for layer, own in values.items()}
    bank = bank_of([replace(clean, arrays={**clean.arrays, **arrays})])
    assert bank.neurons.keys() == values.keys()
    for layer, own in values.items():
        rows = own[0, :, 0].double().numpy()
        np.testing.assert_allclose(bank.neurons[layer], [rows.mean(axis=0), rows.std(axis=0)], rtol=1e-4, atol=1e-6)
    assert bank_of([clean]).neurons == {}


@pytest.mark.parametrize(
    ("seeds", "options", "expected"),
    [
        (2, {"banked": True}, (SPECIFICITY, AGREEMENT, SPIKINESS)),
        (2, {"banked": False}, (AGREEMENT, SPIKINESS)),
        (1, {"banked": True}, (SPIKINESS,)),
        (4, {"banked": True, "early": False}, (AGREEMENT_FINAL, SPIKINESS)),
        (4, {"banked": True, "images": True}, (SPIKINESS,)),
    ],
)
def test_the_usual_detectors_are_those_that_the_settings_can_serve(seeds, options, expected):
    assert [d.name for d in usual(seeds, **options)] == [d.name for d in expected]


def test_a_bank_is_kept_as_it_is():
    with pytest.raises(AttributeError):
        random_bank().families = ()  # type: ignore[misc]
    assert isinstance(random_bank(), Bank)
