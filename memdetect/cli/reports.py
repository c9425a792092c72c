"""The reports of `scan` and `gate`: their options, and the one place that prints and writes results."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import typer

from memdetect.cli.options import FORMAT
from memdetect.cli.terminal import colourful, say, terminal_width, write
from memdetect.errors import Exit, MemdetectError
from memdetect.files import real, written

SUMMARY_LIMIT = 2**20  # bytes that GitHub takes of a step's summary
LIKE_REPORTS = (".txt", ".json", ".jsonl", ".csv", ".md", ".html", ".sarif", ".xml")
RUN_FILES = (
    "run.json",
    "results.jsonl",
    "journal",
    "calibration.json",
    "review.jsonl",
    "shards",
    "images",
    "given",
)
MADE = (
    "pairs.png",
    "base",
    "screen",
    "screen-recall.json",
    "train.index",
    "attempts",
    "parts",
    ".lock",
)  # what a run may hold besides


Format = Literal["table", "json", "jsonl", "csv", "md", "github", "html", "sarif", "junit", "card", "intoto"]
Evidence = Literal["none", "hash", "thumbs"]
OUTPUT = typer.Option(
    "--output",
    "-o",
    metavar="[FORMAT=]FILE",
    help="Write a report into a file as well; repeatable. The suffix tells the format, or its name before the =.",
)
REDACT = typer.Option("--redact", help="Leave prompts, paths, captions, names and pixels out of every output.")


@dataclass(frozen=True, slots=True)
class Reporting:
    """What is printed and written of a run. evidence: of the images nothing, their hashes, or names for thumbnails."""

    panel: ClassVar[str] = "Report"
    format: Annotated[Format, FORMAT] = "table"
    output: Annotated[Sequence[str], OUTPUT] = ()
    redact: Annotated[bool, REDACT] = False
    evidence: Annotated[
        Evidence | None,
        typer.Option(
            "--evidence",
            help="What reports keep of the images: nothing, their hashes, or thumbnails. Default: "
            "hash if CI is set, else thumbs.",
        ),
    ] = None


@dataclass(frozen=True, slots=True)
class Reports:
    """What to print and write of a run, checked before anything is measured. format: None = nothing is printed."""

    format: Format | None
    files: tuple[tuple[str, Path], ...]
    redact: bool
    evidence: Evidence


def reports(asked: Reporting, *, runs: Iterable[Path] = (), inputs: Iterable[str] = ()) -> Reports:
    """Check the options of the reports; MemdetectError (usage) for what would fail or overwrite something later.

    A report never replaces a file of a run folder, an input, or anything that is no regular file.
    """
    if asked.redact and asked.evidence == "thumbs":
        raise MemdetectError("--redact leaves no pixel, --evidence thumbs asks for them; choose one of the two")
    usual: Evidence = "hash" if os.environ.get("CI") or asked.redact else "thumbs"
    files = tuple(_target(output) for output in asked.output)
    taken = {real(name): "an input" for name in inputs if name != "-"}
    taken |= {real(run / name): "a part of the run" for run in runs for name in (*RUN_FILES, *MADE)}
    for _, path in files:
        held = next((taken[p] for p in (real(path), *real(path).parents) if p in taken), None)
        if held:
            raise MemdetectError(f"-o {path} would replace {held}; choose another file")
        taken[real(path)] = "another report"
        _check_writable(path)
    return Reports(asked.format, files, asked.redact, asked.evidence or usual)


def _target(output: str) -> tuple[str, Path]:
    """Format and path of `[FORMAT=]FILE`."""
    from memdetect.render import FORMATS, SUFFIXES

    name, equals, file = output.partition("=")
    if equals and name in FORMATS and file:
        return name, Path(file)
    ends = [end for end in SUFFIXES if f".{Path(output).name.lower()}".endswith(end)]
    found = SUFFIXES[max(ends, key=len)] if ends else None
    if found is None:
        raise MemdetectError(
            f"-o {output!r}: no format goes by this name; end it in {' '.join(SUFFIXES)}, or write FORMAT=FILE "
            f"with one of {', '.join(FORMATS)} (the run folder is --out)"
        )
    return found, Path(output)


def _check_writable(path: Path) -> None:
    special = str(path.absolute()).startswith(("/dev/", "/proc/"))  # whose links would be replaced, not written to
    if special or (path.exists() and not path.is_file()):
        raise MemdetectError(f"-o {path} is no regular file; name a file")
    nearest = next(folder for folder in path.absolute().parents if folder.exists())
    if not nearest.is_dir():
        raise MemdetectError(f"-o {path}: {nearest} is no folder; choose another place")


def check_run_folder(out: Path, sources: Iterable[str | Path | None]) -> None:
    """Refuse a run folder that is called like a report, `--out` for `--output`, or that lies in one of the sources."""
    from memdetect.inputs.folders import outside
    from memdetect.runs.remote import Store, is_remote

    if is_remote(out):
        Store.at(out)
        return
    outside(out, sources)
    if out.suffix.lower() in LIKE_REPORTS and not out.is_dir():
        raise MemdetectError(f"--out {out} names a run folder, not a report; a report goes to --output (-o)")


def here(runs: Iterable[Path], *, images: bool = False) -> list[Path]:
    """Run folders; of a run in object storage a copy on this machine, brought up to date; images: with its images."""
    from memdetect.runs.mirror import fetched

    return [fetched(run, images=images) for run in runs]


def publish(
    wanted: Reports, header: Any, results: Any, verdict: Any, folders: Sequence[Path], calibration: Any = None
) -> None:
    """Print results and verdict on stdout, then write every report; all of them redacted if that was asked for.

    folders: of the runs; images of several runs judged as one have no names of their own, and are left out.
    calibration: the clean scores that the results were judged by; None = those in the folder.
    """
    from memdetect.render import WITH_FILES, redact, render_table, with_evidence

    asked = {wanted.format, *(format for format, _ in wanted.files)}
    more: dict[str, tuple[Any, ...]] = {}
    if "html" in asked:
        more["html"] = (_beside(wanted, header, results, folders, calibration),)
    if WITH_FILES & asked:
        folder = folders[0] if len(folders) == 1 else None
        mode = wanted.evidence if folder else "none"
        results = with_evidence(results, mode, folder)
    if wanted.redact:
        header, results, verdict = redact(header, results, verdict)

    made = partial(_made, header, results, verdict, more)
    if wanted.format == "table":
        write(render_table(header, results, verdict, colour=colourful(), width=terminal_width()))
    elif wanted.format:
        for part in made(wanted.format):
            write(part)
    for format, path in wanted.files:
        save(path, made(format))
        say(f"{format}: {path}")


def _made(header: Any, results: Any, verdict: Any, more: dict[str, tuple[Any, ...]], format: str) -> Iterable[str]:
    """A report in parts, of which one is in memory: of each item, where a format has all of them; more: by format.

    What a report leaves out is said on stderr.
    """
    from memdetect.render import BOUNDED, FORMATS, STREAMED, WITH_PLACES

    if format in STREAMED:
        return STREAMED[format](header, results, verdict)
    rows = in_repository(results, Path.cwd()) if format in WITH_PLACES else results
    said = {"say": lambda left: say(f"{format}: {left}")} if format in BOUNDED else {}
    return (FORMATS[format](header, rows, verdict, *more.get(format, ()), **said),)


def _beside(wanted: Reports, header: Any, results: Any, folders: Sequence[Path], calibration: Any) -> Any:
    """What a page shows beside the results: read from the run before anything is redacted, and without a pixel then."""
    from memdetect.judging.calibration import read_calibration
    from memdetect.render.page.making import beside_of

    held = calibration or read_calibration(folders[0] / "calibration.json")
    return beside_of(header, results, folders, wanted.evidence, held)


def in_repository(results: Any, start: Path) -> Any:
    """The results with their source as seen from the root of the repository; "" = no file in it."""
    from memdetect.judging.results import Mapped
    from memdetect.runs.repository import inside, root_of

    root = root_of(start)

    @cache
    def seen(source: str) -> str:
        there = source not in ("", "-") and _is_file(start / source)
        return inside(str(start / source), root) if there else ""

    return Mapped(results, lambda _, row: row.model_copy(update={"source": seen(row.source)}))


def _is_file(path: Path) -> bool:
    """Whether a path leads to a file; a name that no file can have leads to none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def save(path: Path, parts: Iterable[str]) -> None:
    """Write a report whole or not at all; GitHub's step summary, which others write to as well, is appended to."""
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    try:
        if summary and real(path) == real(summary):
            _append(path, parts)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            with written(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
                file.writelines(_readable(parts))
                file.flush()
                os.fsync(file.fileno())
    except OSError as problem:
        raise MemdetectError(f"cannot write {path} ({problem.strerror}); choose another file", Exit.ERROR) from None


def _readable(parts: Iterable[str]) -> Iterator[str]:
    """The parts; what a run lacks while they are made is no fault of the file that they go to."""
    try:
        yield from parts
    except OSError as problem:
        said = f"{problem.filename} cannot be read ({problem.strerror})"
        raise MemdetectError(f"{said}; put it back or scan again", Exit.ERROR) from None


def _append(path: Path, parts: Iterable[str]) -> None:
    held = path.stat().st_size if path.exists() else 0
    data = bytearray()
    for part in _readable(parts):
        data += part.encode()
        if held + len(data) > SUMMARY_LIMIT:
            say(f"{path} holds {held} bytes already; the report would pass GitHub's limit and is left out")
            return
    with path.open("ab") as file:
        file.write(data)
