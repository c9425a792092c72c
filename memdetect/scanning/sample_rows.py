"""The record of a prompt whose pictures were given: what they have in common, and which training images they repeat."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path

import numpy as np
from PIL import Image

from memdetect.copies.index import Embeds
from memdetect.copies.matching import Evidence
from memdetect.detectors.pictures import OF_PICTURES
from memdetect.errors import MemdetectError
from memdetect.files import write_atomic
from memdetect.inputs.folders import IMAGE_SUFFIXES
from memdetect.inputs.images import IN_PART, open_ways, said_ways
from memdetect.inputs.options import Lookup
from memdetect.inputs.samples import Samples
from memdetect.judging.kinds import Kinds
from memdetect.judging.telling import told_fields
from memdetect.probing import Decoded
from memdetect.runs.folder import RunFolder
from memdetect.runs.header import Header
from memdetect.runs.plan import RUN
from memdetect.runs.policy import Policy
from memdetect.runs.records import Measurement, Score
from memdetect.runs.sharding import numbered
from memdetect.scanning.measure import Indexed, Sampled, digest_of, unmeasured
from memdetect.scanning.soundness import checked
from memdetect.scanning.worker import Opened


@dataclass(frozen=True, slots=True)
class SampleOptions:
    """What a run of given pictures is told.

    maker: what made the pictures, in the user's words; clean and scanned ones come from the same. per_prompt: pictures
    of each prompt that are compared with each other, None = as many as most prompts have. combine: detectors that
    decide, () = both. strata: a column that p-values stay within. embedder: of the comparison; with an index its own.
    policy_file: of the policy, as seen from the root of its repository; "" = no file there.
    """

    maker: str
    per_prompt: int | None = None
    combine: tuple[str, ...] = ()
    strata: str = ""
    embedder: str = "auto"
    lookup: Lookup = field(default_factory=Lookup)
    policy: Policy = field(default_factory=Policy)
    policy_file: str = ""


@dataclass(frozen=True, slots=True)
class Desk:
    """Settings of a run, resolved. count: pictures of a prompt that are compared with each other."""

    options: SampleOptions
    count: int
    embedder: Embeds
    evidence: Evidence | None = None


@dataclass(frozen=True, slots=True)
class _Picture:
    path: Path
    image: Image.Image
    ways: tuple[Image.Image, ...]
    notes: tuple[str, ...]


def content_of(pictures: Sequence[Path]) -> str:
    """The sha256, in hex, over those of the pictures' files, in order. MemdetectError for one that cannot be read."""
    digests = [digest_of(path) for path in pictures]
    if lost := next((path for path, digest in zip(pictures, digests, strict=True) if not digest), None):
        raise MemdetectError(f"{str(lost)!r} cannot be read; give access to it, or leave it out")
    return hashlib.sha256(" ".join(digests).encode()).hexdigest()


def opened_samples(
    samples: Samples, desk: Desk, folder: RunFolder, header: Header, kinds: Kinds | None = None
) -> Opened:
    """An open run whose shards are pictures: opened and compared, and when they are finished, looked up and kept."""

    def step(shard: Sequence[Indexed], images: Path) -> Sampled:
        told = told_fields([request.prompt or "" for _, request in shard], kinds)
        made = [_row(item, samples.pictures[item[1].id], desk) for item in shard]
        rows = [(row.model_copy(update=fields), kept) for (row, kept), fields in zip(made, told, strict=True)]
        return Sampled(lambda: [_finished(row, kept, desk, images) for row, kept in rows], {})

    def lost(item: Indexed, reason: str) -> Measurement:
        row = unmeasured(item, reason)
        return row.model_copy(update={"sha256": content_of(samples.pictures[item[1].id])})

    return Opened(samples.requests.items, step, folder, header, lost)


def _row(item: Indexed, paths: Sequence[Path], desk: Desk) -> tuple[Measurement, list[_Picture]]:
    """The record of a prompt without its matches, and the pictures that could be opened, each once."""
    index, request = item
    opened = [_opened(path) for path in _distinct(paths)]
    kept = [picture for picture in opened if isinstance(picture, _Picture)]
    lost = [picture for picture in opened if isinstance(picture, str)]
    again, short = len(paths) - len(opened), len(kept) < desk.count
    notes = [*dict.fromkeys(note for picture in kept for note in picture.notes), *lost]
    notes += [f"{again} of {len(paths)} pictures are the very file of another: ask for each anew"] if again else []
    notes += [f"{len(kept)} different pictures could be opened, expected {desk.count}"] if short else []
    bad = short or bool(lost) or IN_PART in notes
    row = Measurement(
        index=index,
        id=request.id,
        prompt=request.prompt,
        source=request.source,
        line=request.line,
        sha256=content_of(paths),
        meta=dict(request.meta),
        scores={} if short else _scores(kept[: desk.count], desk.embedder),
        status="unreadable" if bad else "ok",
        notes=notes,
    )
    return row, kept


def _distinct(paths: Sequence[Path]) -> list[Path]:
    """The files whose bytes no file before has."""
    return list({digest_of(path) or str(path): path for path in reversed(paths)}.values())[::-1]


def _opened(path: Path) -> _Picture | str:
    try:
        first, *others = open_ways(path)
    except MemdetectError as problem:
        return str(problem)
    said = said_ways([first.way, *(other.way for other in others)])
    notes = (*first.notes, *((said,) if said else ()), *((IN_PART,) if first.in_part else ()))
    return _Picture(path, first.image, tuple(other.image for other in others), notes)


def _scores(pictures: Sequence[_Picture], embedder: Embeds) -> dict[str, Score]:
    """Of each detector the prompt's one value, for each picture."""
    images, (layer, place) = [picture.image for picture in pictures], RUN
    found: dict[str, Score] = {}
    for detector in OF_PICTURES:
        value = detector.score(images, embedder)
        kept = value if isfinite(value) else None
        found[detector.name] = Score(score=kept, cells={layer: {place: [kept] * len(images)}})
    return found


def _finished(row: Measurement, pictures: Sequence[_Picture], desk: Desk, images: Path) -> Measurement:
    """The record with its matches, once the pictures' files are kept in the run folder as they are."""
    seen = [Decoded(np.asarray(picture.image), finite=True) for picture in pictures]
    ways = {k: picture.ways for k, picture in enumerate(pictures)}
    images.mkdir(parents=True, exist_ok=True)
    names = [f"{numbered(row.index)}-{k}{_suffix(picture.path)}" for k, picture in enumerate(pictures)]
    for name, picture in zip(names, pictures, strict=True):
        write_atomic(images / name, picture.path.read_bytes())
    read = row.status
    row = checked(row, None, seen, desk.evidence, ways)
    searched = desk.evidence is None or {match.seed for match in row.matches} == set(range(len(pictures)))
    whole = read == "ok" and searched and not row.one_colour  # also of pictures beyond those that are compared
    status = row.status if whole or (read == "ok" and row.status != "ok") else "unreadable"
    return row.model_copy(update={"files": [f"images/{images.name}/{name}" for name in names], "status": status})


def _suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    return suffix if suffix in IMAGE_SUFFIXES else ""
