"""The close of a run: its rows judged, results.jsonl and the sheet of pairs written, by whoever sees nothing left."""

from memdetect.copies.matching import Evidence
from memdetect.errors import Exit, MemdetectError
from memdetect.judging import judge
from memdetect.judging.calibration import Calibration
from memdetect.judging.integrity import altered, shard_digests
from memdetect.judging.run import Run
from memdetect.runs.folder import RunFolder
from memdetect.runs.header import Header
from memdetect.runs.policy import Policy
from memdetect.runs.records import Measurement
from memdetect.scanning.contact_sheet import write_pairs


def seen_from_here(row: Measurement, evidence: Evidence) -> Measurement:
    """An item with the paths of its training images seen from the present working folder, not a former one."""
    folder = str(evidence.index.folder)
    paths = [evidence.index.row(match.row).seen_from(folder) for match in row.matches]
    if paths == [match.path for match in row.matches]:
        return row
    moved = [m.model_copy(update={"path": path}) for m, path in zip(row.matches, paths, strict=True)]
    return row.model_copy(update={"matches": moved})


def closed(
    folder: RunFolder,
    header: Header,
    calibration: Calibration | None,
    policy: Policy,
    evidence: Evidence | None,
    *,
    interrupted: bool,
) -> Run:
    """The run in a folder, judged; its results and its sheet of pairs are written, unless it was interrupted."""
    rows = list(folder.measurements())  # those of a scan that was resumed may come from another working folder
    found = (seen_from_here(row, evidence) for row in rows) if evidence else rows
    changed = altered(folder, header, rows, shard_digests(folder))
    made, verdict = judge(header, found, calibration, policy, altered=changed)
    results = list(made)
    if not interrupted:
        if verdict.measured != header.planned:
            raise MemdetectError(
                f"{folder.path} holds {verdict.measured} of {header.planned} items; run the same command again",
                Exit.ERROR,
            )
        folder.write_results(results)
        write_pairs(folder.path, results)
    folder.send()
    return Run(folder.path, header, results, verdict, interrupted)
