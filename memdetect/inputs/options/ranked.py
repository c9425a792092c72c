"""Which share of the work a process takes, where several do it."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from typer import Option

from memdetect.inputs.ranks import Rank, rank_of


@dataclass(frozen=True, slots=True)
class Ranked:
    """One of several processes. None of both = as a Slurm array, RANK and WORLD_SIZE say, else all of the work."""

    panel: ClassVar[str] = "Machines"
    rank: Annotated[
        int | None,
        Option(
            "--rank", min=0, metavar="R", help="This process's number, from 0; else as the scheduler's variables say."
        ),
    ] = None
    world: Annotated[int | None, Option("--world", min=1, metavar="W", help="How many processes share the work.")] = (
        None
    )

    @property
    def found(self) -> Rank:
        """The rank. Raises MemdetectError (usage) for one that is not to be had."""
        return rank_of(self.rank, self.world)
