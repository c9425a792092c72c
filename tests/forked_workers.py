"""A command of `--workers` whose processes are forked from it, so that none of them has to import anything again.

Run by a program of `ready`. Only how a worker is started differs: its rank, its pipe and its group are as usual.
"""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass

from ready import Ready, Running

PROGRAM = "import sys; sys.path.insert(0, 'tests'); from forked_workers import main; main()"


def start(ready: Ready, arguments: list[str], **environment: str) -> Running:
    """A process that runs a command."""
    running = ready.start(PROGRAM, json.dumps(environment), *arguments)
    running.stdin.close()
    return running


def told(running: Running) -> tuple[int, str, str]:
    """Its exit code and what it wrote to stdout and stderr, once it has ended."""
    with running.stdout, running.stderr:
        written = running.stdout.read(), running.stderr.read()
    return running.wait(), *written


@dataclass
class Forked:
    """As much of `subprocess.Popen` as those who start workers use."""

    pid: int
    stdin: int
    code: int | None = None

    def poll(self) -> int | None:
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.code = os.waitstatus_to_exitcode(status) if pid else None
        return self.code

    def wait(self, timeout: float) -> int:
        until = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > until:
                raise subprocess.TimeoutExpired("worker", timeout)
            time.sleep(0.01)
        assert self.code is not None
        return self.code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def main() -> None:
    """Run the command of this process."""
    import memdetect.scanning  # noqa: F401 - by this process, for all that it starts
    from memdetect.cli import workers

    environment, *arguments = sys.argv[1:]
    os.environ.update(json.loads(environment))
    sys.argv = ["memdetect", *arguments]
    workers._started = started  # type: ignore[assignment]
    command()


def started(rank: int, world: int) -> Forked:
    """A worker, with a pipe that ends with this process."""
    from memdetect.cli.workers import CHILD, _ranked, started_by

    reading, writing = os.pipe()
    sys.stderr.flush()
    if pid := os.fork():
        os.close(reading)
        return Forked(pid, writing)
    code = 70
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        os.setpgid(0, 0)
        os.dup2(reading, 0)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.closerange(3, 1024)  # the other ends of the pipes
        os.environ[CHILD] = started_by(os.getppid())
        sys.argv[1:] = _ranked(sys.argv[1:], rank, world)
        command()
    except SystemExit as ended:
        code = int(ended.code or 0)
    finally:
        os._exit(code)


def command() -> None:
    from memdetect.cli import main

    main()
