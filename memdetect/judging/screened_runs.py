"""What the screen of a run on disk is known to keep."""

from collections.abc import Sequence
from pathlib import Path

from memdetect.errors import MemdetectError
from memdetect.judging.screen_recall import KEPT, Asked, Recall, asked_of, read_recall, recall_for
from memdetect.runs.folder import RunFolder
from memdetect.runs.header import Header
from memdetect.runs.screen import FOLDER


def known_of(runs: Sequence[tuple[Path, Header]], file: Path | None = None) -> tuple[Recall, Asked] | None:
    """What the screen of a run is known to keep, and the screen that it has to be of; None where nothing is known.

    file: instead of the run's own. Raises MemdetectError (usage) for a file of another screen or for a run that has
    none, and for several runs of which one was screened.
    """
    screened = [folder for folder, header in runs if header.screen]
    if screened and len(runs) > 1:
        raise MemdetectError(
            f"{screened[0]} was screened, and a screened run is judged alone; judge the runs one by one"
        )
    if not screened:
        if file is not None:
            raise MemdetectError(
                f"no prompt of {runs[0][0]} was only screened, so that {file} says nothing; leave it out"
            )
        return None
    (folder, header) = runs[0]
    if not (folder / FOLDER / "run.json").is_file():
        return None  # said by what was altered
    asked = asked_of(header, RunFolder(folder / FOLDER).header())
    if file is not None:
        return recall_for(file, asked), asked
    return (read_recall(folder / KEPT), asked) if (folder / KEPT).exists() else None
