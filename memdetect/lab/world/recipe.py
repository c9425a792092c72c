"""world.json: all that is needed to make a world again, bit by bit, and to check a folder that claims to hold it."""

import hashlib
import json
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from memdetect.errors import Exit, MemdetectError
from memdetect.files import write_atomic
from memdetect.lab.world.counts import Counts
from memdetect.lab.world.entry import Entry
from memdetect.lab.world.labelled import World, make_world
from memdetect.lab.world.pictures import FLUENT_FLAT, NAMES, draw, fetch, read_pictures
from memdetect.lab.world.scenes import paint
from memdetect.lab.world.stock import PICTURE_SIDE, Stock, load_clips

OWN = "pictures/"
PICTURES, TRAINED = "pictures.jsonl", "trained.jsonl"


class Recipe(BaseModel):
    """What a world is made of. `pictures`: a package with version and sha256, or "pictures/" beside this file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: int = 2
    seed: int = Field(ge=0)
    counts: Counts
    names: tuple[str, ...]
    clips: tuple[str, ...]
    pictures: str
    digest: str


class TruthRow(BaseModel):
    """One line of truth.jsonl. `sha256` is that of the pixels, row by row, three bytes each.

    `reproduced` and `copied_other`: share of `seeds` samples that are copies of this image, and of another image that
    was trained; absent until samples were judged.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    group: str
    family: str
    part: str
    exposures: int
    caption: str
    image: str | None = None
    sha256: str | None = None
    licence: str | None = None
    seeds: int | None = None
    reproduced: float | None = None
    copied_other: float | None = None


def find_world(
    pictures: Path | None = None, seed: int = 0, counts: Counts | None = None, names: Sequence[str] = NAMES
) -> tuple[World, Stock]:
    """A world and the stock that paints it: of pictures of the package by name, or of a folder's, NAME.png each.

    The clip art of the verbatim group is the bundled one in both.
    """
    if pictures:
        stock = Stock(read_pictures(pictures, PICTURE_SIDE), load_clips())
        names = list(stock.pictures)
    else:
        licence = f"{FLUENT_FLAT.licence}, {FLUENT_FLAT.holder}"
        stock = Stock(draw(fetch(), names, PICTURE_SIDE), load_clips(), licence)
    return make_world(seed, counts, names=names, clips=list(stock.clips)), stock


def first(names: Sequence[str], count: int | None) -> Sequence[str]:
    """The first `count` names, all of them where None. Raises MemdetectError when there are fewer."""
    if count is not None and count > len(names):
        raise MemdetectError(f"{count} pictures are asked for, the set has {len(names)}; ask for {len(names)} or fewer")
    return names[:count]


def parse_exposures(text: str) -> dict[int, int]:
    """Read `0:30,1024:120` as {0: 30, 1024: 120}: exposures and how many scenes get them.

    Raises MemdetectError for anything else.
    """
    found = re.findall(r"(?:^|,)([0-9]{1,9}):([0-9]{1,9})(?=,|$)", text)
    exposures = {int(shown): int(count) for shown, count in found}
    whole = ",".join(f"{a}:{b}" for a, b in found) == text and len(exposures) == len(found)
    if not exposures or not whole or 0 in exposures.values():
        raise MemdetectError(f"{text!r} are no exposures; expected EXPOSURES:SCENES,..., such as 0:30,1024:120")
    return exposures


def read_world(folder: Path) -> tuple[World, Stock]:
    """Make the world of a folder's world.json again.

    Raises MemdetectError when the file is missing or malformed, or when what is made differs from what it says.
    """
    recipe = read_recipe(folder / "world.json")
    own = folder / OWN if recipe.pictures == OWN else None
    world, stock = find_world(own, recipe.seed, recipe.counts, recipe.names)
    if world.digest != recipe.digest:
        raise MemdetectError(
            f"{folder}: the world made again has the digest {world.digest}, world.json says {recipe.digest}; "
            "pictures, counts or the version of memdetect differ",
            Exit.ERROR,
        )
    return world, stock


def read_recipe(path: Path) -> Recipe:
    """The recipe in a world.json. Raises MemdetectError when it is missing or malformed."""
    try:
        return Recipe.model_validate_json(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise MemdetectError(f"{path.parent} holds no world.json; make one with `memdetect lab world`") from None
    except (ValidationError, UnicodeDecodeError) as problem:
        text = f"{path} is not a recipe of a world: {_first(problem)}; make the world again"
        raise MemdetectError(text) from None


def _first(problem: ValidationError | UnicodeDecodeError) -> str:
    """The first thing that is wrong with a file, with the field's name."""
    if isinstance(problem, UnicodeDecodeError):
        return f"byte {problem.start} is not UTF-8"
    found = problem.errors()[0]
    return f"{'.'.join(map(str, found['loc']))}: {found['msg']}".removeprefix(": ")


def check_new(out: Path, pictures: Path | None = None) -> None:
    """Raise MemdetectError unless `out` is no folder yet, or one that holds nothing but the given pictures."""
    if out.exists() and not out.is_dir():
        raise MemdetectError(f"{out} is a file; give a new folder")
    kept = pictures.resolve() if pictures else None
    held = [path for path in out.iterdir() if path.resolve() != kept] if out.exists() else []
    if held:
        raise MemdetectError(f"{out} is not empty, it holds {held[0].name!r}; give a new folder, or delete this one")


def write_world(out: Path, world: World, stock: Stock, pictures: Path | None = None) -> None:
    """Write world.json, pictures.jsonl, truth.jsonl, truth/ID.png and trained.jsonl; of a user's pictures a copy too.

    pictures.jsonl lists every picture with source, licence and the sha256 of its pixels, trained.jsonl what the
    training shows beside the stream (image, key, caption): what `memdetect index` takes.
    """
    source = f"{FLUENT_FLAT.package}@{FLUENT_FLAT.version} sha256:{FLUENT_FLAT.sha256}"
    recipe = Recipe(
        seed=world.seed,
        counts=world.counts,
        names=world.names,
        clips=tuple(stock.clips),
        pictures=OWN if pictures else source,
        digest=world.digest,
    )
    if pictures:
        (out / OWN).mkdir(parents=True, exist_ok=True)
        for name in world.names:
            stock.pictures[name].save(out / OWN / f"{name}.png")
    (out / "truth").mkdir(parents=True, exist_ok=True)
    rows = [truth_row(entry, stock) for entry in world.labelled]
    for entry, row in zip(world.labelled, rows, strict=True):
        if row.image:
            Image.fromarray(stock.image(entry)).save(out / row.image, optimize=True)
    write_truth(out, rows)
    write_atomic(out / PICTURES, "".join(picture_lines(world, stock, recipe.pictures)))
    write_atomic(out / TRAINED, trained_lines(rows))
    write_atomic(out / "world.json", recipe.model_dump_json(indent=1) + "\n")


def trained_lines(rows: Sequence[TruthRow]) -> str:
    """What the training shows beside the stream, a line each."""
    kept = [row for row in rows if row.exposures and row.image]
    return "".join(json.dumps({"image": row.image, "key": row.id, "caption": row.caption}) + "\n" for row in kept)


def picture_lines(world: World, stock: Stock, source: str) -> Iterator[str]:
    """One line a picture; sha256 of its RGBA pixels at the size that scenes are painted from."""
    for name in world.names:
        digest = pixel_digest(np.asarray(stock.pictures[name]))
        yield json.dumps({"name": name, "source": source, "licence": stock.licence or None, "sha256": digest}) + "\n"


def write_training(out: Path, world: World, stock: Stock, count: int) -> None:
    """Write a training set to fine-tune another model on: train/*.png and train/metadata.jsonl (file_name, text).

    `count` images of the stream once each, and every trained entry as often as it is shown: as so many files
    (hard links where there are such), for trainers that count files as for those that read the lines.
    """
    (out / "train").mkdir(parents=True, exist_ok=True)
    lines: list[str] = []
    for i, scene in enumerate(islice(world.stream(), count)):
        lines.append(_shown(out, f"stream-{i:06d}", paint(scene, stock.pictures), scene.caption))
    for entry in world.trained:
        lines.append(_shown(out, f"{entry.id}-00000", stock.image(entry), entry.caption))
        lines += [_again(out, entry, k) for k in range(1, entry.exposures)]
    order = np.random.default_rng([world.seed, 4]).permutation(len(lines))
    write_atomic(out / "train" / "metadata.jsonl", "".join(lines[int(i)] for i in order))


def _shown(out: Path, name: str, image: np.ndarray, caption: str) -> str:
    Image.fromarray(image).save(out / "train" / f"{name}.png")
    return json.dumps({"file_name": f"{name}.png", "text": caption}) + "\n"


def _again(out: Path, entry: Entry, k: int) -> str:
    first, name = out / "train" / f"{entry.id}-00000.png", f"{entry.id}-{k:05d}.png"
    try:
        (out / "train" / name).hardlink_to(first)
    except OSError:  # a file system without such links, or with as many as it bears
        shutil.copyfile(first, out / "train" / name)
    return json.dumps({"file_name": name, "text": entry.caption}) + "\n"


def write_unseen(out: Path, world: World, stock: Stock, count: int) -> None:
    """Write the first `count` scenes of unseen combinations, never trained on: ID.png, caption in ID.txt.

    Raises MemdetectError when the world has fewer.
    """
    held = [entry for entry in world.clean if entry.group == "unseen"]
    if len(held) < count:
        raise MemdetectError(f"the world has {len(held)} unseen scenes, {count} were asked for; ask for fewer")
    out.mkdir(parents=True, exist_ok=True)
    for entry in held[:count]:
        Image.fromarray(stock.image(entry)).save(out / f"{entry.id}.png")
        write_atomic(out / f"{entry.id}.txt", entry.caption + "\n")


def truth_row(entry: Entry, stock: Stock) -> TruthRow:
    """What truth.jsonl says of an entry before any sample is judged."""
    known = {key: value for key, value in asdict(entry).items() if key in TruthRow.model_fields}
    if entry.scene is None and entry.clip is None:
        return TruthRow(**known)
    licence = "public domain" if entry.clip else stock.licence or None
    file, digest = f"truth/{entry.id}.png", pixel_digest(stock.image(entry))
    return TruthRow(**known, image=file, sha256=digest, licence=licence)


def pixel_digest(image: np.ndarray) -> str:
    """sha256 of the pixels of a uint8 image, row by row."""
    return hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest()


def read_truth(folder: Path) -> list[TruthRow]:
    """The rows of a folder's truth.jsonl; MemdetectError for a line that does not parse."""
    path = folder / "truth.jsonl"
    if not path.is_file():
        raise MemdetectError(f"{folder} holds no truth.jsonl; make one with `memdetect lab world`")
    rows: list[TruthRow] = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            rows.append(TruthRow.model_validate_json(line.decode()))
        except (ValidationError, UnicodeDecodeError) as problem:
            raise MemdetectError(f"{path}:{number}: {_first(problem)}; correct the line") from None
    return rows


def write_truth(folder: Path, rows: Sequence[TruthRow]) -> None:
    """Replace truth.jsonl."""
    lines = [row.model_dump_json(exclude_none=True) + "\n" for row in rows]
    write_atomic(folder / "truth.jsonl", "".join(lines))
