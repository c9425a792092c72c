"""Which share of the work is this process's? From --rank and --world, or from what a cluster's scheduler sets."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from memdetect.errors import MemdetectError

SLURM = ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_COUNT", "SLURM_ARRAY_TASK_STEP")
TORCH = ("RANK", "WORLD_SIZE")
KUBERNETES = "JOB_COMPLETION_INDEX"


@dataclass(frozen=True, slots=True)
class Rank:
    """One of `world` processes that share the work: its number, from 0, and what said so ("" = nothing did)."""

    rank: int
    world: int
    source: str

    @property
    def whole(self) -> bool:
        """Whether the work is this process's alone."""
        return self.world == 1


def rank_of(
    rank: int | None = None,
    world: int | None = None,
    environment: Mapping[str, str] = os.environ,
    *,
    shared: bool = False,
) -> Rank:
    """The process's rank: what was given, else what the environment says, else 0 of 1.

    Read are, in this order: a Slurm array (the task's number from the array's smallest, in its steps, and how many
    tasks), RANK and WORLD_SIZE, and JOB_COMPLETION_INDEX, which Kubernetes sets, with `world`. A given `world`
    stands in the place of the environment's. shared: of work that whoever is there does whole, so that a rank of the
    environment may be any, as in an array with gaps, and counts modulo the world; one that is told without a world is
    refused, not left out. Raises MemdetectError (usage) for a rank without a world, and for a rank outside of it.
    """
    number, size, source = _told(environment, world, shared) if rank is None else (rank, world, "--rank")
    if number is None:
        if world not in (None, 1):
            raise MemdetectError(
                f"--world {world} is given and no rank: --rank is not, "
                f"nor is {SLURM[0]}, {TORCH[0]} or {KUBERNETES} set"
            )
        return Rank(0, 1, "")
    if size is None:
        raise MemdetectError(f"{source} says rank {number}, and not of how many; give --world")
    return _within(number % size if shared and rank is None else number, size, source)


Found = tuple[int | None, int | None, str]


def _told(environment: Mapping[str, str], world: int | None, shared: bool) -> Found:
    """Rank, world and the variable that says so; None where there is none, or, unless shared, where one is missing."""
    for read in (_slurm, _torch, _kubernetes):
        found = read(environment, world, shared)
        if found[0] is not None and (shared or found[1] is not None):
            return found
    return None, None, ""


def _slurm(environment: Mapping[str, str], world: int | None, shared: bool) -> Found:
    task, least, count = (_number(environment, name) for name in SLURM[:3])
    if task is None or (not shared and (least is None or count is None)):
        return None, None, ""
    step, past = max(_number(environment, SLURM[3]) or 1, 1), task - (least or 0)
    if past % step and not shared:
        raise MemdetectError(f"{SLURM[0]} is {task}, which is no step of {step} from {least}; give --rank and --world")
    return past // step, world or count, SLURM[0]


def _torch(environment: Mapping[str, str], world: int | None, _shared: bool) -> Found:
    rank, size = (_number(environment, name) for name in TORCH)
    return (None, None, "") if (world or size) is None else (rank, world or size, TORCH[0])


def _kubernetes(environment: Mapping[str, str], world: int | None, _shared: bool) -> Found:
    return _number(environment, KUBERNETES), world, KUBERNETES


def _number(environment: Mapping[str, str], name: str) -> int | None:
    """A variable as a number, None where it is not set or empty. MemdetectError (usage) for anything else."""
    text = environment.get(name, "").strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise MemdetectError(f"{name} is {text!r:.40}, expected a number from 0; unset it, or give --rank and --world")
    return int(text)


def _within(rank: int, world: int, source: str) -> Rank:
    if not 0 <= rank < world:
        raise MemdetectError(
            f"rank {rank} (by {source}) is none of {world}, expected 0 to {world - 1}; correct --rank or --world"
        )
    return Rank(rank, world, source)


def processors() -> int:
    """How many processors this process may use: those of its Slurm job or container, where it has but some of them."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1
