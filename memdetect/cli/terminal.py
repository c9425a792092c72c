"""Where words go: data to stdout through one writer, everything else to stderr."""

import os
import select
import signal
import sys
import threading
import time
import warnings
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TextIO

import typer

from memdetect.errors import Exit, MemdetectError
from memdetect.inputs.harmless import begun, escaped, lines

STOPS = (signal.SIGINT, signal.SIGTERM)
FINISHING = "interrupted: finishing the shard; once more to stop at once"
STOPPED = "stopped at once; the same command resumes"
GRACE, AT_ONCE = 10.0, 1.0  # seconds that what was stopped has, after the first signal and after the second


def say(message: object) -> None:
    """One line on stderr, whatever is in the message.

    Where nobody reads it, or it cannot be written, the talking ends, not the command.
    """
    try:
        print(begun(escaped(str(message))), file=sys.stderr, flush=True)
    except OSError:
        _discard(sys.stderr)


def complain(problem: object) -> None:
    """An error on stderr: one line, whatever the line breaks in its text."""
    say("memdetect: " + " ".join(str(problem).split("\n")))


def say_not_finite(sound: Sequence[bool], what: str) -> None:
    """A line on stderr on how many items gave values that are no numbers, so that none of them vanishes unsaid."""
    if lost := sum(not each for each in sound):
        say(f"{lost} of {len(sound)} {what} gave values that are not finite: left out where they did, see their notes")


def write(text: str) -> None:
    """Data on stdout. A reader that went away ends the writing, not the command, whose exit code stands.

    Raises MemdetectError (error) for data that somebody wanted and that cannot be written, as on a full disk.
    """
    try:
        try:
            sys.stdout.write(text)
        except UnicodeEncodeError:  # a locale without the prompt's letters; data is UTF-8 then
            sys.stdout.buffer.write(text.encode())
        sys.stdout.flush()
    except BrokenPipeError:
        _discard(sys.stdout)
    except OSError as problem:
        _discard(sys.stdout)
        said = f"cannot write to stdout ({problem.strerror}); make room, or send it to another place"
        raise MemdetectError(said, Exit.ERROR) from None


def write_lines(texts: Iterable[str]) -> None:
    """Lines for a person on stdout, none of which moves the cursor or commands a runner, whatever stands in them."""
    write(lines(texts))


def _discard(stream: TextIO) -> None:
    """Point a stream at nothing: Python flushes it once more at exit, and that must not fail again."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, stream.fileno())
    os.close(nothing)


def open_streams() -> None:
    """Point each of stdin, stdout and stderr that the caller closed at nothing, as it asked for.

    Else the next file that is opened would take its number, and what is said to nobody would be written into it.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free, which is this one
            setattr(sys, name, open(number, mode, encoding="utf-8"))  # noqa: PTH123, SIM115 - for the whole process


def colourful() -> bool:
    """Whether stdout takes colours: a terminal, and NO_COLOR not set."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def terminal_width() -> int:
    """Columns of the terminal, or 120 when stdout is none."""
    import shutil

    return shutil.get_terminal_size((120, 40)).columns if sys.stdout.isatty() else 120


def hush() -> None:
    """Libraries warn on stderr and only of errors; no telemetry. Called before they are imported."""
    for name in ("TRANSFORMERS_VERBOSITY", "DIFFUSERS_VERBOSITY", "HF_HUB_VERBOSITY"):
        os.environ.setdefault(name, "error")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TQDM_DISABLE", "1")
    if not sys.warnoptions:  # what a library will change one day concerns its callers, not its users
        warnings.simplefilter("ignore", FutureWarning)


class Terminated(KeyboardInterrupt):
    """A SIGTERM, on its way out like a Ctrl-C."""


def interrupted(stopped: BaseException) -> Exit:
    """The exit code of what was stopped by a signal."""
    return Exit.TERMINATED if isinstance(stopped, Terminated) else Exit.INTERRUPTED


@dataclass(slots=True)
class Interrupt:
    """Remembers the first SIGINT or SIGTERM.

    While batches are measured the running one is finished, and a second signal ends at once. Before the first batch, as
    a model is fetched or loaded, there is nothing to finish, and the first one ends at once. What is stopped so has
    `GRACE` seconds to leave nothing behind, a second after the second signal; then the process is ended.
    """

    exit: Exit | None = None
    measuring: bool = False

    def asked(self) -> bool:
        """Whether a signal has come. From the first question on there are batches to finish."""
        self.measuring = True
        return self.exit is not None

    def _note(self, number: int, _frame: object) -> None:
        finishing = self.exit is None and self.measuring
        self.exit = self.exit or _code(number)
        told = FINISHING if finishing else STOPPED
        try:
            say(told)
        except RuntimeError:  # the signal came within another line's writing, which Python does not interrupt
            os.write(sys.stderr.fileno(), f"{told}\n".encode())
        if not finishing:
            raise Terminated if self.exit is Exit.TERMINATED else KeyboardInterrupt

    @contextmanager
    def listening(self) -> Generator["Interrupt"]:
        """Handle the two signals while the body runs."""
        before = {number: signal.signal(number, self._note) for number in STOPS}
        try:
            with self._watched():
                yield self
        except KeyboardInterrupt as stopped:
            raise typer.Exit(int(self.exit or interrupted(stopped))) from None
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def _watched(self) -> Generator[None]:
        """Have a thread see the signals as well: Python hears them only once a library comes back to it."""
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        thread = threading.Thread(target=self._watch, args=(reading,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)
            os.close(writing)  # which ends the thread
            thread.join()
            os.close(reading)

    def _watch(self, reading: int) -> None:
        """End the process where it has not ended in time by itself; until `reading` is closed."""
        came: list[int] = []
        deadline: float | None = None
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not select.select([reading], [], [], left)[0]:
                with suppress(OSError):
                    os.write(2, f"{STOPPED}\n".encode())
                os._exit(int(_code(came[0])))
            held = os.read(reading, 64)
            if not held:
                return
            came += [number for number in held if number in STOPS]
            if len(came) > 1 or (came and not self.measuring):
                within = time.monotonic() + (AT_ONCE if len(came) > 1 else GRACE)
                deadline = within if deadline is None else min(deadline, within)


def _code(number: int) -> Exit:
    return Exit.INTERRUPTED if number == signal.SIGINT else Exit.TERMINATED


@contextmanager
def progress_bar(what: str) -> Generator[Any]:
    """A function (done, planned, note) that shows progress on stderr: a bar on a terminal, lines elsewhere."""
    if not sys.stderr.isatty():
        yield _lines(what)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)

        def update(done: int, planned: int, note: str) -> None:
            bar.update(task, completed=done, total=planned)
            if note:
                bar.console.print(begun(escaped(note)), markup=False)

        yield update


def _lines(what: str) -> Any:
    """At most a line every ten seconds, and the last one."""
    last = [-10.0]

    def update(done: int, planned: int, note: str) -> None:
        if note:
            say(note)
        now = time.monotonic()
        if done == planned or now - last[0] >= 10:
            last[0] = now
            say(f"{what}: {done} of {planned}")

    return update
