"""A run in object storage, worked on in a folder of this machine that mirrors it."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from heapq import heappop, heappush
from pathlib import Path
from typing import Any

from memdetect.errors import MemdetectError
from memdetect.files import open_regular, read_regular, write_atomic, write_new
from memdetect.locks import only_writer
from memdetect.runs.folder import RunFolder
from memdetect.runs.header import Header
from memdetect.runs.records import Measurement, Result
from memdetect.runs.remote import Store, at_once, is_remote
from memdetect.runs.review import strength
from memdetect.runs.screen import FOLDER, RECALL
from memdetect.runs.sharding import Sharding, numbered

WHOLE = (
    "run.json",
    "calibration.json",
    "results.jsonl",
    RECALL,
)  # files that a run is judged by, besides shards and journal
KEPT = (
    "calibration.json",
    "results.jsonl",
    "pairs.png",
    RECALL,
)  # what a process puts there besides shards and journal
SENT = ".sent.json"  # in the folder: size and time of the files of KEPT as they were sent
PAIRS = 24  # items whose images the sheet of pairs may show
MEASURED = ("shards", "journal", "images", "parts", "attempts")  # folders that hold nothing before a run has begun


def run_at(out: Path) -> RunFolder:
    """The run of a folder, or of an address s3://BUCKET/RUN."""
    return Mirror(out) if is_remote(out) else RunFolder(out)


class Mirror(RunFolder):
    """One run in object storage. Its shards, images, journals and results are the objects; the folder is a copy.

    An object is created by one writer alone, the first. Of a shard the images come first and the file of its rows
    last, so that it proves all of the shard. The folder belongs to this machine: attempts and parts are not shared.
    """

    def __init__(self, address: Path) -> None:
        self.store = Store.at(address)
        super().__init__(_cache("runs") / self.store.mirror)
        self._sent = 0  # bytes of this process's journal
        self._there = set[int]()  # shards that are known to be there

    def open(self, header: Header) -> Header:
        """Create the run, or continue the one that is there. Raises as `RunFolder.open` does."""
        _renewed(self.path, self.store)
        with self._addressed():
            return super().open(header)

    def begin(self, header: Header) -> None:
        """Write the header unless another process did."""
        self.store.create("run.json", header.sealed().model_dump_json(indent=1).encode() + b"\n")

    def continued(self, header: Header, later: Collection[str] = ()) -> Header | None:
        """The header of the run that is there already. What the folder holds of another run is removed."""
        _renewed(self.path, self.store)
        with self._addressed():
            return super().continued(header, later)

    def holds(self, number: int) -> bool:
        """Whether a shard is there, whoever measured it."""
        if number not in self._there and self.store.has(self._name(number)):
            self._there.add(number)
        return number in self._there

    def todo(self, sharding: Sharding) -> list[int]:
        """The numbers of the shards that are not there yet."""
        held = self.store.tags("shards")
        return [k for k in range(sharding.count) if self._name(k) not in held]

    def write_shard(self, number: int, rows: Sequence[Measurement], **facts: Any) -> bool:
        """Write a shard, after its images and the lines of the journal; False if somebody else wrote it."""
        data = self.noted(number, rows, **facts)
        at_once(self._put, [name for row in rows for name in row.files if (self.path / name).is_file()])
        self._send_journal()
        made = self.store.create(self._name(number), data)
        first = data if made else self.store.get(self._name(number))
        if first is not None:
            write_atomic(self.shard(number), first)  # whatever lies there
        self._there.add(number)
        return made

    def shards(self) -> list[Path]:
        """The shard files, after those that others wrote have been fetched."""
        names = self.store.tags("shards")
        at_once(self._get, [name for name in names if not (self.path / name).exists()])
        return [path for path in super().shards() if f"shards/{path.name}" in names]

    def events(self) -> Iterator[dict[str, Any]]:
        """The events of all journals, after those of other machines have been fetched."""
        own = {path.stem for path in self.journal.files()}
        names = [name for name in self.store.tags("journal") if Path(name).stem.rpartition("_")[0] not in own]
        at_once(self._get, [name for name in names if not (self.path / name).exists()])
        return super().events()

    def write_results(self, results: Iterable[Result]) -> Path:
        """Write results.jsonl, and fetch the images that the sheet of pairs may show."""
        pairs: list[tuple[tuple[bool, float, float], int, list[str]]] = []

        def seen() -> Iterator[Result]:
            for place, row in enumerate(results):
                if row.matches:
                    heappush(pairs, (max(map(strength, row.matches)), -place, row.files))
                    if len(pairs) > PAIRS:
                        heappop(pairs)
                yield row

        path = super().write_results(seen())
        names = [name for *_, files in pairs for name in files if not (self.path / name).exists()]
        if names:
            there = {
                name for folder in {Path(name).parent.as_posix() for name in names} for name in self.store.tags(folder)
            }
            at_once(self._get, [name for name in names if name in there])
        return path

    def send(self) -> None:
        """Put what this machine made besides shards where the run is kept, unless it was sent as it is and is there."""
        self._send_journal()
        file, now = self.path / SENT, self._stamps()
        held: dict[str, Any] = json.loads(file.read_bytes()) if file.exists() else {}
        new = [name for name, stamp in now.items() if held.get(name) != stamp or not self.store.has(name)]
        at_once(self._put, new)
        if new:
            write_atomic(file, json.dumps(now))

    def bring(self) -> None:
        """Fetch the shards and journals of others, and what is known of a screen."""
        self.shards()
        self.events()
        if not (self.path / RECALL).exists():
            self._get(RECALL)

    def bring_images(self) -> Path:
        """Fetch the images that this machine lacks."""
        at_once(self._get, [name for name in self.store.tags("images") if not (self.path / name).exists()])
        return super().bring_images()

    @contextmanager
    def locked(self, waiting: Callable[[], bool] | None = None) -> Generator[None]:
        """Keep other processes of this machine out while this one opens or closes the run."""
        with only_writer(_lock(self.path, "run"), self.path, waiting):
            yield

    def _stamps(self) -> dict[str, list[int]]:
        found = {name: (self.path / name).stat() for name in KEPT if (self.path / name).is_file()}
        return {name: [state.st_size, state.st_mtime_ns] for name, state in found.items()}

    def _name(self, number: int) -> str:
        return f"shards/{numbered(number)}.jsonl"

    def _send_journal(self) -> None:
        """Put the lines that are new as an object of their own: objects do not grow."""
        own, data = self.journal.own, b""
        if own.exists():
            with open_regular(own) as file:
                file.seek(self._sent)
                data = file.read()
        if data:
            self.store.put(f"journal/{own.stem}_{self._sent:012d}.jsonl", data)
            self._sent += len(data)

    def _put(self, name: str) -> None:
        self.store.send(name, self.path / name)

    def _get(self, name: str) -> None:
        self.store.fetch(name, self.path / name)

    @contextmanager
    def _addressed(self) -> Generator[None]:
        """Have an error name the address, not the folder."""
        try:
            yield
        except MemdetectError as problem:
            raise MemdetectError(str(problem).replace(str(self.path), self.store.url), problem.exit) from None


def fetched(run: Path, *, images: bool = False) -> Path:
    """The folder of a run, as it is; of one in object storage a copy that is brought up to date.

    images: with all of its images. A screen comes with it. Raises MemdetectError where there is no run.
    """
    if not is_remote(run):
        return run
    store = Store.at(run)
    folder = _cache("fetched") / store.mirror
    with only_writer(_lock(folder, "copy"), folder, lambda: True):
        if not _renewed(folder, store):
            raise MemdetectError(f"{store.url} is not a run: it has no run.json; give an address that scan wrote to")
        for part in ("shards", "journal", *(("images",) if images else ())):
            _bring(folder, store, part, store.tags(part))
        tags = {name: store.tag(name) for name in WHOLE[1:]}
        _bring(folder, store, "whole", {name: tag for name, tag in tags.items() if tag is not None})
        if store.has(f"{FOLDER}/run.json"):
            fetched(run / FOLDER)
        else:
            shutil.rmtree(folder / FOLDER, ignore_errors=True)
    return folder


def _bring(folder: Path, store: Store, part: str, tags: Mapping[str, str]) -> None:
    """Make a part of a copy what it is in the store: fetch what is new or another, remove what is gone."""
    file = folder.with_name(f".{folder.name}.{part}.tags")
    held: dict[str, str] = json.loads(file.read_bytes()) if file.exists() else {}
    for name in held.keys() - tags.keys():
        (folder / name).unlink(missing_ok=True)
    new = [name for name, tag in tags.items() if held.get(name) != tag or not (folder / name).exists()]
    at_once(lambda name: store.fetch(name, folder / name), new)
    write_atomic(file, json.dumps(tags))


def _renewed(folder: Path, store: Store) -> bool:
    """Give a folder the header of the run that is there, and remove what it holds of another; False if none is.

    What is of another is moved aside at once, while no other process of this machine looks, and removed then. What an
    interruption leaves of it is removed by the next.
    """
    with only_writer(_lock(folder, "header"), folder, lambda: True):
        there = store.get("run.json")
        aside = _cache("aside")
        if _of_another(folder, there):
            aside.mkdir(parents=True, exist_ok=True)
            folder.rename(Path(tempfile.mkdtemp("", f"{_key(folder)}.", aside)) / folder.name)
        left = [*aside.glob(f"{_key(folder)}.*")]
        if there is not None:
            folder.mkdir(parents=True, exist_ok=True)
            write_new(folder / "run.json", there)
    for each in left:
        shutil.rmtree(each, ignore_errors=True)
    return there is not None


def _of_another(folder: Path, there: bytes | None) -> bool:
    """Whether a folder holds anything of a run other than the one with this header."""
    path = folder / "run.json"
    if path.exists():
        return read_regular(path) != there
    return any((folder / part).is_dir() and any((folder / part).iterdir()) for part in MEASURED)


def _lock(folder: Path, what: str) -> Path:
    """The file that keeps others out of a folder, which lies elsewhere since the folder may be moved."""
    return _cache("locks") / f"{_key(folder)}.{what}"


def _key(folder: Path) -> str:
    return sha256(str(folder).encode()).hexdigest()[:16]


def _cache(part: str) -> Path:
    root = os.environ.get("MEMDETECT_CACHE_DIR") or Path.home() / ".cache" / "memdetect"
    return Path(root) / part
