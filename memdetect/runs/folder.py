"""The run folder: header, shards, journal and results, crash-safe and resumable."""

import hashlib
import json
import os
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from memdetect.errors import Exit, MemdetectError
from memdetect.files import clear_leftovers, read_regular, sync_folder, write_new, written
from memdetect.locks import only_writer
from memdetect.runs.header import Header, read_header
from memdetect.runs.journal import SHARD, Journal
from memdetect.runs.records import Measurement, Result
from memdetect.runs.remote import is_remote, url_of
from memdetect.runs.sharding import Sharding, numbered

MADE = ("shards", "images", "journal")  # folders of a run from its start


class RunFolder:
    """One run on disk, which any number of processes write to. A shard is there whole or not at all; the first wins."""

    def __init__(self, path: Path) -> None:
        if is_remote(path):
            raise MemdetectError(f"{url_of(path)} is an address, and only a scan is kept there; name a folder")
        self.path, self.journal = path, Journal(path)

    def open(self, header: Header) -> Header:
        """Create the folder, or continue the run that it holds; returns the header in force, which is sealed.

        Temporary files that killed processes left in it are deleted. Raises MemdetectError (usage) when it cannot be
        written, holds something else or a link, or holds a run with another plan, policy or calibration, whose first
        differing key is named.
        """
        try:
            self._refuse_links()
            for name in MADE:
                (self.path / name).mkdir(parents=True, exist_ok=True)
            for folder in (self.path, self.path / "shards"):
                clear_leftovers(folder)
            if (held := self.continued(header)) is None:
                for name in MADE:
                    if any((self.path / name).iterdir()) and not (self.path / "run.json").exists():
                        raise MemdetectError(f"{self.path} holds {name} but no run.json; choose another --out")
                self.begin(header)
                held = self.continued(header)
                assert held is not None
        except OSError as problem:
            raise self._unwritable(problem) from None
        if held.calibration != header.calibration:
            was, now = (f"{digest:.12}" or "none" for digest in (held.calibration, header.calibration))
            raise MemdetectError(
                f"{self.path} holds a run with another calibration: its digest was {was}, now {now}; "
                "choose another --out, or judge the run by another calibration with gate --calibration"
            )
        return held

    def begin(self, header: Header) -> None:
        """Write the header, sealed, unless another process did. Raises OSError."""
        write_new(self.path / "run.json", header.sealed().model_dump_json(indent=1) + "\n")

    def _refuse_links(self) -> None:
        """Refuse a folder with links in it, through which a run would write to other places. Raises OSError."""
        entries = os.scandir(self.path) if self.path.is_dir() else ()
        link = next((entry.path for entry in entries if entry.is_symlink()), "")
        if link:
            raise MemdetectError(f"{link} is a link, and a run writes into its own folder alone; choose another --out")

    def continued(self, header: Header, later: Collection[str] = ()) -> Header | None:
        """The header of the run that is here already, None for none; writes nothing.

        later: keys of the plan that are not known yet. The size of its shards is its own: another batch size does not
        change it. Raises MemdetectError (usage) that names the first key in which
        plan or policy differ; what a policy suppresses may change between two calls.
        """
        if not (self.path / "run.json").exists():
            return None
        held = self.header()
        resume = "choose another --out, or give the same inputs and options to resume"
        later = {*later, "shard_size"}
        _same(self.path, "plan", _of_plan(held, later), _of_plan(header, later), resume)
        bar = "choose another --out, or resume with the same policy and judge by another with gate"
        _same(self.path, "policy", _of_policy(held), _of_policy(header), bar)
        return held

    def header(self) -> Header:
        """The run's header; MemdetectError when there is none, or when it lacks what judging needs."""
        return read_header(self.path / "run.json")

    def write_shard(self, number: int, rows: Sequence[Measurement], **facts: Any) -> bool:
        """Write a shard, once the journal holds its sha256 beside facts about it; False if somebody else wrote it.

        In this order a crash between the two leaves a line too many in the journal, never a shard that it lacks: the
        line is synced first, and so are the names of its images.
        """
        data = self.noted(number, rows, **facts)
        if any(row.files for row in rows):
            for pictures in (self.pictures(number), self.path / "images"):
                sync_folder(pictures)
        return write_new(self.shard(number), data)

    def noted(self, number: int, rows: Sequence[Measurement], **facts: Any) -> bytes:
        """The bytes of a shard's file, whose sha256 the journal holds from now on."""
        data = "".join(row.model_dump_json() + "\n" for row in rows).encode()
        digest = hashlib.sha256(data).hexdigest()
        self.note(SHARD, file=self.shard(number).name, sha256=digest, first=rows[0].index, items=len(rows), **facts)
        return data

    def shard(self, number: int) -> Path:
        """The file of a shard's rows: the proof that it was measured."""
        return self.path / "shards" / f"{numbered(number)}.jsonl"

    def holds(self, number: int) -> bool:
        """Whether a shard is there, whoever measured it."""
        return self.shard(number).exists()

    def todo(self, sharding: Sharding) -> list[int]:
        """The numbers of the shards that are not there yet; the folder is listed once, and no file is opened."""
        try:
            held = {entry.name for entry in os.scandir(self.path / "shards")}
        except FileNotFoundError:
            held = set[str]()
        return [k for k in range(sharding.count) if f"{numbered(k)}.jsonl" not in held]

    def pictures(self, number: int) -> Path:
        """The folder of a shard's images."""
        return self.path / "images" / numbered(number)

    def shards(self) -> list[Path]:
        """The shard files, in the order of the plan."""
        return sorted((self.path / "shards").glob("*.jsonl"))

    def part(self, key: str) -> Path:
        """Where the rows of some items of a shard are kept that is cut up."""
        return self.path / "parts" / f"{key}.jsonl"

    def write_part(self, key: str, rows: Sequence[Measurement]) -> None:
        """Keep the rows of some items of a shard; the first writer wins."""
        (self.path / "parts").mkdir(exist_ok=True)
        write_new(self.part(key), "".join(row.model_dump_json() + "\n" for row in rows))

    def forget_parts(self, key: str) -> None:
        """Remove the parts of a shard that is whole now; key: its number in a name."""
        for path in (self.path / "parts").glob(f"{key}_*.jsonl"):
            path.unlink(missing_ok=True)

    def measurements(self) -> Iterator[Measurement]:
        """All measurements in the order of the plan; MemdetectError names a shard that is damaged."""
        for shard in self.shards():
            yield from self.rows_of(shard)

    def rows_of(self, shard: Path) -> Iterator[Measurement]:
        """The rows of a file; MemdetectError names one that is damaged."""
        for number, line in enumerate(read_regular(shard).splitlines(), 1):
            try:
                yield Measurement.model_validate_json(line)
            except ValidationError:
                raise MemdetectError(
                    f"{shard}, line {number} is damaged; delete this shard and run the same command again",
                    Exit.ERROR,
                ) from None

    def note(self, event: str, **facts: Any) -> None:
        """Append an event to this process's journal."""
        self.journal.note(event, **facts)

    def events(self) -> Iterator[dict[str, Any]]:
        """The events of all journals, those of one process in their order."""
        return self.journal.events()

    def write_results(self, results: Iterable[Result]) -> Path:
        """Write results.jsonl and return its path."""
        path = self.path / "results.jsonl"
        with written(path) as temporary, temporary.open("wb") as file:
            for row in results:
                file.write(row.model_dump_json().encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        return path

    def send(self) -> None:
        """Have what this process wrote besides shards reach where the run is kept; on a disk it is there."""

    def bring(self) -> None:
        """Have what others wrote to the run reach this machine; on a disk it is there."""

    def bring_images(self) -> Path:
        """Have the images of others reach this machine as well; the folder of all images."""
        return self.path / "images"

    def results(self) -> list[Result]:
        """The run's results; MemdetectError when the run was not closed."""
        path = self.path / "results.jsonl"
        if not path.exists():
            raise MemdetectError(
                f"{self.path} has no results.jsonl: the scan is not finished; run it again to resume, "
                "or join it by memdetect merge with the runs that hold the rest"
            )
        found: list[Result] = []
        for number, line in enumerate(read_regular(path).splitlines(), 1):
            try:
                found.append(Result.model_validate_json(line))
            except ValidationError:
                raise MemdetectError(
                    f"{path}, line {number} is damaged; run the same scan again to write it anew"
                ) from None
        return found

    @contextmanager
    def locked(self, waiting: Callable[[], bool] | None = None) -> Generator[None]:
        """Keep others out while this process opens or closes the run; shards are written without.

        waiting: asked while another one is there, until it answers False. MemdetectError when one is there, or nothing
        can be written.
        """
        with only_writer(self.path / ".lock", self.path, waiting):
            yield

    def _unwritable(self, problem: OSError) -> MemdetectError:
        return MemdetectError(f"cannot write to {self.path}: {problem.strerror}; choose another --out")


def _of_plan(header: Header, later: Collection[str]) -> dict[str, Any]:
    """The plan by key; readings last, for they follow from what a caller names: detectors, layers and timesteps."""
    found = header.plan.model_dump(mode="json", exclude=set(later))
    return {**{key: value for key, value in found.items() if key != "readings"}, "readings": found["readings"]}


def _of_policy(header: Header) -> dict[str, Any]:
    return {key: value for key, value in header.policy.items() if key != "ignore"}


def _same(path: Path, what: str, held: Mapping[str, Any], wanted: Mapping[str, Any], hint: str) -> None:
    """Refuse what differs from what is held, by its first key."""
    for key in [*held, *(k for k in wanted if k not in held)]:
        if held.get(key) != wanted.get(key):
            was, now = _short(held.get(key)), _short(wanted.get(key))
            raise MemdetectError(f"{path} holds a run with another {what}: {key} was {was}, now {now}; {hint}")


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
