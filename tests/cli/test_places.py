"""Which of several processes this one is, as launchers say it."""

import pytest

from memdetect.cli.places import placed
from memdetect.errors import MemdetectError
from memdetect.inputs.options import Sharing

SLURM = {"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_MIN": "5", "SLURM_ARRAY_TASK_COUNT": "4"}


@pytest.mark.parametrize(
    ("asked", "environment", "place", "said"),
    [
        ({}, {}, (None, None), ""),
        ({}, {"WORLD_SIZE": "4"}, (None, None), ""),
        ({"rank": 1, "world": 3}, SLURM, (1, 3), "rank 1 of 3, by --rank"),
        ({}, SLURM, (2, 4), "rank 2 of 4, by SLURM_ARRAY_TASK_ID"),
        ({}, {**SLURM, "RANK": "0", "WORLD_SIZE": "9"}, (2, 4), "rank 2 of 4, by SLURM_ARRAY_TASK_ID"),
        ({}, {**SLURM, "SLURM_ARRAY_TASK_STEP": "2"}, (1, 4), "rank 1 of 4, by SLURM_ARRAY_TASK_ID"),
        ({}, {**SLURM, "SLURM_ARRAY_TASK_ID": "10"}, (1, 4), "rank 1 of 4, by SLURM_ARRAY_TASK_ID"),
        ({}, {"RANK": "3", "WORLD_SIZE": "4"}, (3, 4), "rank 3 of 4, by RANK"),
        ({"world": 2}, {"JOB_COMPLETION_INDEX": "1"}, (1, 2), "rank 1 of 2, by JOB_COMPLETION_INDEX"),
    ],
)
def test_a_place_is_taken_from_what_is_told(asked: dict, environment: dict, place: tuple, said: str) -> None:
    found, line = placed(Sharing(**asked), environment)
    assert (found.rank, found.world) == place
    assert line == said


@pytest.mark.parametrize(
    ("asked", "environment", "said"),
    [
        ({}, {"JOB_COMPLETION_INDEX": "1"}, "JOB_COMPLETION_INDEX says rank 1, and not of how many; give --world"),
        ({"rank": 1}, {}, "--rank says rank 1, and not of how many; give --world"),
        ({"world": 2}, {}, "--world is 2, and neither --rank nor the environment says which process this is"),
        ({"rank": 2, "world": 2}, {}, "rank 2 of 2, expected a rank from 0 to 1"),
        ({}, {"RANK": "-1", "WORLD_SIZE": "2"}, "RANK is '-1', expected a whole number; unset it"),
        ({"workers": 2, "rank": 0}, {}, "leave out --rank and --world"),
    ],
)
def test_half_a_place_is_asked_for_in_one_line(asked: dict, environment: dict, said: str) -> None:
    with pytest.raises(MemdetectError) as told:
        placed(Sharing(**asked), environment)
    assert said in str(told.value)
