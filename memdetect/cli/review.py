"""`memdetect review`: decide on the findings of a run in a terminal, one after the other."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from memdetect.cli.options import MaybeOut
from memdetect.cli.reports import here
from memdetect.cli.terminal import say, write
from memdetect.errors import Exit, MemdetectError
from memdetect.runs.remote import is_remote

KEYS = {"c": "copy", "s": "similar", "n": "not a copy", "o": "needs the owner"}
ASKED = "c copy, s similar, n not a copy, o needs the owner, Enter later, q stop: "


def review_command(
    run: Annotated[Path, typer.Argument(help="Run folder of a finished scan, with its images.")],
    name: Annotated[
        str,
        typer.Option("--reviewer", metavar="NAME", help="Name of whoever decides; it stands beside every decision."),
    ],
    out: MaybeOut = None,
) -> None:
    """Decide on the findings of a run; each decision is a line of review.jsonl, which gate --review reads.

    Open the files of each finding side by side. Without --out the file is review.jsonl in the run's folder. Findings
    that you decided on there are not asked again, unless further training images come back that you had not seen.
    Exit codes: 0 done or stopped, 2 usage or input, 4 error.
    """
    from memdetect.inputs.options import Judging
    from memdetect.judging.run import judge_folders
    from memdetect.runs.review import read_reviews, seen

    try:
        seen(name)
    except ValueError as problem:
        raise MemdetectError(f"--reviewer {name!r:.60} {problem}; give yours") from None
    if out is None and is_remote(run):
        raise MemdetectError("decisions are not written into object storage; name a file with --out")
    (run,) = here([run], images=True)
    path = out or run / "review.jsonl"
    held = read_reviews([path]) if path.exists() else ()
    judged = judge_folders([run], Judging(review=[path] if held else ()))
    found = _undecided(judged.results, name if held else "")
    say(f"{len(found)} findings to decide on; decisions go to {path}")
    made = sum(_decided(row, number, (run, path, name)) for number, row in _asked(judged.results, found))
    say(f"{made} decided; judge with: memdetect gate {run} --review {path}")


def _undecided(results: Any, name: str) -> list[int]:
    """The places of the findings that this person has not decided on, the worst first; "" = nobody has on any."""
    from memdetect.render.shown import made_of, worst

    places = worst(results, len(results), lambda one: one.found)
    if name:
        marks = made_of(results, places, lambda row: _settled(row, name))
        places = [place for place, known in zip(places, marks, strict=True) if not known]
    return places


def _settled(row: Any, name: str) -> bool:
    """Whether a person's last decision on a finding stands: one that lifts a copy is about all there is to see."""
    from memdetect.copies.match import picture_of
    from memdetect.runs.review import LIFTED, person, shown_matches, standing

    mine = [one for one in standing(row.decisions) if person(one.name) == person(name)]
    seen = {picture_of(match.key) for match in shown_matches(row.matches)}
    return any(one.decision not in LIFTED or seen <= {*one.about(row.matches)} for one in mine)


def _asked(results: Any, places: list[int]) -> Iterator[tuple[str, Any]]:
    """Each finding when its turn comes, and which of how many it is."""
    for number, place in enumerate(places, 1):
        yield f"{number} of {len(places)}", results[place]


def _decided(row: Any, number: str, place: tuple[Path, Path, str]) -> bool:
    """Show a finding and keep what is said of it; whether something was. Raises typer.Exit where it is enough."""
    from memdetect.judging.reviewing import pictures

    run, path, name = place
    digests = pictures(row, run)
    write(f"\n{number}: {'; '.join(_lines(row, run))}\n")
    if not digests:
        write("its images are not there, so that nobody can decide on them\n")
        return False
    while (said := _answer(ASKED)) not in ("", *KEYS):
        if said == "q":
            raise typer.Exit
        write(f"{said!r:.20} is none of c, s, n, o, q\n")
    if not said:
        return False
    _keep(path, _record(row, digests, KEYS[said], (name, _answer("note: "))))
    return True


def _record(row: Any, digests: tuple[str, ...], decision: Any, told: tuple[str, str]) -> str:
    from memdetect.copies.match import picture_of
    from memdetect.runs.review import Reviewed, now, shown_matches

    name, note = told
    one = Reviewed(
        id=row.id,
        fingerprint=row.fingerprint,
        pictures=digests,
        training=tuple(picture_of(match.key) for match in shown_matches(row.matches)),
        decision=decision,
        name=name,
        note=note[:4000],
        time=now(),
    )
    return one.line()


def _lines(row: Any, run: Path) -> Iterator[str]:
    """What a person has to see of a finding."""
    from memdetect.inputs.harmless import plain
    from memdetect.render.shown import decision_words, subject
    from memdetect.runs.review import shown_matches

    yield f"{row.outcome}, {plain(subject(row), 300)}"
    if row.reason:
        yield plain(row.reason, 300)
    yield from (f"image {plain(str(run / file), 300)}" for file in row.files)
    yield from (f"training image {plain(match.path or match.key, 300)}" for match in shown_matches(row.matches))
    yield from (f"decided: {decision_words(one)}" for one in row.decisions)


def _answer(question: str) -> str:
    """A line of stdin; its end stops the review."""
    write(question)
    line = sys.stdin.readline()
    if not line:
        write("\n")
        raise typer.Exit
    return line.strip()


def _keep(path: Path, line: str) -> None:
    """Append a decision and sync it: what was said is not lost with the terminal."""
    try:
        with path.open("a+b") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 1))
            cut = file.read(1) not in (b"", b"\n")
            file.write(b"\n" * cut + line.encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as problem:
        raise MemdetectError(f"cannot write {path} ({problem.strerror}); choose another --out", Exit.ERROR) from None
