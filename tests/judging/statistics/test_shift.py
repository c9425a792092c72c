"""The bulk of p-values: quiet for clean prompts, loud for shifted ones, in both directions."""

import numpy as np
import pytest

from memdetect.judging.statistics.shift import all_below, bulk_check


def warnings(shift: float, draws: int, seed: int, n: int = 750, m: int = 300) -> int:
    rng, count = np.random.default_rng(seed), 0
    for _ in range(draws):
        reference = np.sort(rng.normal(size=n))
        ranks = 1 + n - np.searchsorted(reference, rng.normal(shift, 1, m), side="left")
        count += any(check.shifted for check in bulk_check([(int(c), n) for c in ranks]))
    return count


def test_clean_prompts_raise_no_warning():
    """Design 19."""
    assert warnings(0.0, 300, 0) <= 4


@pytest.mark.parametrize("shift", [0.8, -0.8])
def test_shifted_prompts_raise_it_either_way(shift):
    """Design 19. Mutant: a one-sided check misses the prompts that score lower, where finding none proves nothing."""
    assert warnings(shift, 100, 1) >= 90


def test_the_check_by_hand():
    """n = 19, 8 prompts: a = 10 / 20; all eight at or below: z = .5 / sqrt(.25 (1/8 + 1/21))."""
    half, tenth = bulk_check([(10, 19)] * 8)
    assert (half.level, half.share, half.z) == pytest.approx((0.5, 1.0, 0.5 / (0.25 * (1 / 8 + 1 / 21)) ** 0.5))
    assert (tenth.level, tenth.share) == (0.1, 0.0)
    assert bulk_check([]) == ()


def test_strata_are_added_up():
    one = bulk_check([(c, 199) for c in range(1, 201)])
    two = bulk_check([(c, 199) for c in range(1, 201)] + [(c, 399) for c in range(1, 401)])
    assert one[0].z == pytest.approx(0, abs=1e-9)
    assert two[0].z == pytest.approx(0, abs=1e-9)


def test_all_below_needs_enough_prompts():
    assert not all_below([(100, 99)])
    assert not all_below([(100, 99), (100, 99)])
    assert all_below([(100, 99)] * 3)
    assert not all_below([*[(100, 99)] * 3, (99, 99)])
    assert not all_below([])
