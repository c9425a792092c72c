"""How long `memdetect --help` takes, over the help of a Typer app with two commands; and how ratios are taken here."""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

BAR = 1.5
TWO_COMMANDS = '''\
import typer

app = typer.Typer()


@app.command()
def hello(name: str) -> None:
    """Say hello."""


@app.command()
def goodbye(name: str, formal: bool = False) -> None:
    """Say goodbye."""


if __name__ == "__main__":
    app()
'''


@dataclass(frozen=True, slots=True)
class Ratio:
    """Time of A over time of B, one value for each round."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """Half of the rounds were below."""
        return statistics.median(self.values)

    def report(self, what: str, bar: float | None = None) -> str:
        """One line: the median, its spread over the rounds, and whether it is within the bar."""
        low, high = min(self.values), max(self.values)
        if len(self.values) > 1:
            first, _, third = statistics.quantiles(self.values, n=4, method="inclusive")
        else:
            first = third = self.median
        verdict = "" if bar is None else f"; bar {bar:.2f}: {'met' if self.median <= bar else 'missed'}"
        digits = 3 if self.median >= 0.1 else 6
        one, first, third, low, high = (f"{each:.{digits}f}" for each in (self.median, first, third, low, high))
        return (
            f"{what}: {one} (quartiles {first} to {third}, range {low} to {high}, {len(self.values)} rounds{verdict})"
        )


def compare(
    a: Callable[[], object],
    b: Callable[[], object],
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
) -> Ratio:
    """Time `a` and `b` next to each other `rounds` times, after one round that does not count.

    A round gives one ratio, so that a slow minute of the machine falls on both; who goes first alternates.
    """

    return compare_by((clock,), a, b, rounds)[0]


def compare_by(
    clocks: Sequence[Callable[[], float]], a: Callable[[], object], b: Callable[[], object], rounds: int
) -> list[Ratio]:
    """`compare` by each of several clocks in the same rounds."""

    def spent(call: Callable[[], object]) -> list[float]:
        start = [clock() for clock in clocks]
        call()
        return [clock() - begun for clock, begun in zip(clocks, start, strict=True)]

    a(), b()
    rows: list[list[float]] = []
    for i in range(rounds):
        if i % 2:
            below, above = spent(b), spent(a)
        else:
            above, below = spent(a), spent(b)
        rows.append([x / y for x, y in zip(above, below, strict=True)])
    return [Ratio(values) for values in zip(*rows, strict=True)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare the two helps; 1 when the bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    given = parser.parse_args(arguments)
    # Compiled modules are kept, as they are wherever memdetect is installed.
    env = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    with tempfile.TemporaryDirectory() as folder:
        app = Path(folder) / "two_commands.py"
        app.write_text(TWO_COMMANDS, encoding="utf-8")

        def show_help(*command: str) -> None:
            subprocess.run(
                [sys.executable, *command, "--help"], env=env, cwd=folder, check=True, stdout=subprocess.DEVNULL
            )

        ratio = compare(lambda: show_help("-m", "memdetect"), lambda: show_help(str(app)), given.rounds)
    print(ratio.report("memdetect --help over the help of a two-command Typer app", BAR))
    return int(ratio.median > BAR)


if __name__ == "__main__":
    sys.exit(main())
