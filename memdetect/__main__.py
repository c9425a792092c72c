"""`python -m memdetect`, and the console script, which hears a signal from its first moment on."""

import os
import signal

_LINE = b"memdetect: interrupted; the same command resumes\n"


def main() -> None:
    """Run the command line. A signal while its modules are imported ends it with one line, and 130 or 143."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)
    from memdetect.cli import main as command

    command()


def _leave(number: int, _frame: object) -> None:
    try:
        os.write(2, _LINE)
    finally:
        os._exit(128 + number)


if __name__ == "__main__":
    main()
