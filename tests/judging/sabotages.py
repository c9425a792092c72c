"""Ways in which a run on disk, its clean scores, its policy or a gate's command line can be wrong: a list, by kind.

Each is applied to a run that the bundled model really made. `expected` holds the exit codes that are right: 1 where a
finding is still seen, 3 where something is missing, 2 where a file or an option cannot be used. Never 0.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

Json = dict[str, Any]
FAIL, USAGE, INCONCLUSIVE = 1, 2, 3


@dataclass(frozen=True)
class Sabotage:
    """scene: `memorizing` or `clean`; damage: done to the run folder; options: further arguments of the gate."""

    name: str
    scene: str
    damage: Callable[[Path], None]
    expected: frozenset[int]
    options: tuple[str, ...] = ()


def shards(folder: Path) -> list[Path]:
    return sorted((folder / "shards").glob("*.jsonl"))


def file_of(folder: Path, name: str) -> Path:
    """A file of a run, which has one journal."""
    return next((folder / name).iterdir()) if name == "journal" else folder / name


def lines_of(shard: Path) -> list[Json]:
    return [json.loads(line) for line in shard.read_text(encoding="utf-8").splitlines()]


def put(shard: Path, rows: Sequence[Json]) -> None:
    shard.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def each_row(change: Callable[[Json], Any], folder: Path) -> None:
    """Change every row in place."""
    for shard in shards(folder):
        rows = lines_of(shard)
        for row in rows:
            change(row)
        put(shard, rows)


def one_row(number: int, change: Callable[[Json], Any], folder: Path) -> None:
    """Change one row in place."""
    shard, at = shards(folder)[number // 8], number % 8
    rows = lines_of(shard)
    change(rows[at])
    put(shard, rows)


def edit(file: str, change: Callable[[Json], Any], folder: Path) -> None:
    """Change a JSON file of the run in place."""
    path = folder / file
    held = json.loads(path.read_text(encoding="utf-8"))
    change(held)
    path.write_text(json.dumps(held), encoding="utf-8")


def cut(file: str, share: float, folder: Path) -> None:
    """Keep the first part of a file."""
    path = shards(folder)[0] if file == "shard" else file_of(folder, file)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


def drop(file: str, folder: Path) -> None:
    (shards(folder)[int(file)] if file.isdigit() else file_of(folder, file)).unlink()


def drop_row(number: int, folder: Path) -> None:
    shard = shards(folder)[number // 8]
    rows = lines_of(shard)
    del rows[number % 8]
    put(shard, rows)


def double_row(number: int, folder: Path) -> None:
    shard = shards(folder)[number // 8]
    rows = lines_of(shard)
    put(shard, [*rows, rows[number % 8]])


def double_shard(number: int, folder: Path) -> None:
    shard = shards(folder)[number]
    shard.with_name(f"9{shard.name[1:]}").write_bytes(shard.read_bytes())


def swap(first: int, second: int, key: str, folder: Path) -> None:
    """Exchange a field of two rows."""
    rows = [row for shard in shards(folder) for row in lines_of(shard)]
    rows[first][key], rows[second][key] = rows[second][key], rows[first][key]
    for i, shard in enumerate(shards(folder)):
        put(shard, rows[8 * i : 8 * i + 8])


def swap_shards(first: int, second: int, folder: Path) -> None:
    one, other = shards(folder)[first], shards(folder)[second]
    held = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(held)


def clear_copies(row: Json) -> None:
    for match in row["matches"]:
        match.update(copy_found=False, similar=False, similarity=0.1)


def set_in(place: str, value: Any, held: Json) -> None:
    """Set `a.b.c` of nested tables."""
    *above, key = place.split(".")
    for name in above:
        held = held[name]
    held[key] = value


def gone_from(place: str, held: Json) -> None:
    *above, key = place.split(".")
    for name in above:
        held = held[name]
    del held[key]


# Every field of the header, and of what it holds, that somebody may edit or lose.
HEADER = ("schema_version", "memdetect", "created", "model", "versions", "plan", "planned", "sigmas", "index", "policy")
HEADER += ("policy_digest", "plan_digest", "calibration", "wording", "seal")
PLAN = ("inputs", "model", "steps", "guidance_scale", "num_seeds", "seed", "detectors", "readings", "index")
PLAN += ("bank", "layers", "timesteps")
INDEX = ("rows", "similarity", "level", "part_limit", "recall", "planted", "coverage", "digest")
ROW = ("id", "prompt", "scores", "matches", "status", "index", "meta", "kind", "novelty")
STRANGE: Sequence[Any] = (None, -1, 5.0, "words", [], {}, 1e-300, True)


def dropped() -> Iterator[Sabotage]:
    for i in range(0, 60, 6):
        yield Sabotage(f"row {i} is missing", "clean", partial(drop_row, i), frozenset({INCONCLUSIVE}))
        yield Sabotage(f"row {i} is missing", "memorizing", partial(drop_row, i), frozenset({FAIL}))
    for i in range(8):
        yield Sabotage(f"shard {i} is missing", "clean", partial(drop, str(i)), frozenset({INCONCLUSIVE}))
    for scene, code in (("clean", INCONCLUSIVE), ("memorizing", FAIL)):
        yield Sabotage("the journal is missing", scene, partial(drop, "journal"), frozenset({code}))
        yield Sabotage("the clean scores are missing", scene, partial(drop, "calibration.json"), frozenset({code}))
        yield Sabotage("the header is missing", scene, partial(drop, "run.json"), frozenset({USAGE}))


def without_fields() -> Iterator[Sabotage]:
    places = [*HEADER, *(f"plan.{key}" for key in PLAN), *(f"index.{key}" for key in INDEX)]
    for place in places:
        change = partial(edit, "run.json", partial(gone_from, place))
        yield Sabotage(f"header without {place}", "clean", change, frozenset({USAGE, INCONCLUSIVE}))
    for key in ROW:
        yield Sabotage(f"a row without {key}", "clean", partial(one_row, 7, partial(gone_from, key)), frozenset({3}))


def lose(seed: int, row: Json) -> None:
    row["matches"] = [match for match in row["matches"] if match["seed"] != seed]


def not_searched() -> Iterator[Sabotage]:
    for seed in (0, 1):
        one, every = partial(one_row, 3, partial(lose, seed)), partial(each_row, partial(lose, seed))
        yield Sabotage(f"image {seed} not searched", "clean", one, frozenset({INCONCLUSIVE}))
        yield Sabotage(f"no image {seed} searched", "memorizing", every, frozenset({FAIL, INCONCLUSIVE}))
    nothing = partial(each_row, partial(set_in, "matches", []))
    yield Sabotage("nothing searched", "memorizing", nothing, frozenset({FAIL, INCONCLUSIVE}))
    yield Sabotage("nothing searched", "memorizing", nothing, frozenset({INCONCLUSIVE}), ("--fail-on", "copy"))


def doubled() -> Iterator[Sabotage]:
    for i in range(0, 60, 10):
        yield Sabotage(f"row {i} twice", "clean", partial(double_row, i), frozenset({INCONCLUSIVE}))
    for i in range(0, 8, 2):
        yield Sabotage(f"shard {i} twice", "clean", partial(double_shard, i), frozenset({INCONCLUSIVE}))


def edited_header() -> Iterator[Sabotage]:
    places = [(key, value) for key in HEADER for value in (None, -1, "words")]
    places += [(f"index.{key}", value) for key in INDEX for value in STRANGE]
    keys = ("readings", "bank", "layers", "timesteps", "num_seeds", "detectors", "steps", "model")
    places += [(f"plan.{key}", value) for key in keys for value in STRANGE]
    places = [place for place in places if place not in (("plan.layers", []), ("plan.timesteps", []))]  # as they are
    for place, value in places:
        change = partial(edit, "run.json", partial(set_in, place, value))
        yield Sabotage(f"{place} = {value!r}", "clean", change, frozenset({USAGE, INCONCLUSIVE}))
    for key, value in (("fail_on", "none"), ("fdr", 1e-6), ("min_recall", 0.0), ("max_undetectable", 0.99)):
        change = partial(edit, "run.json", partial(set_in, f"policy.{key}", value))
        yield Sabotage(f"policy {key} edited", "memorizing", change, frozenset({FAIL, INCONCLUSIVE}))
    for scene in ("clean", "memorizing"):
        change = partial(edit, "run.json", lambda held: held.update(planned=held["planned"] - 1))
        yield Sabotage("one item less is planned", scene, change, frozenset({FAIL, INCONCLUSIVE}))


def flat(value: Any, row: Json) -> None:
    row["scores"]["specificity"]["cells"] = {"run": {"all": [value, value]}}


def edited_rows() -> Iterator[Sabotage]:
    only, either = frozenset({INCONCLUSIVE}), frozenset({FAIL, INCONCLUSIVE})
    yield Sabotage("copies edited away", "memorizing", partial(each_row, clear_copies), either)
    yield Sabotage("copies edited away", "memorizing", partial(each_row, clear_copies), only, ("--fail-on", "copy"))
    for value in (0.0, 0.7, 5.0, None, "high"):
        yield Sabotage(f"every score {value!r}", "clean", partial(each_row, partial(flat, value)), either)
        yield Sabotage(f"one score {value!r}", "clean", partial(one_row, 5, partial(flat, value)), either)
    values = [("status", "nonfinite"), ("status", "unreadable"), ("status", "fine")]
    values += [("prompt", ""), ("prompt", None), ("prompt", "another prompt")]
    for key, value in values:
        yield Sabotage(f"{key} {value!r}", "clean", partial(one_row, 11, partial(set_in, key, value)), only)
    for shown in ([0], [0, 1]):
        change = partial(each_row, partial(set_in, "one_colour", shown))
        yield Sabotage(f"images {shown} of one colour", "clean", change, only)


def edited_clean_scores() -> Iterator[Sabotage]:
    for field, value in (("settings.model", "x"), ("settings", {}), ("items", []), ("scores", {}), ("base", "x")):
        change = partial(edit, "calibration.json", partial(set_in, field, value))
        yield Sabotage(f"clean scores with {field} = {value!r}", "clean", change, frozenset({USAGE, INCONCLUSIVE}))


def cut_off() -> Iterator[Sabotage]:
    for file in ("run.json", "calibration.json", "shard", "journal"):
        for share in (0.0, 0.2, 0.5, 0.9):
            codes = frozenset({INCONCLUSIVE} if file in ("shard", "journal") else {USAGE})
            yield Sabotage(f"{file} cut at {share:.0%}", "clean", partial(cut, file, share), codes)


def swapped() -> Iterator[Sabotage]:
    for key in ("prompt", "matches", "scores", "id", "index"):
        for first, second in ((0, 20), (5, 44)):
            change = partial(swap, first, second, key)
            yield Sabotage(f"{key} of rows {first} and {second}", "clean", change, frozenset({INCONCLUSIVE}))
            yield Sabotage(f"{key} of rows {first} and {second}", "memorizing", change, frozenset({FAIL}))
    for first, second in ((0, 7), (2, 3)):
        change = partial(swap_shards, first, second)
        yield Sabotage(f"shards {first} and {second}", "clean", change, frozenset({INCONCLUSIVE}))


def aged() -> Iterator[Sabotage]:
    for version in (0, 1, 99):
        for file in ("run.json", "calibration.json"):
            change = partial(edit, file, partial(set_in, "schema_version", version))
            yield Sabotage(f"{file} of schema {version}", "clean", change, frozenset({USAGE, INCONCLUSIVE}))


def untouched(_: Path) -> None:
    """Leave the run as it is: what is wrong is the command line."""


def limits() -> Iterator[Sabotage]:
    """Options at and beyond their limits, on a run that memorized."""
    for option in ("--fdr", "--level", "--confidence", "--max-rate", "--delta"):
        for value in ("0", "1", "1e-300", "-1", "nan", "2"):
            yield Sabotage(f"{option} {value}", "memorizing", untouched, frozenset({USAGE}), (option, value))
    for option, value in (("--max-undetectable", "1"), ("--max-one-colour", "2"), ("--min-recall", "1.5")):
        yield Sabotage(f"{option} {value}", "memorizing", untouched, frozenset({USAGE}), (option, value))
    held = (("--fdr", "1e-6"), ("--level", "1e-6"), ("--confidence", "0.5"), ("--max-rate", "0.99"), ("--delta", "0.5"))
    held += (("--max-undetectable", "0.99"), ("--min-coverage", "0"), ("--fail-on", "copy"), ("--min-recall", "0"))
    for option, value in held:
        yield Sabotage(f"{option} {value}", "memorizing", untouched, frozenset({FAIL}), (option, value))
    for value in ("0.002", "0.5", "1"):
        options = ("--min-coverage", value)
        yield Sabotage(f"--min-coverage {value}", "clean", untouched, frozenset({INCONCLUSIVE}), options)


KINDS = (dropped, without_fields, not_searched, doubled, edited_header, edited_rows, edited_clean_scores)
KINDS += (cut_off, swapped, aged, limits)
SABOTAGES = [sabotage for kind in KINDS for sabotage in kind()]
