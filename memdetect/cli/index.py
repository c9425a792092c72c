"""`memdetect index`: make an index of the training images, look at it, check it."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from memdetect.cli.output import hush, progress_bar, say, write
from memdetect.errors import Exit, MemdetectError

app = typer.Typer(help="Make an index of the training images, look at it, check it.", no_args_is_help=True)


class InfoForm(StrEnum):
    """Formats of what an index is."""

    text = "text"
    json = "json"


Folder = Annotated[Path, typer.Argument(metavar="INDEX", help="Index folder, made by index build.")]
MaxPixels = Annotated[int, typer.Option("--max-pixels", min=1, help="Larger images are not opened.")]
Model = Annotated[
    str | None, typer.Option(help="Bundled name or folder of the model that the embedder ships with, if it does.")
]
Weights = Annotated[Path | None, typer.Option(help="File with the embedder's weights, where it needs one.")]
Trust = Annotated[bool, typer.Option("--trust-torchscript", help="Open weights that can run code.")]


def source_of(model: str | None, weights: Path | None, trust: bool) -> Any:
    """Where an embedder's weights may lie."""
    from memdetect.copies.embedders import Source
    from memdetect.inputs.bundled import model_folder

    folder = (model_folder(model) or Path(model)) if model else None
    if folder and not folder.is_dir():
        raise MemdetectError(f"--model {model!r} is neither a bundled model nor a folder; check the name")
    return Source(folder, weights, trust)


@app.command()
def build(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...", help="Folders of images, globs, images, or txt, jsonl, csv, tsv, parquet of paths."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Index folder to make.")],
    embedder: Annotated[
        str, typer.Option(help="What turns an image into a vector; auto: SSCD if its weights are found, else pdq.")
    ] = "auto",
    held_out: Annotated[
        list[str] | None, typer.Option(help="Images known not to be copies, for the threshold; repeatable.")
    ] = None,
    level: Annotated[
        float | None,
        typer.Option(min=1e-9, max=0.5, help="Share of non-copies above the threshold; 0.001, or as the index has it."),
    ] = None,
    factory: Annotated[str | None, typer.Option(help="Flat, or IVFn,SQ8; by size if not given.")] = None,
    training_set: Annotated[
        int | None,
        typer.Option(min=1, help="Distinct pictures of the whole training set, of which the sources are a part."),
    ] = None,
    as_trained: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE[,center|random]",
            help="Index the squares that training cut out of pictures: shorter side SIZE, from the centre or anywhere.",
        ),
    ] = None,
    append: Annotated[bool, typer.Option("--append", help="Add to the index that is there.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Put the new index in the place of one.")] = False,
    null_queries: Annotated[int, typer.Option(min=1, help="At most so many images for the threshold.")] = 4999,
    planted: Annotated[int, typer.Option(min=0, help="Damaged copies to look up when it is built.")] = 200,
    batch_size: Annotated[int, typer.Option(min=1, help="Images embedded at once.")] = 64,
    max_pixels: MaxPixels = 64_000_000,
    model: Model = None,
    weights: Weights = None,
    trust_torchscript: Trust = False,
) -> None:
    """Embed the training images, find the threshold above which an image is similar to one, and write the index."""
    if append and replace:
        raise MemdetectError("--append and --replace exclude each other; give one of them")
    hush()
    from memdetect.adapters.cards import read_card
    from memdetect.copies.embedders import choose_embedder
    from memdetect.copies.index import BuildOptions, build_index, read_manifest
    from memdetect.copies.index import as_trained as squares_of
    from memdetect.copies.index.build import recover

    source = source_of(model, weights, trust_torchscript)
    if append:
        recover(out)
    held = read_manifest(out).embedder.name if append else None
    chosen, line = choose_embedder(embedder, index=held, card=read_card(source.folder).embedder, source=source)
    if line:
        say(line)
    options = BuildOptions(
        factory=factory,
        level=level,
        held_out=held_out or (),
        null_queries=null_queries,
        planted=planted,
        batch_size=batch_size,
        max_pixels=max_pixels,
        existing="append" if append else "replace" if replace else "refuse",
        training_set=training_set,
        as_trained=squares_of(as_trained) if as_trained is not None else None,
    )
    try:
        with progress_bar("index") as progress:
            made = build_index(sources, chosen, out, options, progress)
    except KeyboardInterrupt:
        say("memdetect: interrupted; nothing was written")
        raise typer.Exit(int(Exit.INTERRUPTED)) from None
    for line in _about(made.manifest):
        say(line)
    write(f"{out}\n")


@app.command()
def info(
    folder: Folder,
    format: Annotated[InfoForm, typer.Option("--format", help="What to print on stdout.")] = InfoForm.text,
) -> None:
    """Say what an index holds, what was left out, what its threshold rests on; only the manifest is checked."""
    from memdetect.copies.index.manifest import read_manifest

    manifest = read_manifest(folder)
    write(manifest.text() if format is InfoForm.json else "".join(f"{line}\n" for line in _about(manifest)))


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
    lines += threshold_lines(manifest.model_dump(mode="json"))
    if manifest.threshold.duplicates:
        lines.append(f"{manifest.threshold.duplicates} copies among them were left out of that.")
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
    write(f"{folder}: {manifest.count} images, {size:,} bytes in {len(manifest.files)} files, all as recorded\n")
