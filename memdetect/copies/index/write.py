"""The files of an index: vectors and rows, then the threshold, planted copies and the manifest."""

from dataclasses import dataclass, fields, replace
from pathlib import Path

from memdetect import __version__
from memdetect.copies.index.calibrate import Copies, Reference, Trial, held_out, leave_one_out, threshold, trusted
from memdetect.copies.index.distinct import Pictures
from memdetect.copies.index.draft import Draft, choose_factory, write_faiss
from memdetect.copies.index.embed_files import Intake
from memdetect.copies.index.embedder_protocol import Embeds, codes_of
from memdetect.copies.index.feeds import WHOLE, Feed
from memdetect.copies.index.fields import Part
from memdetect.copies.index.manifest import (
    BINARY,
    CODES,
    ENTRIES,
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
    Tightened,
    file_sum,
)
from memdetect.copies.index.nearest import Index
from memdetect.copies.index.part import Parts
from memdetect.copies.index.recall import measured
from memdetect.copies.index.recall_check import Limits, planted
from memdetect.copies.index.rows import RowFile
from memdetect.copies.index.search import Engine, Searcher
from memdetect.copies.index.sources import listed
from memdetect.copies.index.tighten import Rooms
from memdetect.copies.index.views import AsTrained, as_trained
from memdetect.copies.pixels import CopyRule
from memdetect.errors import MemdetectError
from memdetect.files import write_atomic
from memdetect.inputs.options import Indexing
from memdetect.inputs.ranks import Rank

LEVEL = 1e-3
HELD_OUT = "held-out left out: "


@dataclass(frozen=True, slots=True)
class BuildOptions(Indexing):
    """How an index is built: what the command takes, and what it decides itself.

    rule: when pixels agree; None = the default. seed: of what is drawn at random. training_set_by: who says how large
    the training set is. engine: where FAISS runs, as for `open_index`; None = by system. rank: of several processes
    that each make a part of the index.
    """

    rule: CopyRule | None = None
    seed: int = 0
    training_set_by: str = "--training-set"
    engine: Engine | None = None
    rank: Rank = WHOLE

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
    """What the steps of a build share. base: the index that is appended to. listing: sha256 of all keys, of a part."""

    embedder: Embeds
    options: BuildOptions
    progress: Step
    planned: int
    base: Index | None
    listing: str = ""


@dataclass(frozen=True, slots=True)
class Told:
    """What is said of the training set: its size, and by whom."""

    size: int | None = None
    by: str = ""


def write(folder: Path, home: Path, feed: Feed, work: Work) -> None:
    """Write all files of an index into `folder`, the manifest last."""
    base, options, codes = work.base, work.options, codes_of(work.embedder)
    draft = Draft(folder, home, work.embedder.dim, codes.tiles if codes else 0, part=not options.rank.whole)
    squares = base.manifest.as_trained if base else options.squares
    intake = Intake(work.embedder, home, options.batch_size, options.max_pixels, squares)
    pictures, told = Pictures(), _told(work)
    if base:
        draft.take(base.folder, len(base))
        intake.skipped.update(base.manifest.skipped)
        intake.noted.update({k: n for k, n in base.manifest.noted.items() if not k.startswith(HELD_OUT)})
        intake.unseen = base.manifest.unseen
        pictures.count(base.rows)
    for batch in feed.batches(intake, options.rank):
        pictures.count(batch.rows)
        draft.add(batch.vectors, batch.rows, batch.entries)
        if told.size is not None and (found := pictures.more_than(told.size)):
            said = f"the training set is said to have {told.size} pictures, the index has {found} or more"
            raise MemdetectError(f"{said}; correct --training-set")
        work.progress(intake.seen, work.planned, "")
    draft.close()
    if not draft.count:
        raise MemdetectError(f"none of {intake.seen} images could be used; the first: {intake.first}")
    wanted = (options.factory or (base.manifest.factory if base else None)) if options.rank.whole else None
    factory, nprobe = choose_factory(
        draft.count, wanted or (None if options.rank.whole or codes else "Flat"), binary=codes is not None
    )
    work.progress(intake.seen, work.planned, f"{draft.count} images; writing the index ({factory}) and its threshold")
    searcher = Searcher(folder, draft.count, draft.dim, factory, nprobe, options.engine, max(draft.tiles, 1))
    write_faiss(folder, draft.count, draft.dim, factory, searcher.engine)
    copies = Copies(RowFile(folder / ROWS), folder, options.rule or CopyRule())
    trial = Trial(searcher, copies, work.embedder, pictures.first(), options.seed, pictures.ways())
    _finish(trial, intake, work, told)


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
    reference, parts, rooms = _reference(trial, work, intake)
    limit = threshold(reference, level, searcher.count, bool(options.held_out))
    tightened = rooms.tightened(level) if rooms else None
    trial = _strict(trial, tightened)
    crop = intake.as_trained.crop if intake.as_trained else "center"
    agreement = parts.agreement(bool(options.held_out))
    tried = options.planted if options.rank.whole else 0
    mild, geometry = planted(trial, Limits(limit.similarity, agreement), tried, parts, crop)
    values = ReferenceValues(similarity=reference[0], agreed=sorted(parts.values))
    write_atomic(folder / REFERENCE, values.model_dump_json() + "\n")
    stored: FileName = CODES if searcher.factory == BINARY else VECTORS
    named: list[FileName] = [stored, ROWS, REFERENCE]
    if searcher.factory not in ("Flat", BINARY):
        named.append(FAISS)
    if not options.rank.whole:
        named.append(ENTRIES)
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
        recall=measured(searcher, options.seed),
        part=_part(work),
        unseen=intake.unseen,
        tightened=tightened,
        files={name: file_sum(folder / name) for name in named},
    )
    write_atomic(folder / MANIFEST, manifest.sealed().text())


def _part(work: Work) -> Part | None:
    rank = work.options.rank
    return None if rank.whole else Part(rank=rank.rank, world=rank.world, listing=work.listing)


def _strict(trial: Trial, own: Tightened | None) -> Trial:
    """The trial by the index's own copy rule, if it has one."""
    copies = trial.copies
    return replace(trial, copies=Copies(copies.rows, copies.folder, copies.rule.strict(own.share))) if own else trial


def _reference(trial: Trial, work: Work, taken: Intake) -> tuple[Reference, Parts, Rooms | None]:
    """The reference values by the options; held-out images that cannot be used are counted in what `taken` noted."""
    options, copies, squares = work.options, trial.copies, taken.as_trained
    if not options.rank.whole:  # what merges the parts finds the threshold, among all rows
        return ([], 0), Parts(copies.image, copies.rule, 0), None
    planned = sum(1 for _ in listed(options.held_out)) if options.held_out else len(trial.chosen(options.null_queries))
    parts = Parts(copies.image, copies.rule, planned, trusted=options.trust, side=squares.size if squares else None)
    if not options.held_out:
        return leave_one_out(trial, options.null_queries, parts), parts, None
    intake = Intake(work.embedder, trial.copies.folder, options.batch_size, options.max_pixels, every=False)
    batches, rooms = intake.batches(listed(options.held_out)), Rooms(parts) if options.trust else None
    reference = trusted(trial, batches, [parts.add, rooms.add]) if rooms else held_out(trial, batches, parts)
    if sum(intake.skipped.values()) == intake.seen:
        raise MemdetectError(f"none of {intake.seen} held-out images could be used; the first: {intake.first}")
    taken.noted.update({f"{HELD_OUT}{reason}": number for reason, number in intake.skipped.items()})
    return reference, parts, rooms
