"""The command line. A command parses, calls one function, prints; `main` maps every exception to an exit code."""

import os
import sys
from typing import Annotated

import typer

from memdetect import __version__
from memdetect.cli.lazy import LazyGroup
from memdetect.cli.terminal import Interrupt, complain, interrupted, open_streams, say, write
from memdetect.errors import Exit, MemdetectError

app = typer.Typer(
    name="memdetect",
    cls=LazyGroup,
    help="Find which prompts and images of a diffusion model come back as copies of its training data.\n\n"
    "Begin with `memdetect scan`, which measures a model; `memdetect gate` judges what it measured.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> bool:
    if wanted:
        write(f"memdetect {__version__}\n")
        raise typer.Exit
    return wanted


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, metavar="", help="Print the version and stop."),
    ] = False,
) -> None:
    """Find which prompts and images of a diffusion model come back as copies of its training data."""


def run(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code; every exception becomes one line on stderr."""
    try:
        code = app(args=arguments, standalone_mode=False)
    except MemdetectError as problem:
        complain(problem)
        return int(problem.exit)
    except (KeyboardInterrupt, typer.Abort) as stopped:
        say("memdetect: interrupted; the same command resumes")
        return int(interrupted(stopped))
    except OSError as problem:
        file = f"{problem.filename}: " if problem.filename else ""
        complain(f"{file}{problem.strerror or problem}; mend that, and the same command resumes")
        return int(Exit.ERROR)
    except SystemExit as ended:  # what rich and typer make of a broken pipe while they print help: exit 1
        return int(Exit.OK if isinstance(ended.__context__, BrokenPipeError) else Exit.ERROR)
    except Exception as problem:
        return _other(problem)
    return code if isinstance(code, int) else int(Exit.OK)


def _other(problem: Exception) -> int:
    """Usage errors of the parser carry their own message and exit code; anything else is a fault of memdetect."""
    message = getattr(problem, "format_message", None)
    if message is not None:
        complain(message() or "no command given; choose one of those listed above")
        return int(Exit.USAGE)
    complain(f"internal error: {problem!r}; please report it (set MEMDETECT_TRACEBACK=1 to see where)")
    if os.environ.get("MEMDETECT_TRACEBACK"):
        import traceback

        traceback.print_exception(problem)
    return int(Exit.ERROR)


def main() -> None:
    """Console script."""
    open_streams()
    try:
        with Interrupt().listening() as interrupt:
            code = run()
        code = int(interrupt.exit or code)  # the parser makes 130 of every interrupt
    except typer.Exit as ended:  # a signal outside of the parser
        code = ended.exit_code
    if code in (Exit.INTERRUPTED, Exit.TERMINATED):
        os._exit(code)  # nothing is left to write; at its exit Python would wait for a library's threads
    sys.exit(code)
