"""Rank and world from options and from the variables of Slurm, torchrun and Kubernetes."""

import pytest

from memdetect.errors import MemdetectError
from memdetect.inputs.ranks import Rank, rank_of

ARRAY = {"SLURM_ARRAY_TASK_ID": "12", "SLURM_ARRAY_TASK_MIN": "10", "SLURM_ARRAY_TASK_COUNT": "4"}
TORCH = {"RANK": "1", "WORLD_SIZE": "8"}


@pytest.mark.parametrize(
    ("given", "environment", "expected"),
    [
        ((None, None), {}, Rank(0, 1, "")),
        ((None, 1), {}, Rank(0, 1, "")),
        ((3, 4), {}, Rank(3, 4, "--rank")),
        ((0, 1), TORCH, Rank(0, 1, "--rank")),
        ((None, None), ARRAY, Rank(2, 4, "SLURM_ARRAY_TASK_ID")),
        ((None, 9), ARRAY, Rank(2, 9, "SLURM_ARRAY_TASK_ID")),
        ((None, None), {**ARRAY, "SLURM_ARRAY_TASK_STEP": "2"}, Rank(1, 4, "SLURM_ARRAY_TASK_ID")),
        ((None, None), {**ARRAY, **TORCH}, Rank(2, 4, "SLURM_ARRAY_TASK_ID")),
        ((None, None), {"SLURM_ARRAY_TASK_ID": "3"}, Rank(0, 1, "")),
        ((None, None), TORCH, Rank(1, 8, "RANK")),
        ((None, 2), {"RANK": "1"}, Rank(1, 2, "RANK")),
        ((None, None), {"RANK": "", "WORLD_SIZE": ""}, Rank(0, 1, "")),
        ((None, 5), {"JOB_COMPLETION_INDEX": "4"}, Rank(4, 5, "JOB_COMPLETION_INDEX")),
        ((None, None), {"JOB_COMPLETION_INDEX": "4"}, Rank(0, 1, "")),
    ],
)
def test_what_is_given_comes_before_the_environment(given, environment, expected):
    assert rank_of(*given, environment) == expected
    assert expected.whole == (expected.world == 1)


@pytest.mark.parametrize(
    ("given", "environment", "said"),
    [
        ((1, None), {}, "give --world"),
        ((2, 2), {}, "rank 2 (by --rank) is none of 2, expected 0 to 1"),
        ((None, 3), {}, "--world 3 is given and no rank"),
        ((None, 4), {"JOB_COMPLETION_INDEX": "4"}, "rank 4 (by JOB_COMPLETION_INDEX)"),
        ((None, None), {**TORCH, "RANK": "one"}, "RANK is 'one', expected a number from 0"),
        ((None, None), {**TORCH, "RANK": "-1"}, "RANK is '-1'"),
        ((None, None), {**ARRAY, "SLURM_ARRAY_TASK_ID": "40"}, "rank 30 (by SLURM_ARRAY_TASK_ID)"),
        ((None, None), {**ARRAY, "SLURM_ARRAY_TASK_ID": "11", "SLURM_ARRAY_TASK_STEP": "2"}, "no step of 2 from 10"),
    ],
)
def test_a_rank_that_cannot_be_is_refused(given, environment, said):
    with pytest.raises(MemdetectError) as caught:
        rank_of(*given, environment)
    assert said in str(caught.value)
