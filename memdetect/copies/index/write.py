"""The files of an index: vectors and rows, then the threshold, planted copies and the manifest."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np

from memdetect import __version__
from memdetect.copies.index.calibrate import Copies, Reference, Trial, held_out, leave_one_out, threshold
from memdetect.copies.index.draft import Draft, choose_factory, write_faiss
from memdetect.copies.index.embed_files import Intake
from memdetect.copies.index.embedder_protocol import Embeds, codes_of
from memdetect.copies.index.manifest import (
    BINARY,
    CODES,
    FAISS,
    MANIFEST,
    REFERENCE,
    ROWS,
    VECTORS,
    EmbedderName,
    FileName,
    Manifest,
    ReferenceValues,
    Step,
    file_sum,
)
from memdetect.copies.index.nearest import Index
from memdetect.copies.index.part import Parts
from memdetect.copies.index.recall_check import Limits, planted
from memdetect.copies.index.rows import Row, RowFile
from memdetect.copies.index.search import Engine, Searcher
from memdetect.copies.index.sources import Listed, listed
from memdetect.copies.index.views import AsTrained, as_trained
from memdetect.copies.pixels import CopyRule
from memdetect.errors import MemdetectError
from memdetect.files import write_atomic
from memdetect.inputs.options import Indexing

LEVEL = 1e-3
HELD_OUT = "held-out left out: "


@dataclass(frozen=True, slots=True)
class BuildOptions(Indexing):
    """How an index is built: what the command takes, and what it decides itself.

    rule: when pixels agree; None = the default. seed: of what is drawn at random. training_set_by: who says how large
    the training set is. engine: where FAISS runs, as for `open_index`; None = by system.
    """

    rule: CopyRule | None = None
    seed: int = 0
    training_set_by: str = "--training-set"
    engine: Engine | None = None

    @classmethod
    def of(cls, indexing: Indexing) -> "BuildOptions":
        """The same options, with the rest as usual."""
        return cls(**{each.name: getattr(indexing, each.name) for each in fields(Indexing)})

    @property
    def squares(self) -> AsTrained | None:
        """How training made squares, if it did. Raises MemdetectError for what does not say it."""
        return None if self.as_trained is None else as_trained(self.as_trained)


@dataclass(frozen=True, slots=True)
class Work:
    """What the steps of a build share. base: the index that is appended to."""

    embedder: Embeds
    options: BuildOptions
    progress: Step
    planned: int
    base: Index | None


@dataclass(frozen=True, slots=True)
class Told:
    """What is said of the training set: its size, and by whom."""

    size: int | None = None
    by: str = ""


def write(folder: Path, home: Path, entries: Iterator[Listed], work: Work) -> None:
    """Write all files of an index into `folder`, the manifest last."""
    base, options, codes = work.base, work.options, codes_of(work.embedder)
    draft = Draft(folder, home, work.embedder.dim, codes.tiles if codes else 0)
    squares = base.manifest.as_trained if base else options.squares
    intake = Intake(work.embedder, home, options.batch_size, options.max_pixels, squares)
    pictures = _Pictures()
    if base:
        draft.take(base.folder, len(base))
        intake.skipped.update(base.manifest.skipped)
        intake.noted.update({k: n for k, n in base.manifest.noted.items() if not k.startswith(HELD_OUT)})
        pictures.count(base.row(i) for i in range(len(base)))
    told = _told(work)
    for batch in intake.batches(entries):
        pictures.count(taken.row for taken in batch)
        draft.add(np.stack([taken.vector for taken in batch]), [taken.row for taken in batch])
        if told.size is not None and told.size < len(pictures.first):
            said = f"the training set is said to have {told.size} pictures, the index has {len(pictures.first)} or more"
            raise MemdetectError(f"{said}; correct --training-set")
        work.progress(intake.seen, work.planned, "")
    draft.close()
    if not draft.count:
        raise MemdetectError(f"none of {intake.seen} images could be used; the first: {intake.first}")
    factory, nprobe = choose_factory(
        draft.count, options.factory or (base.manifest.factory if base else None), binary=codes is not None
    )
    work.progress(intake.seen, work.planned, f"{draft.count} images; writing the index ({factory}) and its threshold")
    searcher = Searcher(folder, draft.count, draft.dim, factory, nprobe, options.engine, max(draft.tiles, 1))
    write_faiss(folder, draft.count, draft.dim, factory, searcher.engine)
    copies = Copies(RowFile(folder / ROWS), folder, options.rule or CopyRule())
    rows = np.fromiter(pictures.first.values(), np.int64, len(pictures.first))
    _finish(Trial(searcher, copies, work.embedder, rows, options.seed, pictures.ways()), intake, work, told)


@dataclass(slots=True)
class _Pictures:
    """Row of the first vector of each picture, by its file; and, by file, those of its further decodings, by way."""

    rows: int = 0
    first: dict[bytes, int] = field(default_factory=dict[bytes, int])
    others: dict[bytes, dict[str, int]] = field(default_factory=dict[bytes, dict[str, int]])

    def count(self, rows: Iterable[Row]) -> None:
        """Note the next rows of the index."""
        for row in rows:
            file = bytes.fromhex(row.sha256[:32])
            self.first.setdefault(file, self.rows)
            if row.decoded != "white":
                self.others.setdefault(file, {}).setdefault(row.decoded, self.rows)
            self.rows += 1

    def ways(self) -> dict[int, list[int]]:
        """First rows of further decodings, by the first row of their picture."""
        return {self.first[file]: list(ways.values()) for file, ways in self.others.items()}


def _told(work: Work) -> Told:
    options, base = work.options, work.base
    if options.training_set:
        return Told(options.training_set, options.training_set_by)
    return Told(base.manifest.training_set, base.manifest.training_set_by) if base else Told()


def _finish(trial: Trial, intake: Intake, work: Work, told: Told) -> None:
    """Calibrate, look up planted copies, and write reference similarities and the manifest."""
    searcher, options, embedder = trial.searcher, work.options, work.embedder
    folder = searcher.folder
    level = options.level or (work.base.manifest.threshold.level if work.base else LEVEL)
    reference, parts = _reference(trial, work, intake.noted)
    limit = threshold(reference, level, searcher.count, bool(options.held_out))
    crop = intake.as_trained.crop if intake.as_trained else "center"
    agreement = parts.agreement(bool(options.held_out))
    mild, geometry = planted(trial, Limits(limit.similarity, agreement), options.planted, crop)
    values = ReferenceValues(similarity=reference[0], agreed=sorted(parts.values))
    write_atomic(folder / REFERENCE, values.model_dump_json() + "\n")
    stored = CODES if searcher.factory == BINARY else VECTORS
    own: tuple[FileName, ...] = () if searcher.factory in ("Flat", BINARY) else (FAISS,)
    marks = {"name": embedder.name, "fingerprint": embedder.fingerprint, "dim": embedder.dim, "tiles": searcher.tiles}
    manifest = Manifest(
        memdetect=__version__,
        embedder=EmbedderName.model_validate(marks),
        count=searcher.count,
        pictures=len(trial.first),
        training_set=told.size,
        training_set_by=told.by,
        as_trained=intake.as_trained,
        factory=searcher.factory,
        nprobe=searcher.nprobe,
        skipped=dict(sorted(intake.skipped.items())),
        noted=dict(sorted(intake.noted.items())),
        threshold=limit,
        agreement=agreement,
        planted=mild,
        geometry=geometry,
        files={name: file_sum(folder / name) for name in (stored, ROWS, REFERENCE, *own)},
    )
    write_atomic(folder / MANIFEST, manifest.sealed().text())


def _reference(trial: Trial, work: Work, noted: Counter[str]) -> tuple[Reference, Parts]:
    """The reference values by the options; held-out images that cannot be used are counted in `noted`."""
    options, copies = work.options, trial.copies
    planned = sum(1 for _ in listed(options.held_out)) if options.held_out else len(trial.chosen(options.null_queries))
    parts = Parts(copies.image, copies.rule, planned)
    if not options.held_out:
        return leave_one_out(trial, options.null_queries, parts), parts
    intake = Intake(work.embedder, trial.copies.folder, options.batch_size, options.max_pixels, every=False)
    reference = held_out(trial, intake.batches(listed(options.held_out)), parts)
    if sum(intake.skipped.values()) == intake.seen:
        raise MemdetectError(f"none of {intake.seen} held-out images could be used; the first: {intake.first}")
    noted.update({f"{HELD_OUT}{reason}": number for reason, number in intake.skipped.items()})
    return reference, parts
