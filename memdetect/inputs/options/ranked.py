"""Which share of the work a process takes, where several do it."""

from dataclasses import dataclass
from typing import ClassVar

from memdetect.inputs.options.shared import RankNumber, World
from memdetect.inputs.ranks import Rank, rank_of


@dataclass(frozen=True, slots=True)
class Ranked:
    """One of several processes. None of both = as a Slurm array, RANK and WORLD_SIZE say, else all of the work."""

    panel: ClassVar[str] = "Machines"
    rank: RankNumber = None
    world: World = None

    @property
    def found(self) -> Rank:
        """The rank. Raises MemdetectError (usage) for one that is not to be had."""
        return rank_of(self.rank, self.world)
