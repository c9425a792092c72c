"""The run folder: header, shards, journal and results, crash-safe and resumable."""

import hashlib
import json
import os
import socket
import time
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from memdetect.errors import Exit, MemdetectError
from memdetect.files import clear_leftovers, named, only_writer, open_regular, read_regular, write_atomic
from memdetect.runs.header import Header, read_header
from memdetect.runs.records import Measurement, Result

JOURNAL = "journal.jsonl"


class RunFolder:
    """One run on disk. A shard is written to a temporary file, synced and renamed: it is there whole or not at all."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def open(self, header: Header) -> Header:
        """Create the folder, or continue the run that it holds; returns the header in force, which is sealed.

        Temporary files that killed processes left in it are deleted. Raises MemdetectError (usage) when it cannot be
        written, holds something else or a link, or holds a run with another plan, policy or calibration, whose first
        differing key is named.
        """
        try:
            self._refuse_links()
            (self.path / "shards").mkdir(parents=True, exist_ok=True)
            (self.path / "images").mkdir(exist_ok=True)
            for folder in (self.path, self.path / "shards", self.path / "images"):
                clear_leftovers(folder)
            if (held := self.continued(header)) is None:
                for name in ("shards", "images"):
                    if any((self.path / name).iterdir()):
                        raise MemdetectError(f"{self.path} holds {name} but no run.json; choose another --out")
                held = header.sealed()
                write_atomic(self.path / "run.json", held.model_dump_json(indent=1) + "\n")
        except OSError as problem:
            raise self._unwritable(problem) from None
        if held.calibration != header.calibration:
            was, now = (f"{digest:.12}" or "none" for digest in (held.calibration, header.calibration))
            raise MemdetectError(
                f"{self.path} holds a run with another calibration: its digest was {was}, now {now}; "
                "choose another --out, or judge the run by another calibration with gate --calibration"
            )
        return held

    def _refuse_links(self) -> None:
        """Refuse a folder with links in it, through which a run would write to other places. Raises OSError."""
        entries = os.scandir(self.path) if self.path.is_dir() else ()
        link = next((entry.path for entry in entries if entry.is_symlink()), "")
        if link:
            raise MemdetectError(f"{link} is a link, and a run writes into its own folder alone; choose another --out")

    def continued(self, header: Header, later: Collection[str] = ()) -> Header | None:
        """The header of the run that is here already, None for none; writes nothing.

        later: keys of the plan that are not known yet. Raises MemdetectError (usage) that names the first key in which
        plan or policy differ; what a policy suppresses may change between two calls.
        """
        if not (self.path / "run.json").exists():
            return None
        held = self.header()
        resume = "choose another --out, or give the same inputs and options to resume"
        _same(self.path, "plan", _of_plan(held, later), _of_plan(header, later), resume)
        bar = "choose another --out, or resume with the same policy and judge by another with gate"
        _same(self.path, "policy", _of_policy(held), _of_policy(header), bar)
        return held

    def header(self) -> Header:
        """The run's header; MemdetectError when there is none, or when it lacks what judging needs."""
        return read_header(self.path / "run.json")

    def write_shard(self, rows: Sequence[Measurement], **facts: Any) -> None:
        """Append one shard, named after its first item, once the journal holds its sha256 beside facts about it.

        In this order a crash between the two leaves a line too many in the journal, never a shard that it lacks.
        """
        data = "".join(row.model_dump_json() + "\n" for row in rows)
        name = f"{rows[0].index:07d}.jsonl"
        digest = hashlib.sha256(data.encode()).hexdigest()
        self.note("shard", file=name, sha256=digest, first=rows[0].index, items=len(rows), **facts)
        write_atomic(self.path / "shards" / name, data)

    def shards(self) -> list[Path]:
        """The shard files, in the order of the plan."""
        return sorted((self.path / "shards").glob("*.jsonl"))

    def measurements(self) -> Iterator[Measurement]:
        """All measurements in the order of the plan; MemdetectError names a shard that is damaged."""
        for shard in self.shards():
            for number, line in enumerate(read_regular(shard).splitlines(), 1):
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
        """Append an event with time and host to the journal, below a line that a crash may have cut."""
        line = {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "host": socket.gethostname()}
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        with named(self.path / JOURNAL), os.fdopen(os.open(self.path / JOURNAL, flags, 0o666), "a+b") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 1))
            cut = file.read(1) not in (b"", b"\n")
            file.write(b"\n" * cut + json.dumps({**line, "event": event, **facts}).encode() + b"\n")

    def events(self) -> Iterator[dict[str, Any]]:
        """The events of the journal, oldest first, without lines that a crash has cut."""
        for line in self._noted():
            with suppress(ValueError, RecursionError):
                found = json.loads(line)
                if isinstance(found, dict):
                    yield {str(key): value for key, value in found.items()}

    def torn(self) -> str:
        """A line where the journal holds some that a crash has cut, which count for nothing; else ""."""
        count = len(self._noted()) - sum(1 for _ in self.events())
        return f"{self.path / JOURNAL}: left out {count} line{'s' * (count > 1)} that a crash cut off" if count else ""

    def _noted(self) -> list[bytes]:
        path = self.path / JOURNAL
        if not path.exists():
            return []
        with open_regular(path) as file:
            return file.read().splitlines()

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
        for number, line in enumerate(read_regular(path).splitlines(), 1):
            try:
                found.append(Result.model_validate_json(line))
            except ValidationError:
                raise MemdetectError(
                    f"{path}, line {number} is damaged; run the same scan again to write it anew"
                ) from None
        return found

    @contextmanager
    def locked(self) -> Generator[None]:
        """Keep other writers out while this one writes; MemdetectError when one is there, or nothing can be written."""
        with only_writer(self.path / ".lock", self.path):
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
