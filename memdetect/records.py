"""The run folder: header, shards, journal and results, crash-safe and resumable."""

import hashlib
import json
import os
import socket
import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from memdetect.errors import Exit, MemdetectError
from memdetect.locks import only_writer

SCHEMA = 1
Status = Literal["ok", "nonfinite", "unreadable"]
Outcome = Literal["copy", "suspicious", "similar", "clear", "inconclusive"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Score(_Strict):
    """A detector's score of one item; `cells` holds its parts: layer -> timestep -> one value for each seed."""

    score: float | None
    cells: dict[str, dict[str, list[float | None]]]


class Match(_Strict):
    """A training image near one of an item's images.

    seed: which of the item's images; rank: 1 = the nearest. row, key, path, caption: of the training image, its path
    relative to the working folder or absolute. similarity: cosine of the embeddings, in [-1, 1]. p: conformal p-value
    of that similarity among images known not to be copies, for one image. similar: whether it exceeds the index's
    threshold. tile, ssim: pixel measures of `memdetect.copies`; None where not measured, with the reason in `note`.
    copy_found: whether embedder and pixels agree on a copy.
    """

    seed: int = 0
    rank: int
    row: int = 0
    key: str
    path: str = ""
    caption: str = ""
    similarity: float
    p: float | None = None
    similar: bool = False
    tile: float | None = None
    ssim: float | None = None
    copy_found: bool = False
    note: str = ""


class Measurement(_Strict):
    """What was measured of one item; one line of a shard. Higher scores = more memorized; None = not finite.

    sha256: of the file of a given image. one_colour: which of its images have a single colour, counted from 0.
    """

    schema_version: int = SCHEMA
    index: int
    id: str
    prompt: str | None = None
    image: str | None = None
    sha256: str = ""
    source: str
    line: int | None = None
    meta: dict[str, Any] = {}
    seeds: list[int] = []
    scores: dict[str, Score] = {}
    files: list[str] = []
    matches: list[Match] = []
    one_colour: list[int] = []
    status: Status = "ok"
    notes: list[str] = []


class Result(Measurement):
    """A measurement and what was decided of it; one line of results.jsonl.

    p: `combined`, which decides, and each detector's own, which describes. suppressed: who answers for the finding.
    """

    p: dict[str, float | None] = {}
    outcome: Outcome
    reason: str = ""
    suppressed: str = ""


class Looked(_Strict):
    """An image that was looked up in an index: what was decided, why, and the training images near it."""

    image: str
    outcome: Outcome
    reason: str = ""
    matches: list[Match] = []


class Header(_Strict):
    """run.json. `plan` is what a resume has to match: inputs, model, settings; the rest is provenance.

    index: name, digest, rows and coverage of the training images that were searched; {} = none were. opening: how the
    weights were opened, where not as usual (LoRA, revision and the like). policy, policy_digest, plan_digest,
    calibration (its digest): the bar, fixed before the first image. wording: how well the prompts can be told from the
    calibration's by their text alone.
    """

    schema_version: int = SCHEMA
    memdetect: str
    created: str
    model: str
    versions: dict[str, str]
    plan: dict[str, Any]
    planned: int
    sigmas: dict[str, float | None] = {}
    default_point: str = ""
    dropped: dict[str, int] = {}
    index: dict[str, Any] = {}
    opening: dict[str, Any] = {}
    policy: dict[str, Any] = {}
    policy_digest: str = ""
    plan_digest: str = ""
    calibration: str = ""
    wording: dict[str, Any] = {}


def plan_digest(plan: Mapping[str, Any]) -> str:
    """The sha256, in hex, of a plan as JSON with sorted keys: the same before the first image and years later."""
    return hashlib.sha256(json.dumps(plan, sort_keys=True, default=str).encode()).hexdigest()


class RunFolder:
    """One run on disk. A shard is written to a temporary file, synced and renamed: it is there whole or not at all."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def open(self, header: Header) -> Header:
        """Create the folder, or continue the run that it holds; returns the header in force.

        Raises MemdetectError (usage) when it cannot be written, holds something else, or holds another plan, whose
        first differing key is named.
        """
        try:
            (self.path / "shards").mkdir(parents=True, exist_ok=True)
            (self.path / "images").mkdir(exist_ok=True)
            if not (self.path / "run.json").exists():
                for name in ("shards", "images"):
                    if any((self.path / name).iterdir()):
                        raise MemdetectError(f"{self.path} holds {name} but no run.json; choose another --out")
                write_atomic(self.path / "run.json", header.model_dump_json(indent=1) + "\n")
                return header
        except OSError as problem:
            raise self._unwritable(problem) from None
        present = self.header()
        _same_plan(self.path, present.plan, json.loads(header.model_dump_json())["plan"])
        return present

    def header(self) -> Header:
        """The run's header; MemdetectError when there is none or it does not parse."""
        path = self.path / "run.json"
        try:
            return Header.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            raise MemdetectError(
                f"{self.path} is not a run: it has no run.json; give a folder that scan made"
            ) from None
        except ValidationError as problem:
            raise MemdetectError(f"{path} does not parse: {problem.errors()[0]['msg']}; scan again") from None

    def write_shard(self, rows: Sequence[Measurement]) -> None:
        """Append one shard, named after its first item."""
        text = "".join(row.model_dump_json() + "\n" for row in rows)
        write_atomic(self.path / "shards" / f"{rows[0].index:07d}.jsonl", text)

    def measurements(self) -> Iterator[Measurement]:
        """All measurements in the order of the plan; MemdetectError names a shard that is damaged."""
        shards = sorted((self.path / "shards").glob("*.jsonl"))
        for shard in shards:
            for number, line in enumerate(shard.read_bytes().splitlines(), 1):
                try:
                    yield Measurement.model_validate_json(line)
                except ValidationError:
                    raise MemdetectError(
                        f"{shard}, line {number} is damaged; delete this shard and run the same command again",
                        Exit.ERROR,
                    ) from None

    def done(self) -> set[str]:
        """Ids that are measured already."""
        return {row.id for row in self.measurements()}

    def note(self, event: str, **facts: Any) -> None:
        """Append an event with time and host to the journal."""
        line = {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "host": socket.gethostname()}
        with (self.path / "journal.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({**line, "event": event, **facts}) + "\n")

    def write_results(self, results: Iterable[Result]) -> Path:
        """Write results.jsonl and return its path."""
        path = self.path / "results.jsonl"
        write_atomic(path, "".join(row.model_dump_json() + "\n" for row in results))
        return path

    def results(self) -> list[Result]:
        """The run's results; MemdetectError when the run was not closed."""
        path = self.path / "results.jsonl"
        if not path.exists():
            raise MemdetectError(f"{self.path} has no results.jsonl: the scan is not finished; run it again to resume")
        found: list[Result] = []
        for number, line in enumerate(path.read_bytes().splitlines(), 1):
            try:
                found.append(Result.model_validate_json(line))
            except ValidationError:
                raise MemdetectError(
                    f"{path}, line {number} is damaged; run the same command again to write it anew", Exit.ERROR
                ) from None
        return found

    @contextmanager
    def locked(self) -> Generator[None]:
        """Keep other writers out while this one writes; MemdetectError when one is there, or nothing can be written."""
        with only_writer(self.path / ".lock", self.path):
            yield

    def _unwritable(self, problem: OSError) -> MemdetectError:
        return MemdetectError(f"cannot write to {self.path}: {problem.strerror}; choose another --out")


def _same_plan(path: Path, held: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    for key in [*held, *(k for k in wanted if k not in held)]:
        if held.get(key) != wanted.get(key):
            was, now = _short(held.get(key)), _short(wanted.get(key))
            raise MemdetectError(
                f"{path} holds a run with another plan: {key} was {was}, now {now}; "
                "choose another --out, or give the same inputs and options to resume"
            )


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def write_atomic(path: Path, text: str) -> None:
    """Write a file through a synced temporary one beside it: readers see the old content or the new, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
