"""Damage leaves the scene where it is; the autoencoder's round trip is a function of its seed."""

import numpy as np
import torch
from scipy import ndimage

from memdetect.lab.training.damage import damage, round_trip
from memdetect.lab.training.parts import make_vae


def scene() -> np.ndarray:
    """A dark disc at (20, 44) on a light ground."""
    rows, cols = np.mgrid[0:64, 0:64]
    image = np.full((64, 64, 3), (240, 220, 90), np.uint8)
    image[(rows - 20) ** 2 + (cols - 44) ** 2 < 100] = (30, 40, 160)
    return image


def centre(image: np.ndarray) -> np.ndarray:
    """Of what differs most from the ground."""
    far = np.abs(ndimage.gaussian_filter(image.astype(float), (2, 2, 0)) - np.median(image, (0, 1))).sum(2)
    return np.array(ndimage.center_of_mass(np.where(far > 0.7 * far.max(), far, 0)))


def test_a_damaged_scene_stays_in_place():
    for seed in range(40):
        found = damage(np.random.default_rng(seed), scene())
        assert found.shape == (64, 64, 3)
        assert found.dtype == np.uint8
        assert np.abs(centre(found) - (20, 44)).max() < 7
        assert np.abs(np.median(found, (0, 1)) - (240, 220, 90)).max() < 45


def test_damage_is_a_function_of_its_draw_and_differs_between_draws():
    one, same, other = (damage(np.random.default_rng(s), scene()) for s in (3, 3, 4))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_the_input_is_not_written_to():
    image = scene()
    for seed in range(10):
        damage(np.random.default_rng(seed), image)
    np.testing.assert_array_equal(image, scene())


def test_a_round_trip_without_noise_is_the_autoencoder_and_noise_grows():
    torch.manual_seed(0)
    vae = make_vae().eval()
    images = np.stack([scene(), scene()[:, ::-1]])
    with torch.no_grad():
        values = torch.from_numpy(images.copy()).permute(0, 3, 1, 2).float() / 127.5 - 1
        plain = vae.decode(vae.encode(values).latent_dist.mode()).sample.clamp(-1, 1)
    expected = ((plain + 1) * 127.5).round().permute(0, 2, 3, 1).numpy()
    assert np.abs(round_trip(vae, images, 0, 0.0).astype(float) - expected).max() <= 1
    first, again, other = (round_trip(vae, images, s, 1.0) for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
