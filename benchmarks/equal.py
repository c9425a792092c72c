"""One small scan in every form that one machine can have: the bytes of shards, images and results must not differ.

--kills N: only the forms in which something is killed, each N times at random times between its start and its end.
"""

import argparse
import hashlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

import torch

from memdetect.cli import run
from memdetect.inputs.bundled import model_folder
from memdetect.scanning import prepare

TESTS = Path(__file__).parents[1] / "tests"
PROMPTS = Path(__file__).parents[1] / "sample_prompts" / "release.jsonl"
DAMAGED = 4  # exit code of a scan that finds a shard cut off
POLL = 0.02  # seconds
TWO = ("--workers", "2")
LINKED = (prepare, model_folder)  # imported here, so that no process has to do so again


class Different(Exception):
    """A process that ended otherwise than it should."""


@dataclass(frozen=True)
class Home:
    """Where the runs of one form are, and the command that makes them. patience: seconds for a process to end.

    when: seconds until something is killed, where that is part of the form; None = once a shard is there.
    """

    folder: Path
    command: Sequence[str]
    patience: float
    when: float | None = None

    @property
    def out(self) -> Path:
        """The run that is compared."""
        return self.folder / "run"

    def scan(self, *more: str, out: str | Path | None = None) -> list[str]:
        """The scan, with further options."""
        return [*self.command, "--out", str(out or self.out), *more]

    def start(self, arguments: Sequence[str]) -> int:
        """A process that runs a command, forked, so that it need not import anything; its number."""
        pid = os.fork()
        if pid:
            return pid
        code = 70
        try:
            with (self.folder / f"{os.getpid()}.log").open("w", encoding="utf-8") as log:
                os.dup2(log.fileno(), 1)
                os.dup2(log.fileno(), 2)
                os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
                sys.stdout = sys.stderr = log
                sys.argv = ["memdetect", *arguments]
                torch.set_num_threads(1)
                os.chdir(self.folder.parent)  # rows name the prompts' file as it is given
                code = run(list(arguments))
        finally:
            os._exit(code)

    def end(self, pid: int, *codes: int) -> None:
        """Wait until a process ends with one of these codes, minus the signal of one that was killed; 0 if none."""
        until = time.monotonic() + self.patience
        while not (ended := os.waitpid(pid, os.WNOHANG))[0]:
            if time.monotonic() > until:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                raise Different(f"no end within {self.patience:g} s")
            time.sleep(POLL)
        code = os.waitstatus_to_exitcode(ended[1])
        if code not in (codes or (0,)):
            log = self.folder / f"{pid}.log"
            said = log.read_text(encoding="utf-8").strip().splitlines() if log.exists() else []
            raise Different(f"exit {code}: {said[-1] if said else 'without a word'}")

    def do(self, *more: str, codes: Sequence[int] = (0,)) -> None:
        """Scan in a process of its own, to its end."""
        self.end(self.start(self.scan(*more)), *codes)

    def measured(self) -> int:
        """How many shards of the run are there."""
        return len(list((self.out / "shards").glob("*.jsonl")))

    def wait(self) -> str:
        """Wait until it is time to kill; how many shards are there, in words."""
        if self.when is not None:
            time.sleep(self.when)
            return f"at {self.measured()} shards"
        until = time.monotonic() + self.patience
        while not self.measured():
            if time.monotonic() > until:
                raise Different(f"no shard within {self.patience:g} s")
            time.sleep(POLL)
        return f"at {self.measured()} shards"


def rank(number: int, world: int, *, steals: bool = True) -> list[str]:
    """The options of a rank."""
    return ["--rank", str(number), "--world", str(world), *([] if steals else ["--no-steal"])]


def one_by_one(*commands: Sequence[str]) -> Callable[[Home], None]:
    """Scans with these options, each once the one before has ended."""

    def made(home: Home) -> None:
        for more in commands:
            home.do(*more)

    return made


def two_at_once(home: Home) -> None:
    """The same command twice at the same time."""
    pids = [home.start(home.scan()) for _ in range(2)]
    for pid in pids:
        home.end(pid)


def own_disks(home: Home) -> None:
    """Two ranks in folders of their own, joined."""
    parts = [home.folder / f"part-{number}" for number in range(2)]
    for number, part in enumerate(parts):
        home.end(home.start(home.scan(*rank(number, 2, steals=False), out=part)))
    home.end(home.start(["merge", *map(str, parts), "--out", str(home.out)]))


def killed_rank(home: Home) -> str:
    """Both ranks at once; rank 0 is killed once a shard is there."""
    first, second = (home.start(home.scan(*rank(number, 2))) for number in range(2))
    when = home.wait()
    kill(first)
    home.end(first, 0, -signal.SIGKILL)
    home.end(second)
    return when


def killed_worker(home: Home) -> str:
    """A worker is killed once a shard is there; another is started in its place."""
    driver = home.start(home.scan(*TWO))
    when = home.wait()
    for child in children(driver)[:1]:
        kill(child)
    home.end(driver)
    return when


def killed_driver(home: Home, *, all_of_it: bool = False) -> str:
    """The process that started the workers is killed, and the command given again; its workers end by themselves."""
    driver = home.start(home.scan(*TWO))
    when = home.wait()
    own = children(driver)
    for pid in (driver, *(own if all_of_it else ())):
        kill(pid)
    home.end(driver, 0, -signal.SIGKILL)
    until = time.monotonic() + home.patience
    while any(Path(f"/proc/{pid}").exists() for pid in own) and time.monotonic() < until:
        time.sleep(POLL)
    home.do(*TWO)
    return when


def killed_all(home: Home) -> str:
    """Everything is killed, and the command given again."""
    return killed_driver(home, all_of_it=True)


def killed_process(home: Home) -> str:
    """A process alone is killed, and the command given again."""
    pid = home.start(home.scan())
    when = home.wait()
    kill(pid)
    home.end(pid, 0, -signal.SIGKILL)
    home.do()
    return when


def truncated(home: Home) -> None:
    """A shard loses its second half; the scan refuses it by name, and makes it again once it is deleted."""
    home.do()
    shard = sorted((home.out / "shards").glob("*.jsonl"))[0]
    shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2])
    home.do(codes=[DAMAGED])
    shard.unlink()
    home.do()


def object_storage(home: Home) -> None:
    """Two machines, with a folder each for what they hold of it, share a run in a bucket; it is brought here."""
    sys.path.insert(0, str(TESTS))
    try:
        from s3_server import serving
    finally:
        sys.path.remove(str(TESTS))
    address = "s3://bucket/equal/run"
    with serving() as account, set_to(account.env):
        for number in range(2):
            with set_to({"MEMDETECT_CACHE_DIR": str(home.folder / f"machine-{number}")}):
                home.end(home.start(home.scan(*rank(number, 2, steals=number == 1), out=address)))
        with set_to({"MEMDETECT_CACHE_DIR": str(home.folder / "reader")}):
            home.end(home.start(["merge", address, "--out", str(home.out)]))


@contextmanager
def set_to(values: dict[str, str]) -> Iterator[None]:
    """The environment with these variables, while the body runs."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def kill(pid: int) -> None:
    """SIGKILL of a process, where it is still there."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def children(pid: int) -> list[int]:
    """The processes that a process started, on Linux; none of one that has ended."""
    try:
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]
    except OSError:
        return []


FORMS: dict[str, tuple[str, Callable[[Home], str | None]]] = {
    "one": ("one process", one_by_one([])),
    "workers": ("`--workers 2`", one_by_one(TWO)),
    "ranks": ("rank 0 of 2, then 1 of 2", one_by_one(rank(0, 2, steals=False), rank(1, 2))),
    "backwards": ("rank 1 of 2, then 0 of 2", one_by_one(rank(1, 2, steals=False), rank(0, 2))),
    "never": ("rank 0 of 2, rank 1 never started", one_by_one(rank(0, 2))),
    "world": (
        "rank 0 of 2, then 2 and 1 of 3",
        one_by_one(rank(0, 2, steals=False), rank(2, 3, steals=False), rank(1, 3)),
    ),
    "twice": ("the same command twice at once", two_at_once),
    "joined": ("two ranks on disks of their own, joined by `merge`", own_disks),
    "killed-rank": ("two ranks at once, SIGKILL of one", killed_rank),
    "killed-worker": ("`--workers 2`, SIGKILL of a worker", killed_worker),
    "killed-driver": ("`--workers 2`, SIGKILL of the driver, again", killed_driver),
    "killed-all": ("`--workers 2`, SIGKILL of all, again", killed_all),
    "killed-process": ("one process, SIGKILL, again", killed_process),
    "truncated": ("a shard cut in the middle, deleted, again", truncated),
    "s3": ("two machines, object storage", object_storage),
    "ray": ("Ray, two actors", one_by_one(["--ray", "local", *TWO])),
}
NEEDS = {"s3": "obstore", "ray": "ray"}  # packages that a form cannot do without
KILLED = {  # forms in which something is killed, each with the one that is the same without
    "killed-rank": "twice",
    "killed-worker": "workers",
    "killed-driver": "workers",
    "killed-all": "workers",
    "killed-process": "one",
}


def digest(paths: Sequence[Path], home: Path) -> str:
    """The sha256, 12 digits, of files with their names; "none" where there are none."""
    total = hashlib.sha256()
    for path in sorted(paths):
        total.update(f"{path.relative_to(home).as_posix()} {path.stat().st_size}\n".encode() + path.read_bytes())
    return total.hexdigest()[:12] if paths else "none"


def digests(out: Path) -> tuple[str, str, str]:
    """Of all shards, of all images, and of the results."""
    images = [path for path in (out / "images").rglob("*") if path.is_file()]
    return (
        digest(list((out / "shards").glob("*.jsonl")), out),
        digest(images, out),
        digest(list(out.glob("results.jsonl")), out),
    )


def row(name: str, home: Home) -> tuple[str, tuple[str, str, str] | str]:
    """What a form is called, and the digests of its run, or why there are none."""
    said, make = FORMS[name]
    if (needed := NEEDS.get(name)) and find_spec(needed) is None:
        return said, f"not run: {needed} is not installed"
    try:
        when = make(home)
    except Different as problem:
        return said, str(problem)
    return f"{said} ({when})" if when else said, digests(home.out)


def prepared(given: argparse.Namespace, folder: Path) -> list[str]:
    """The command of the scan, whose prompts are written."""
    lines = PROMPTS.read_text(encoding="utf-8").splitlines(keepends=True)
    (folder / "prompts.jsonl").write_text("".join(islice(lines, given.prompts)), encoding="utf-8")
    model = str(Path(given.model).resolve()) if Path(given.model).exists() else given.model
    command = ["scan", "prompts.jsonl", "--model", model, "--device", "cpu"]
    for name in ("steps", "num-seeds", "shard-size"):
        command += [f"--{name}", str(getattr(given, name.replace("-", "_")))]
    return [*command, *([] if given.index else ["--no-index"])]


def kills(given: argparse.Namespace, folder: Path) -> bool:
    """Print for each form that is killed how often it is equal to one process; whether it always is."""
    command, rng, equal = prepared(given, folder), random.Random(0), True
    alone = Home(folder / "alone", command, given.patience)
    alone.folder.mkdir()
    wanted, lengths = row("one", alone)[1], dict[str, float]()
    for name in dict.fromkeys(KILLED[each] for each in given.only or KILLED):
        home = Home(folder / name, command, given.patience)
        home.folder.mkdir()
        begun = time.monotonic()
        row(name, home)
        lengths[name] = time.monotonic() - begun
    print(f"one process: {wanted}\n| form | killed | seconds after its start | equal |\n|---|---|---|---|", flush=True)
    for name in given.only or KILLED:
        same, whens = 0, sorted(rng.uniform(0, lengths[KILLED[name]]) for _ in range(given.kills))
        for number, when in enumerate(whens):
            home = Home(folder / f"{name}-{number}", command, given.patience, when)
            home.folder.mkdir()
            said, found = row(name, home)
            same += found == wanted
            if found != wanted:
                print(f"{said}, after {when:.2f} s: {found}", flush=True)
            shutil.rmtree(home.folder)
        equal = equal and same == len(whens)
        print(f"| {FORMS[name][0]} | {len(whens)} | {whens[0]:.1f} to {whens[-1]:.1f} | {same} |", flush=True)
    return equal


def table(given: argparse.Namespace, folder: Path) -> bool:
    """Print a row for each form; whether all that ran are equal to the first."""
    command = prepared(given, folder)
    print("| form | shards | images | results.jsonl | equal |\n|---|---|---|---|---|", flush=True)
    wanted: tuple[str, str, str] | None = None
    equal = True
    for name in given.only or FORMS:
        home = Home(folder / name, command, given.patience)
        home.folder.mkdir()
        said, found = row(name, home)
        if isinstance(found, str):
            ran = not found.startswith("not run")
            equal = equal and not ran
            print(f"| {said} | | | | {'no: ' if ran else ''}{found} |", flush=True)
            continue
        wanted = wanted or found
        same = found == wanted and "none" not in (found[0], found[2])
        equal = equal and same
        print(f"| {said} | {' | '.join(f'`{each}`' for each in found)} | {'yes' if same else 'no'} |", flush=True)
        shutil.rmtree(home.folder)
    return equal and wanted is not None


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 1 when a form differs from the first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=FORMS, action="append", help="a form; repeatable, the first is compared with")
    parser.add_argument("--model", default="emoji-scenes", help="bundled name or folder")
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--num-seeds", type=int, default=1)
    parser.add_argument("--shard-size", type=int, default=2)
    parser.add_argument("--index", action=argparse.BooleanOptionalAction, default=True, help="search the model's index")
    parser.add_argument("--kills", type=int, help="how often each form that is killed is run")
    parser.add_argument("--patience", type=float, default=600, help="seconds for a process to end")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder, set_to({"OMP_NUM_THREADS": "1"}):
        return int(not (kills if given.kills else table)(given, Path(folder)))


if __name__ == "__main__":
    sys.exit(main())
