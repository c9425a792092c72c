"""`--workers N`: processes of this very command, each with a rank; what dies is started anew while that helps."""

import os
import re
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import typer

from memdetect.cli.terminal import Interrupt, say
from memdetect.errors import Exit, MemdetectError
from memdetect.inputs.ranks import processors

OPEN = re.compile(r"/(dev|proc/(self|thread-self|\d+)(/task/\d+)?)/fd/\d+|/dev/std(in|out|err)")
CHILD = "MEMDETECT_WORKER"  # says to a process that is started by whom; each ends when its stdin does
PAUSE, GRACE = 0.1, 30.0  # seconds between two looks; that processes have to finish their shard
_WORKERS = set[str]()  # of CHILD what proved true once: whoever started this process may have died since
MEND = 6  # deaths without a new row, beside those that it takes to cut a shard down to an item: 3 of each end


@dataclass(slots=True)
class Workers:
    """The processes that measure some runs. stop: asked whether a signal has come, which is then passed on."""

    count: int
    runs: Sequence[Path]
    stop: Callable[[], bool]
    running: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict[int, subprocess.Popen[bytes]])
    codes: list[int] = field(default_factory=list[int])
    stopping: bool = False
    barren: int = 0
    measured: int = 0

    def work(self) -> None:
        """Run until every process has ended. Whatever ends this one ends them."""
        try:
            for rank in range(self.count):
                self.running[rank] = _started(rank, self.count)
            while self.running:
                self._look()
                time.sleep(PAUSE)
        finally:
            self._end()

    def _look(self) -> None:
        if not self.stopping and self.stop():
            self.stopping = True
            for child in self.running.values():
                child.send_signal(signal.SIGTERM)
        for rank, child in list(self.running.items()):
            code = child.poll()
            if code is None:
                continue
            del self.running[rank]
            if not self.stopping and self._died(child, code) and self._helps():
                say(f"worker {rank} died ({_cause(code)}); another is started in its place")
                self.running[rank] = _started(rank, self.count)
            else:
                self.codes.append(code)

    def _died(self, child: subprocess.Popen[bytes], code: int) -> bool:
        """Whether a process died of a shard, and did not end by itself."""
        left = any(True for run in self.runs for _ in (run / "attempts").glob(f"*.{child.pid}-*"))
        return code < 0 or (code != 0 and left)

    def _helps(self) -> bool:
        """Whether one more process may get further: so many may die before a row is written as it takes to cut down."""
        from memdetect.runs.folder import RunFolder

        parts = [run / part for run in self.runs for part in ("shards", "parts")]
        held = sum(1 for part in parts for _ in part.glob("*.jsonl"))
        self.barren = self.barren + 1 if held == self.measured else 1
        self.measured = held
        begun = [RunFolder(run).header() for run in self.runs if (run / "run.json").exists()]
        size = max((header.plan.shard_size for header in begun), default=1)
        return self.barren <= MEND + size.bit_length() + self.count

    def _end(self) -> None:
        for child in self.running.values():
            child.send_signal(signal.SIGTERM)
        until = time.monotonic() + GRACE
        for child in self.running.values():
            try:
                child.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()

    def check(self, run: Path) -> None:
        """Raise MemdetectError where a run lacks shards though nothing was stopped: usage, error or inconclusive."""
        from memdetect.judging.merging import missing
        from memdetect.runs.folder import RunFolder

        if Exit.USAGE in self.codes or not (run / "run.json").exists():
            code = Exit.USAGE if Exit.USAGE in self.codes else Exit.ERROR
            raise MemdetectError("the workers could not start, for the reason above", code)
        header = RunFolder(run).header()
        if left := RunFolder(run).todo(header.sharding):
            code = Exit.ERROR if Exit.ERROR in self.codes else Exit.INCONCLUSIVE
            raise MemdetectError(missing(run, header, left), code)


def through_workers(count: int, runs: Sequence[Path], inputs: Sequence[str]) -> Workers:
    """Have so many processes of this command do its work on some runs; ends this one where it was stopped.

    A stop that comes once a process has seen all there is none. Raises MemdetectError (usage) for an input that is
    read once.
    """
    if once := next(filter(_read_once, inputs), ""):
        named = "stdin" if once == "-" else once
        raise MemdetectError(
            f"--workers starts processes that read the inputs anew, and {named} is read once; name a file"
        )
    with Interrupt().listening() as interrupt:
        workers = Workers(count, runs, interrupt.asked)
        workers.work()
    if interrupt.exit is not None and Exit.OK not in workers.codes:
        say(f"stopped; resume with: {shlex.join(['memdetect', *sys.argv[1:]])}")
        raise typer.Exit(int(interrupt.exit))
    return workers


def _read_once(given: str) -> bool:
    """Whether an input is a pipe, a socket, a device, or what the shell has open for this process alone."""
    if given == "-" or OPEN.fullmatch(os.path.normpath(given)):
        return True
    try:
        mode = os.stat(given).st_mode  # noqa: PTH116 - a pattern is no path
    except (OSError, ValueError):
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _cause(code: int) -> str:
    try:
        return signal.Signals(-code).name if code < 0 else f"exit {code}"
    except ValueError:
        return f"signal {-code}"


def _started(rank: int, world: int) -> subprocess.Popen[bytes]:
    """This command once more, with a rank; in a process group of its own, so that a Ctrl-C comes once, from here.

    Without the working folder on its path (-P): what lies there may be called memdetect, and be another version.
    """
    environment = {**os.environ, CHILD: started_by(os.getpid())}
    if (home := str(Path(__file__).parents[2])) not in sysconfig.get_paths().values():  # a clone, by PYTHONPATH or -m
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (home, os.environ.get("PYTHONPATH"))))
    environment.setdefault("OMP_NUM_THREADS", str(max(1, processors() // world)))
    if len(cards := _cards()) > 1:
        environment["CUDA_VISIBLE_DEVICES"] = cards[rank % len(cards)]
    command = [sys.executable, "-P", "-m", "memdetect", *_ranked(sys.argv[1:], rank, world)]
    stdin, stdout = subprocess.PIPE, subprocess.DEVNULL
    return subprocess.Popen(command, env=environment, process_group=0, stdin=stdin, stdout=stdout)


def _ranked(arguments: Sequence[str], rank: int, world: int) -> list[str]:
    """A command with a rank behind its name, without --workers; what follows `--` are files, whatever their names."""
    name, *rest = arguments
    options = rest[: rest.index("--")] if "--" in rest else rest
    kept = [name, "--rank", str(rank), "--world", str(world)]
    given = iter(options)
    for argument in given:
        if argument == "--workers":
            next(given, None)
        elif not argument.startswith("--workers="):
            kept.append(argument)
    return [*kept, *rest[len(options) :]]


def _cards() -> list[str]:
    """The GPUs that processes may use, as CUDA_VISIBLE_DEVICES names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [card for card in named.split(",") if card.strip()]
    if shutil.which("nvidia-smi") is None:
        return []
    done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    return [str(k) for k, line in enumerate(done.stdout.splitlines()) if line.startswith("GPU ")]


def is_worker() -> bool:
    """Whether this process was started by another one of this command: a stray variable does not name its parent."""
    said = os.environ.get(CHILD, "")
    if said == started_by(os.getppid()):
        _WORKERS.add(said)
    return said in _WORKERS


def started_by(pid: int) -> str:
    """What a process of this command tells those that it starts."""
    return f"of {pid}"


def end_with_parent() -> None:
    """Stop this process, as a SIGTERM does, when the one that started it is gone and its end of the pipe with it."""

    def watch() -> None:
        while os.read(0, 64):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
