"""`memdetect index`: make, describe, search and check an index of training images."""

from pathlib import Path
from typing import Annotated, Any

import typer

from memdetect.cli.output import hush, progress_bar, say, write
from memdetect.errors import MemdetectError

app = typer.Typer(help="Make, describe, search and check an index of training images.", no_args_is_help=True)

Weights = Annotated[Path | None, typer.Option(help="File with the weights of an SSCD embedder.")]
Trust = Annotated[bool, typer.Option("--trust-torchscript", help="Open a TorchScript file, which can run code.")]
Folder = Annotated[
    Path | None, typer.Option("--model-folder", help="Folder of the model whose embedder is used (`scenes`).")
]


@app.command()
def build(
    sources: Annotated[
        list[str],
        typer.Argument(metavar="SOURCE...", help="Folders, globs, or lists of paths (txt, jsonl, csv, tsv, parquet)."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the index.")],
    embedder: Annotated[str, typer.Option(help="auto, or one of the table of embedders.")] = "auto",
    held_out: Annotated[
        list[str] | None, typer.Option(help="Images known not to be in the training set; repeatable.")
    ] = None,
    level: Annotated[float, typer.Option(help="Chance of a false match for one image.")] = 1e-3,
    factory: Annotated[str | None, typer.Option(help="FAISS factory string; Flat up to a million images.")] = None,
    append: Annotated[bool, typer.Option("--append", help="Add to the index that is there; calibrates anew.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Replace the index that is there.")] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Images at once.")] = 64,
    model_folder: Folder = None,
    weights: Weights = None,
    trust_torchscript: Trust = False,
) -> None:
    """Embed training images and write an index of them, with a threshold calibrated on images that are no copies."""
    if append and replace:
        raise MemdetectError("--append and --replace exclude each other; give one of them")
    hush()
    from memdetect.embedders import Source, choose_embedder
    from memdetect.index import BuildOptions, build_index, read_manifest

    named = read_manifest(out).embedder.name if append else None
    source = Source(model_folder or (out.absolute().parent if named else None), weights, trust_torchscript)
    chosen, line = choose_embedder(embedder, index=named, source=source)
    if line:
        say(line)
    options = BuildOptions(
        factory=factory,
        level=level,
        held_out=tuple(held_out or ()),
        batch_size=batch_size,
        existing="append" if append else "replace" if replace else "refuse",
    )
    with progress_bar("index") as progress:
        made = build_index(sources, chosen, out, options, progress)
    write(_described(made.manifest))
    say(f"index: {out}")


@app.command()
def info(
    folder: Annotated[Path, typer.Argument(help="Folder of the index.")],
    json: Annotated[bool, typer.Option("--json", help="The manifest itself.")] = False,
) -> None:
    """Say what an index holds and what its threshold rests on; reads the manifest alone."""
    from memdetect.index import read_manifest

    manifest = read_manifest(folder)
    write(manifest.text() if json else _described(manifest))


@app.command()
def verify(folder: Annotated[Path, typer.Argument(help="Folder of the index.")]) -> None:
    """Read every byte of an index and compare it with the manifest; exit 2 if anything differs."""
    from memdetect.index import verify as check

    with progress_bar("verify") as progress:
        manifest = check(folder, progress)
    write(f"{len(manifest.files)} files agree with the manifest, {manifest.count:,} images\n")


@app.command()
def search(
    folder: Annotated[Path, typer.Argument(help="Folder of the index.")],
    images: Annotated[list[str], typer.Argument(metavar="IMAGE...", help="Images, folders, globs or lists.")],
    top_k: Annotated[int, typer.Option(min=1, help="Training images for each.")] = 5,
    weights: Weights = None,
    trust_torchscript: Trust = False,
) -> None:
    """Print the nearest training images of each image: rank, similarity, p, key, path; a tab between."""
    from memdetect.cli.match import look_up

    lines = ["image\trank\tsimilarity\tp\tkey\tpath\n"]
    for image, matches, problem in look_up(images, folder, top_k, weights, trust_torchscript):
        if problem:
            say(problem)
        for m in matches:
            p = "" if m.p is None else f"{m.p:.5f}"
            lines.append(f"{image}\t{m.rank}\t{m.similarity:.4f}\t{p}\t{m.key}\t{m.path}\n")
    write("".join(lines))


def _described(manifest: Any) -> str:
    """A manifest for a person to read."""
    threshold, planted = manifest.threshold, manifest.planted
    limit = "none" if threshold.similarity is None else f"{threshold.similarity:.4f}"
    shown = "" if threshold.shown else f"; too few to show that level: the least is {threshold.attainable:.2g}"
    lines = [
        f"{manifest.count:,} images, embedder {manifest.embedder.name} ({manifest.embedder.dim} numbers), "
        f"FAISS {manifest.factory}",
        f"threshold {limit}: exceeded by an image that is no copy with probability {threshold.level:g}, by "
        f"{threshold.queries:,} {threshold.source} queries against {threshold.rows:,} images{shown}",
        f"{planted.images} of its images, damaged ({planted.damage}): {planted.recall_at_1:.1%} nearest, "
        f"{planted.similar:.1%} similar, {planted.copies:.1%} called copies",
    ]
    for what, counts in (("left out", manifest.skipped), ("noted", manifest.noted)):
        if counts:
            lines.append(f"{what}: " + ", ".join(f"{count} {reason}" for reason, count in counts.items()))
    return "".join(f"{line}\n" for line in lines)
