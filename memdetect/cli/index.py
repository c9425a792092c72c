"""`memdetect index`: make an index of the training images, look at it, check it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import typer

from memdetect.cli.options import FORMAT, EmbedderFile, ModelBeside, Out
from memdetect.cli.terminal import hush, interrupted, progress_bar, say, write, write_lines
from memdetect.cli.unfold import Take, unfolded
from memdetect.inputs.harmless import ascii_json
from memdetect.inputs.options import Indexing, Ranked

app = typer.Typer(
    help="Make an index of the training images, look at it, check it.", no_args_is_help=True, add_completion=False
)


Folder = Annotated[Path, typer.Argument(metavar="INDEX", help="Index folder, made by index build.")]
Sources = Annotated[
    list[str],
    typer.Argument(
        metavar="SOURCE", help="Folders of images, globs, images, or txt, jsonl, csv, tsv, parquet of paths."
    ),
]
Shards = Annotated[
    list[str],
    typer.Argument(metavar="SHARD...", help="Embeddings: .npy, .parquet, a folder of .npy or of clip-retrieval."),
]
Parts = Annotated[list[Path], typer.Argument(metavar="PART...", help="All parts, in any order.")]
Given: TypeAlias = Annotated[Indexing, Take(without=("as_trained",), required=("embedder",))]
Merging: TypeAlias = Annotated[Indexing, Take(without=("as_trained", "append", "embedder"))]


@app.command()
@unfolded
def build(
    sources: Sources,
    indexing: Indexing,
    embedder_file: EmbedderFile,
    out: Out,
    ranked: Ranked,
    model: ModelBeside = None,
) -> None:
    """Embed the training images, find the threshold above which an image is similar, and write the index folder --out.

    --model names the model that the embedder ships with, if it does. --rank and --world make a part, for index merge.
    """
    from memdetect.copies.asking import embedder_for, source_of
    from memdetect.copies.index import build_index

    options = _options(indexing, ranked)
    chosen, line = embedder_for(indexing, out, source_of(model, embedder_file))
    _made(line, out, lambda progress: build_index(sources, chosen, out, options, progress))


@app.command()
@unfolded
def add(
    shards: Shards, indexing: Given, embedder_file: EmbedderFile, out: Out, ranked: Ranked, model: ModelBeside = None
) -> None:
    """Write an index of embeddings that --embedder made elsewhere, or append them to one, without the images.

    Where an image is not there its pixels cannot be compared: no copy of it can be told, and what is near it stays
    inconclusive. --rank and --world make a part of every W-th shard.
    """
    from memdetect.copies.asking import embedder_for, source_of
    from memdetect.copies.index.adding import add_embeddings

    options = _options(indexing, ranked)
    chosen, line = embedder_for(indexing, out, source_of(model, embedder_file))
    _made(line, out, lambda progress: add_embeddings(shards, chosen, out, options, progress))


@app.command()
@unfolded
def merge(parts: Parts, indexing: Merging, embedder_file: EmbedderFile, out: Out, model: ModelBeside = None) -> None:
    """Put the parts that index build made with --rank and --world together, as if one process had made the index."""
    from memdetect.copies.asking import source_of
    from memdetect.copies.embedders import choose_embedder
    from memdetect.copies.index import BuildOptions, read_manifest
    from memdetect.copies.index.merging import check_parts, merge_parts

    named = [(str(part), read_manifest(part)) for part in parts]
    check_parts(named)
    chosen, line = choose_embedder(index=named[0][1].embedder.name, source=source_of(model, embedder_file))
    _made(line, out, lambda progress: merge_parts(parts, chosen, out, BuildOptions.of(indexing), progress))


def _options(indexing: Indexing, ranked: Ranked) -> Any:
    """The options of a build, with this process's rank; a part says on stderr that it is one."""
    from memdetect.copies.index import BuildOptions

    rank = ranked.found
    if not rank.whole:
        say(f"part {rank.rank} of {rank.world}, by {rank.source}; put all parts together with memdetect index merge")
    return replace(BuildOptions.of(indexing), rank=rank)


def _made(line: str, out: Path, make: Callable[[Any], Any]) -> None:
    """Make an index with a progress bar, and say what it is; line: of its embedder."""
    hush()
    if line:
        say(line)
    try:
        with progress_bar("index") as progress:
            made = make(progress)
    except KeyboardInterrupt as stopped:
        say("memdetect: interrupted; nothing was written")
        raise typer.Exit(int(interrupted(stopped))) from None
    for each in _about(made.manifest):
        say(each)
    write(f"{out}\n")


@app.command()
@unfolded
def info(folder: Folder, format: Annotated[Literal["table", "json"], FORMAT] = "table") -> None:
    """Say what an index holds, what was left out, what its threshold rests on; only the manifest is checked."""
    from memdetect.copies.index.manifest import read_manifest

    manifest = read_manifest(folder)
    if format == "json":
        write(ascii_json(manifest.text()))
    else:
        write_lines(_about(manifest))


def _held(manifest: Any) -> str:
    """How many pictures, and of how many vectors where some have several."""
    if manifest.pictures == manifest.count:
        return f"{manifest.count} images"
    made = f", as trained at {manifest.as_trained.text}" if manifest.as_trained else ""
    return f"{manifest.pictures} images in {manifest.count} rows{made}"


def _about(manifest: Any) -> list[str]:
    from memdetect.render.matches import threshold_lines

    made, found = manifest.embedder, manifest.planted
    lines = [
        f"{_held(manifest)}, {manifest.factory}, digest {manifest.digest[:16]}",
        f"embedder {made.name}: {made.dim} numbers, fingerprint {made.fingerprint}",
    ]
    for what, counts in (("left out", manifest.skipped), ("noted", manifest.noted)):
        lines += [f"{what}: " + ", ".join(f"{n} {reason}" for reason, n in counts.items())] if counts else []
    if manifest.part:
        return [*lines, f"part {manifest.part.rank} of {manifest.part.world}: no threshold before they are merged"]
    lines += threshold_lines(manifest.model_dump(mode="json"))
    if manifest.threshold.duplicates:
        lines.append(
            f"{manifest.threshold.duplicates} of them are copies of others, and the threshold does not rest on these."
        )
    if found.images:
        lines.append(
            f"Of {found.images} of its images, {found.damage}: {found.recall_at_1:.1%} found at rank 1, "
            f"{found.similar:.1%} similar, {found.copies:.1%} called a copy."
        )
    return lines


@app.command()
def verify(folder: Folder) -> None:
    """Read every byte of an index and compare it with the manifest; exit 2 naming the file if one differs."""
    from memdetect.copies.index.manifest import verify as check

    with progress_bar("verify") as progress:
        manifest = check(folder, progress)
    size = sum(file.size for file in manifest.files.values())
    write_lines([f"{folder}: {manifest.count} images, {size:,} bytes in {len(manifest.files)} files, all as recorded"])
