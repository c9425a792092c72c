"""`memdetect lab evidence`: damaged copies of real pictures, and pictures that are none, judged by an index."""

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import typer

from memdetect.cli.options import EmbedderFile, Out
from memdetect.cli.terminal import colourful, hush, progress_bar, say, terminal_width, write
from memdetect.cli.unfold import Take, unfolded
from memdetect.inputs.options import Indexing, Seed

app = typer.Typer(
    help="Damaged copies of real pictures, and pictures that are none.", no_args_is_help=True, add_completion=False
)

Folder = Annotated[
    Path | None, typer.Option("--folder", help="Folder of the pictures. Default: in the user's cache folder.")
]
IndexOf: TypeAlias = Annotated[Indexing, Take(only=("embedder", "level"))]


@app.command()
@unfolded
def fetch(
    folder: Folder = None,
    debs: Annotated[
        Path | None, typer.Option("--debs", help="Folder of .deb files to take the pictures from; nothing is fetched.")
    ] = None,
) -> None:
    """Fetch Debian packages with real pictures by apt-get and store each picture once, scaled to 1024 px."""
    hush()
    from memdetect.lab.evidence import run as bench

    for line in bench.fetch(bench.folder_of(folder), debs, say):
        write(f"{line}\n")


@app.command()
@unfolded
def run(
    out: Out,
    split: Annotated[
        Literal["tuning", "test"],
        typer.Option("--split", help="Packages to take: those to choose on, or to report on."),
    ],
    indexing: IndexOf,
    lookup: EmbedderFile,
    folder: Folder = None,
    per_damage: Annotated[int, typer.Option("--per-damage", min=1, help="Number of damaged copies of each kind.")] = 50,
    damage: Annotated[
        list[str] | None, typer.Option("--damage", help="Damage to try; repeatable. Default: all.")
    ] = None,
    negatives: Annotated[
        int, typer.Option("--negatives", min=0, help="Most pictures that are no copies to look up; 0 = all.")
    ] = 0,
    side: Annotated[int, typer.Option("--side", min=32, help="Longer side of the queried pictures, in pixels.")] = 512,
    seed: Seed = 0,
) -> None:
    """Build an index of real pictures and count which damaged copies, and which other pictures, it says are copies.

    The folder --out gets the index, results.jsonl and sheets of what was missed (PNG).
    """
    hush()
    from rich.console import Console

    from memdetect.lab.evidence import run as bench
    from memdetect.lab.evidence.judged import Asked

    asked = Asked(bench.folder_of(folder), indexing, lookup, side, seed)
    wanted = bench.Wanted(split, per_damage, tuple(damage or ()), negatives)
    console = Console(width=max(terminal_width(), 140), no_color=not colourful())
    with progress_bar("images") as progress:
        found = list(bench.evaluate(asked, wanted, out, progress))
    for table in found:
        console.print(table)
    write(f"{out}\n")
