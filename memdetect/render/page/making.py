"""From run folders to what a page shows beside the results."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from memdetect.judging.calibration import Calibration
from memdetect.judging.ranks import ReferenceScores, Unranked, reference_scores
from memdetect.render.page.beside import Beside, Clean, Seen
from memdetect.render.page.choosing import chosen
from memdetect.render.shown import made_of, strata_of
from memdetect.runs.header import Header
from memdetect.runs.records import Result

HASHES = "this page was made without pictures (--evidence hash); it names the sha256 of each image"
NONE = "this page was made without pictures (--evidence none)"
REDACTED = "pictures are left out (--redact)"
SEVERAL = "runs that are judged as one are shown without pictures"
NO_PILLOW = "Pillow is not installed where this page was made, so that it holds no pictures"


def beside_of(
    header: Header, results: Sequence[Result], folders: Sequence[Path], evidence: str, calibration: Calibration | None
) -> Beside:
    """Pictures of findings and inconclusive items, clean scores and digests of runs; evidence: none, hash or thumbs."""
    found = reference_scores(header.plan, calibration)
    reference = None if isinstance(found, Unranked) else found
    stratum = strata_of(results, reference) if reference else ()
    seen, without = _seen(results, folders, evidence)
    files = [folder / "results.jsonl" for folder in folders]
    return Beside(
        seen=seen,
        clean=_clean(reference, set(stratum)) if reference else (),
        stratum=stratum,
        kinds=bool(reference and reference.novelties and not reference.strata),
        results=tuple(_sha256(file) for file in files if file.is_file()),
        evidence=evidence,
        without=without,
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _seen(results: Sequence[Result], folders: Sequence[Path], evidence: str) -> tuple[dict[int, Seen], str]:
    if evidence == "none":
        return {}, NONE
    if len(folders) != 1:
        return {}, SEVERAL
    try:
        from memdetect.render.page.pictures import Album
    except ImportError:
        return {}, NO_PILLOW
    album, shown = Album(folders[0], full=evidence != "thumbs"), chosen(results)
    wanted = made_of(results, [*shown.found, *shown.unsure], lambda row: row)
    return {row.index: album.seen(row) for row in wanted}, "" if evidence == "thumbs" else HASHES


def _clean(reference: ReferenceScores, present: set[str]) -> tuple[Clean, ...]:
    """Of what decides first, then of each other detector; of the strata that the run is ranked in."""
    plan = reference.plan
    strata = sorted(present & reference.by_stratum.keys()) or sorted(reference.by_stratum)
    made = [Clean("combined", True, {s: reference.by_stratum[s] for s in strata})]
    for name in [name for name in plan.detectors if len(plan.deciding) > 1 or name not in plan.deciding]:
        own = {s: scores for s in strata if (scores := reference.own(name, s)) is not None}
        if own:
            made.append(Clean(name, False, own))
    return tuple(made)
