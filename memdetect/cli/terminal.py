"""Where words go: data to stdout through one writer, everything else to stderr."""

import os
import signal
import sys
import time
import warnings
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TextIO

import typer

from memdetect.errors import Exit
from memdetect.inputs.harmless import begun, escaped, lines


def say(message: object) -> None:
    """One line on stderr, whatever is in the message. A reader that went away ends the talking, not the command."""
    try:
        print(begun(escaped(str(message))), file=sys.stderr, flush=True)
    except BrokenPipeError:
        _discard(sys.stderr)


def complain(problem: object) -> None:
    """An error on stderr: one line, whatever the line breaks in its text."""
    say("memdetect: " + " ".join(str(problem).split("\n")))


def say_not_finite(sound: Sequence[bool], what: str) -> None:
    """A line on stderr on how many items gave values that are no numbers, so that none of them vanishes unsaid."""
    if lost := sum(not each for each in sound):
        say(f"{lost} of {len(sound)} {what} gave values that are not finite: left out where they did, see their notes")


def write(text: str) -> None:
    """Data on stdout. A reader that went away ends the writing, not the command, whose exit code stands."""
    try:
        try:
            sys.stdout.write(text)
        except UnicodeEncodeError:  # a locale without the prompt's letters; data is UTF-8 then
            sys.stdout.buffer.write(text.encode())
        sys.stdout.flush()
    except BrokenPipeError:
        _discard(sys.stdout)


def write_lines(texts: Iterable[str]) -> None:
    """Lines for a person on stdout, none of which moves the cursor or commands a runner, whatever stands in them."""
    write(lines(texts))


def _discard(stream: TextIO) -> None:
    """Point a stream at nothing: Python flushes it once more at exit, and that must not fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


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


@dataclass(slots=True)
class Interrupt:
    """Remembers the first SIGINT or SIGTERM, so that the running batch is finished; a second one ends at once."""

    exit: Exit | None = None

    def asked(self) -> bool:
        """Whether a signal has come."""
        return self.exit is not None

    def _note(self, number: int, _frame: object) -> None:
        if self.exit is not None:
            raise KeyboardInterrupt
        self.exit = Exit.INTERRUPTED if number == signal.SIGINT else Exit.TERMINATED
        told = "interrupted: finishing the batch; once more to stop at once"
        try:
            say(told)
        except RuntimeError:  # the signal came within another line's writing, which Python does not interrupt
            os.write(sys.stderr.fileno(), f"{told}\n".encode())

    @contextmanager
    def listening(self) -> Generator["Interrupt"]:
        """Handle the two signals while the body runs."""
        before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield self
        except KeyboardInterrupt:
            say("stopped at once; the same command resumes")
            raise typer.Exit(int(self.exit or Exit.INTERRUPTED)) from None
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


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
