"""Which of several processes this one is: as told, else as Slurm, torchrun or Kubernetes say in the environment."""

from collections.abc import Mapping
from dataclasses import replace

from memdetect.errors import MemdetectError
from memdetect.inputs.options import Sharing
from memdetect.runs.sharding import Rank


def placed(asked: Sharing, environment: Mapping[str, str]) -> tuple[Sharing, str]:
    """The options with rank and world, and a line on where they were taken from; "" for a process alone.

    Raises MemdetectError where only one of them is known, and for a rank outside of the world.
    """
    if asked.workers is not None:
        if asked.rank is not None or asked.world is not None:
            raise MemdetectError("--workers starts processes that share the run; leave out --rank and --world")
        return asked, ""
    rank, world, source = asked.rank, asked.world, "--rank"
    if rank is None:
        found, size, source = _told(environment)
        rank, world = found, world or size
    if rank is None and world is None:
        return asked, ""
    if rank is None:
        raise MemdetectError(f"--world is {world}, and neither --rank nor the environment says which process this is")
    if world is None:
        raise MemdetectError(f"{source} says rank {rank}, and not of how many; give --world")
    if source != "--rank":
        rank %= world  # of an array with gaps
    Rank(rank, world)
    return replace(asked, rank=rank, world=world), f"rank {rank} of {world}, by {source}"


def _told(environment: Mapping[str, str]) -> tuple[int | None, int | None, str]:
    """Rank, world and the variable that says so."""
    if (task := _number(environment, "SLURM_ARRAY_TASK_ID")) is not None:
        first = _number(environment, "SLURM_ARRAY_TASK_MIN") or 0
        step = _number(environment, "SLURM_ARRAY_TASK_STEP") or 1
        rank = max(task - first, 0) // max(step, 1)
        return rank, _number(environment, "SLURM_ARRAY_TASK_COUNT"), "SLURM_ARRAY_TASK_ID"
    if (rank := _number(environment, "RANK")) is not None and "WORLD_SIZE" in environment:
        return rank, _number(environment, "WORLD_SIZE"), "RANK"
    return _number(environment, "JOB_COMPLETION_INDEX"), None, "JOB_COMPLETION_INDEX"


def _number(environment: Mapping[str, str], name: str) -> int | None:
    text = environment.get(name, "").strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit()):
        raise MemdetectError(f"{name} is {text!r:.40}, expected a whole number; unset it, or give --rank and --world")
    return int(text)
