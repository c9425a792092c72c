"""The manifest of an index folder, and the check of every byte that stands before anything is opened.

The manifest names each other file with its size and sha256, and holds the digest of itself. That guards against damage
and mix-ups, not against someone who forges all of them together: open indexes only from those whose code you would run.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from memdetect.copies.index.fields import (
    Agreement,
    Count,
    EmbedderName,
    FileSum,
    Found,
    Part,
    Planted,
    Recall,
    Strict,
    Threshold,
    Tightened,
)
from memdetect.copies.index.views import AsTrained
from memdetect.errors import MemdetectError
from memdetect.files import did_you_mean, open_regular

SCHEMA = 4  # of an index with a field of FURTHER; the others are as they were in USUAL
USUAL = 3
MAX_BYTES = 2**24  # of a manifest, which has a few hundred
BLOCK = 2**22
FileName = Literal["vectors.f16", "codes.u8", "rows.jsonl", "nulls.json", "index.faiss", "entries.u64"]
MANIFEST = "manifest.json"
VECTORS: FileName = "vectors.f16"
CODES: FileName = "codes.u8"
ROWS: FileName = "rows.jsonl"
REFERENCE: FileName = "nulls.json"
FAISS: FileName = "index.faiss"
ENTRIES: FileName = "entries.u64"  # of a part: for each row the number of its image in the whole list
BINARY = "BinaryFlat"  # the factory of codes; all others are of vectors
Step = Callable[[int, int, str], None]  # (done, planned, note), as a progress bar takes it
FURTHER: dict[str, Any] = {
    "recall": None,
    "part": None,
    "unseen": 0,
    "tightened": None,
}  # fields that are absent at these values
LARGE = {"large"}  # the same of the limit of a part, absent at 0


class Manifest(Strict):
    """manifest.json. The same images under the same settings give the same text; nothing in it is a time.

    factory, nprobe: the FAISS index and how many of its lists a search visits. skipped: images left out, by reason;
    noted: changes made to images that were taken, by kind. count: vectors; pictures: distinct image files that they are
    of. training_set: how many distinct pictures the whole training set has, as far as is known; training_set_by: who
    says so, "" where it is not known. as_trained: how training made squares of pictures; None = the index holds them
    whole. geometry: by kind of change, what planted copies of that kind gave. recall: what an approximate search finds
    of what an exact one finds; None = the search is exact. part: which part of a training set this is; None = no part.
    unseen: rows of which the index has the embedding alone, and no picture. tightened: the copy rule by held-out images
    that are surely no copies; None = the usual rule. digest: sha256 of all other fields.
    """

    schema_version: int = USUAL
    memdetect: str
    embedder: EmbedderName
    count: int = Field(ge=1)
    pictures: int = Field(ge=1)
    training_set: int | None = Field(default=None, ge=1)
    training_set_by: str = ""
    as_trained: AsTrained | None = None
    factory: str
    nprobe: int = Field(ge=1)
    skipped: dict[str, Count] = Field(default_factory=dict[str, Count])
    noted: dict[str, Count] = Field(default_factory=dict[str, Count])
    threshold: Threshold
    agreement: Agreement
    planted: Planted
    geometry: dict[str, Found]
    recall: Recall | None = None
    part: Part | None = None
    unseen: Count = 0
    tightened: Tightened | None = None
    files: dict[FileName, FileSum]
    digest: str = ""

    @property
    def stored(self) -> FileName:
        """The file that holds the images as the embedder sees them."""
        return CODES if self.factory == BINARY else VECTORS

    @property
    def coverage(self) -> float | None:
        """Share of the training set's pictures that are in the index; None where its size is not known.

        A training set is at least as large as what is in the index and what could not be taken in.
        """
        there = self.pictures + sum(self.skipped.values())
        return self.pictures / max(self.training_set, there) if self.training_set else None

    def text(self) -> str:
        """The file's only valid content."""
        return json.dumps(self.model_dump(mode="json", exclude=self._absent), indent=1) + "\n"

    def sealed(self) -> "Manifest":
        """The manifest with its schema version and its digest."""
        version = USUAL if len(self._absent) == len(FURTHER) + 1 else SCHEMA
        held = self.model_copy(update={"schema_version": version})
        body = json.dumps(held.model_dump(mode="json", exclude={**self._absent, "digest": True}), sort_keys=True)
        return held.model_copy(update={"digest": hashlib.sha256(body.encode()).hexdigest()})

    @property
    def _absent(self) -> dict[str, Any]:
        absent: dict[str, Any] = {name: True for name, value in FURTHER.items() if getattr(self, name) == value}
        return absent if self.agreement.large else {**absent, "agreement": LARGE}


def former(folder: Path) -> Path:
    """Where an index lies while another one takes its place."""
    return folder.parent / f".{folder.name}.old"


def read_manifest(folder: Path) -> Manifest:
    """The manifest of an index folder, whole and unchanged; MemdetectError (usage) names what is wrong with it."""
    path = folder / MANIFEST
    if not folder.is_dir():
        if (old := former(folder)).is_dir():
            raise MemdetectError(f"a build of {str(folder)!r} was cut off, its index is {str(old)!r}; rename it")
        cure = f"{did_you_mean(folder)}check the path, or make one with index build"
        raise MemdetectError(f"there is no index folder {str(folder)!r}; {cure}")
    if not path.is_file():
        raise MemdetectError(f"{str(folder)!r} is no index: it has no {MANIFEST}; make one with index build")
    try:
        data = path.read_bytes() if path.stat().st_size <= MAX_BYTES else b""
        held = json.loads(data)
    except OSError as problem:
        raise MemdetectError(f"{str(path)!r} cannot be read ({problem.strerror}); give access to it") from None
    except (ValueError, RecursionError) as problem:
        raise _damaged(path, f"it does not parse ({' '.join(str(problem).split())})") from None
    version = held.get("schema_version") if isinstance(held, dict) else None
    if type(version) is not int:
        raise MemdetectError(f"{str(path)!r} is no manifest of an index; give a folder that index build made")
    if version not in (USUAL, SCHEMA):
        anew = f"build it again with memdetect index build SOURCES --out {folder}"
        made, advice = ("a newer", "update memdetect") if version > SCHEMA else ("an older", anew)
        raise MemdetectError(
            f"{str(path)!r} has schema {version}, made by {made} memdetect; "
            f"this one reads {USUAL} and {SCHEMA}: {advice}"
        )
    return _parsed(path, data)


def _parsed(path: Path, data: bytes) -> Manifest:
    try:
        manifest = Manifest.model_validate_json(data)
    except ValidationError as problem:
        first = problem.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "file"
        raise _damaged(path, f"{where}: {first['msg']}") from None
    if manifest.text().encode() != data or manifest.sealed() != manifest:
        raise _damaged(path, f"its digest is not that of its content (digest {manifest.digest[:12]!r})")
    return manifest


def verify(folder: Path, progress: Step | None = None) -> Manifest:
    """Read the manifest and every byte of every file that it names; returns it when all of them agree.

    Raises MemdetectError (usage) that names the file: one that is missing, of another size or content, or not named.
    """
    manifest = read_manifest(folder)
    _check_names(folder, manifest)
    total, done = sum(file.size for file in manifest.files.values()), 0
    for name, expected in manifest.files.items():
        found = (folder / name).stat().st_size
        if found != expected.size:
            raise _damaged(folder / name, f"{found:,} bytes, expected {expected.size:,}")
    for name, expected in manifest.files.items():
        if file_sum(folder / name).sha256 != expected.sha256:
            raise _damaged(folder / name, f"its sha256 is not the one in {MANIFEST}")
        done += expected.size
        if progress:
            progress(done, total, "")
    return manifest


def _check_names(folder: Path, manifest: Manifest) -> None:
    """Refuse files too many or too few, and sizes that do not fit the counts."""
    needed = {manifest.stored, ROWS, REFERENCE} | ({ENTRIES} if manifest.part else set[str]())
    needed |= {FAISS} if manifest.factory not in ("Flat", BINARY) else set[str]()
    each = (
        manifest.embedder.tiles * manifest.embedder.dim // 8 if manifest.stored == CODES else manifest.embedder.dim * 2
    )
    if set(manifest.files) != needed or manifest.files[manifest.stored].size != manifest.count * each:
        raise _damaged(folder / MANIFEST, f"it does not describe {manifest.count} vectors in {sorted(needed)}")
    found = {entry.name for entry in folder.iterdir()} - {MANIFEST}
    for name in sorted(needed - found):
        raise _damaged(folder / name, "the file is missing")
    for name in sorted(found - needed):
        raise MemdetectError(f"{str(folder / name)!r} does not belong to the index; remove it")
    for name in sorted(found):
        if not (folder / name).is_file():
            raise _damaged(folder / name, "it is no file")


def file_sum(path: Path) -> FileSum:
    """Size and sha256 of a file, read once from start to end. MemdetectError (usage) for one that cannot be read."""
    try:
        with open_regular(path) as file:
            digest = hashlib.file_digest(file, "sha256")
            return FileSum(size=file.tell(), sha256=digest.hexdigest())
    except OSError as problem:
        raise MemdetectError(f"{str(path)!r} cannot be read ({problem.strerror}); give access to it") from None


class ReferenceValues(Strict):
    """What images known not to be copies gave, ascending.

    similarity: of the nearest training image, by the embedder; agreed: the largest share of a training image near them
    that agrees.
    """

    similarity: list[float]
    agreed: list[float]


def read_reference(folder: Path) -> ReferenceValues:
    """The reference values of a verified folder; MemdetectError (usage) for what cannot be ranked among."""
    path = folder / REFERENCE
    try:
        found = ReferenceValues.model_validate_json(path.read_bytes())
    except ValidationError as problem:
        first = problem.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "file"
        raise _damaged(path, f"{where}: {first['msg']}") from None
    for name, values in (("similarity", found.similarity), ("agreed", found.agreed)):
        if sorted(values) != values:
            raise _damaged(path, f"{name} is not in ascending order")
    return found


def _damaged(path: Path, what: str) -> MemdetectError:
    return MemdetectError(f"{str(path)!r} is damaged: {what}; copy the index again, or build it anew")
