"""Which of several processes this one is: as told, else as Slurm, torchrun or Kubernetes say in the environment."""

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from memdetect.cli.terminal import say
from memdetect.cli.workers import end_with_parent, is_worker
from memdetect.errors import Exit, MemdetectError
from memdetect.inputs.options import Sharing
from memdetect.inputs.ranks import rank_of


def placed(asked: Sharing, environment: Mapping[str, str]) -> tuple[Sharing, str]:
    """The options with rank and world, and a line on where they were taken from; "" for a process alone.

    Raises MemdetectError where only one of them is known, and for a rank outside of the world.
    """
    if asked.workers is not None:
        if asked.rank is not None or asked.world is not None:
            raise MemdetectError("--workers starts processes that share the run; leave out --rank and --world")
        return asked, ""
    found = rank_of(asked.rank, asked.world, environment, shared=True)
    if not found.source:
        return asked, ""
    line = f"rank {found.rank} of {found.world}, by {found.source}"
    return replace(asked, rank=found.rank, world=found.world), line


def check_share(run: Any, sharing: Sharing) -> None:
    """Raise MemdetectError (inconclusive) where a run (`RunFolder`) lacks shards of this process's own share."""
    from memdetect.runs.sharding import Rank

    rank, sharding = Rank(*sharing.place), run.header().sharding
    if left := sum(rank.owns(number) for number in run.todo(sharding)):
        own = sum(rank.owns(number) for number in range(sharding.count))
        said = f"{left} of {own} shards of its share are missing; run the same command again"
        raise MemdetectError(said, Exit.INCONCLUSIVE)


def shared(asked: Sharing) -> Sharing:
    """The same of this process, said on stderr; one that another of this command started ends with that."""
    found, said = placed(asked, os.environ)
    if said:
        say(said)
    if is_worker():
        end_with_parent()
    return found
