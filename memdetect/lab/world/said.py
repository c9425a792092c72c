"""Whether pictures that agree by nature mislead: what detectors tell, by whether a caption says all places.

Nothing is chosen here: a detector is read at its own place, so that all labelled prompts of a world may report.
"""

from collections.abc import Iterator, Mapping, Sequence

from memdetect.errors import MemdetectError
from memdetect.evaluation.estimates import Sample, estimate
from memdetect.evaluation.power import Realised, realised
from memdetect.judging.statistics.conformal import rank, rank_at
from memdetect.runs.records import Measurement

LEVEL = 0.05
PAIRS = (("duplicated", "control"), ("dose-response", "control"), ("verbatim", "verbatim-control"))
CLEAN = ("seen", "unseen")
EMBLEM, TITLE, SAID, UNSAID = "emblem", "title", "places said", "places not said"
SHOWN = "shown-emblem"
KINDS = (UNSAID, SAID, EMBLEM, TITLE)

Rows = Sequence[Measurement]


def kind_of(row: Measurement) -> str:
    """Of which kind a prompt of a world is: what fixes how much its pictures differ between seeds."""
    if row.meta.get("group") in (EMBLEM, SHOWN):
        return EMBLEM
    if row.meta.get("kind") == "clip art":
        return TITLE
    return SAID if row.meta.get("said") else UNSAID


def rate(scores: Sequence[float], reference: Sequence[float], level: float = LEVEL) -> Realised | None:
    """How many of the scores have a p-value of at most `level` among the reference scores; None where none can have."""
    ordered = sorted(reference)
    if not scores or not rank_at(len(ordered), level):
        return None
    return realised([rank(ordered, score) for score in scores], len(ordered), level)


def tables(labelled: Rows, clean: Rows, reference: Rows) -> Iterator[str]:
    """Lines: AUROC of labelled groups against their controls by kind, then what of the clean prompts is flagged.

    labelled, clean: of runs of a world's prompt files; reference: of the calibration's run. Raises MemdetectError where
    they have no detector in common.
    """
    runs = (labelled, clean, reference)
    names = [name for name in labelled[0].scores if all(name in rows[0].scores for rows in runs)] if all(runs) else []
    if not names:
        raise MemdetectError("these runs have no detector in common; scan and calibrate with the same ones")
    ranked = [row for row in reference if row.meta.get("part") != "tuning"]
    for name in names:
        yield name
        yield from _separations(labelled, name)
        yield from _emblems(labelled, [*clean, *reference], name)
        yield from _by_nature(clean, name)
        yield from _rates(clean, ranked, name)


def _separations(rows: Rows, name: str) -> Iterator[str]:
    for positive, rival in PAIRS:
        for kind in ("", *KINDS):
            own = [row for row in rows if not kind or kind_of(row) == kind]
            samples = _sample(own, (positive,), name), _sample(own, (rival,), name)
            if all(samples):
                of = f", {kind}" if kind else ""
                sizes = f"{len(samples[0])} and {len(samples[1])}"
                yield f"  AUROC {positive} against {rival}{of}: {estimate(*samples)} ({sizes})"


def _emblems(rows: Rows, clean: Rows, name: str) -> Iterator[str]:
    """Emblems that were shown again and again against those that never were: all of them leave one picture."""
    samples = _sample(rows, (SHOWN,), name), _sample(clean, (EMBLEM,), name)
    if all(samples):
        sizes = f"{len(samples[0])} and {len(samples[1])}"
        yield f"  AUROC {SHOWN} against clean {EMBLEM}: {estimate(*samples)} ({sizes})"


def _by_nature(clean: Rows, name: str) -> Iterator[str]:
    """What pictures score that are fixed by their caption, and that nobody memorized.

    Near .50 a detector does not react to that, or the model does not do as captions say.
    """
    own = {kind: _sample([row for row in clean if kind_of(row) == kind], (*CLEAN, EMBLEM), name) for kind in KINDS}
    for kind in (SAID, EMBLEM):
        if own[kind] and own[UNSAID]:
            yield f"  AUROC of clean, {kind}, against clean, {UNSAID}: {estimate(own[kind], own[UNSAID])}"


def _rates(clean: Rows, reference: Rows, name: str) -> Iterator[str]:
    scores, references = _by_kind(clean, name), _by_kind(reference, name)
    everything = [score for kind in KINDS for score in references[kind] if kind != TITLE]
    for kind in KINDS:
        for among, others in (("all scenes and emblems", everything), ("its kind", references[kind])):
            if found := rate(scores[kind], others):
                yield f"  clean, {kind}, ranked among {among}: {found}"


def _by_kind(rows: Rows, name: str) -> Mapping[str, list[float]]:
    kept: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for row in rows:
        if (score := row.scores[name].score) is not None:
            kept[kind_of(row)].append(score)
    return kept


def _sample(rows: Rows, groups: Sequence[str], name: str) -> Sample:
    own = [row for row in rows if row.meta.get("group") in groups and row.scores[name].score is not None]
    return Sample(
        [float(score) for row in own if (score := row.scores[name].score) is not None],
        [str(row.meta.get("family") or row.id) for row in own],
    )
