"""What is understood of a training folder and of LoRA files, before anyone waits for a scan."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memdetect.cli.machine import Check
from memdetect.errors import MemdetectError

NAMED = 3  # files that are named where there are more


@dataclass(frozen=True, slots=True)
class Picture:
    """A training picture: its captions with where each stands, and why it cannot be opened, "" if it can."""

    path: str
    captions: tuple[tuple[str, str], ...]
    problem: str

    def row(self) -> dict[str, Any]:
        """As JSON has it."""
        captions = [{"text": text, "from": source} for text, source in self.captions]
        return {"path": self.path, "captions": captions, "problem": self.problem}


def pictures_of(folder: Path, instance_prompt: str | None) -> list[Picture]:
    """Every picture of the folder with its captions, opened once. Raises MemdetectError where a scan would."""
    from memdetect.inputs.captions import understood

    found: dict[Path, list[tuple[str, str]]] = {}
    for path, caption, source in understood(folder, instance_prompt):
        found.setdefault(path, []).append((caption, source))
    return [Picture(str(path), tuple(captions), _problem(path)) for path, captions in found.items()]


def _problem(path: Path) -> str:
    from memdetect.inputs.images import open_ways

    try:
        open_ways(path)
    except MemdetectError as problem:
        return str(problem).removeprefix(f"{str(path)!r}: ")
    return ""


def examine_training(folder: Path, pictures: Sequence[Picture]) -> Iterator[Check]:
    """The pictures by folder, the captions by where they stand, what is left out and why."""
    places = Counter(str(Path(each.path).parent.relative_to(folder)) for each in pictures)
    yield Check("pictures", "ok", f"{len(pictures)} ({_shares(places, 'in')})")
    sources = Counter(_kind(source, Path(each.path)) for each in pictures for _, source in each.captions)
    yield Check("captions", "ok", f"{sum(sources.values())} ({_shares(sources, 'from')})")
    if broken := [each for each in pictures if each.problem]:
        said = f"{_named([each.path for each in broken], folder)} cannot be opened ({broken[0].problem})"
        cure = "no copy of it would be found, and no scan would pass: mend it or move it away"
        yield Check("left out", "fail", f"{said}; {cure}")
    shown = {each.path for each in pictures} | {source for each in pictures for _, source in each.captions}
    others, unread = _others(folder, shown)
    if others:
        yield Check("not pictures", "ok", f"{_named(others, folder)}: masks, caches and files that no trainer shows")
    if unread:
        yield Check("not read", "warn", f"{_named(unread, folder)}: move what was trained on into NAME.txt")


def _kind(source: str, picture: Path) -> str:
    """Where a caption stands, alike for all pictures: NAME.txt, metadata.jsonl, a folder's name."""
    path = Path(source)
    if path == picture.parent:
        return f"the folder's name {path.name!r}"
    beside = path.parent == picture.parent and path.name.startswith(picture.stem)
    return f"NAME{path.name.removeprefix(picture.stem)}" if beside else path.name


def _others(folder: Path, shown: set[str]) -> tuple[list[str], list[str]]:
    """Of the files that are neither pictures nor read for captions: masks and caches, and all the rest."""
    from memdetect.inputs.folders import files_in, is_image
    from memdetect.inputs.sidecars import CACHES

    files = [path for path in files_in(folder) if str(path) not in shown]
    beside = [str(path) for path in files if is_image(path) or path.suffix.lower() in CACHES]
    return beside, [name for name in map(str, files) if name not in {*beside}]


def examine_lora(given: str) -> Check:
    """Whether a LoRA file can be read whole, and what it holds."""
    from memdetect.adapters.loras import LORA_DOWN, check_lora
    from memdetect.adapters.opening import header

    try:
        path, scale = check_lora(given)
    except MemdetectError as problem:
        return Check("LoRA", "fail", str(problem))
    names = header(path)
    layers = sum(any(mark in name for mark in LORA_DOWN) for name in names)
    return Check("LoRA", "ok", f"{path}: {layers} layers, {len(names)} tensors, at scale {scale:g}")


def _shares(counts: Counter[str], word: str) -> str:
    named = {name: "the folder itself" if name == "." else name for name in counts}
    return ", ".join(f"{count} {word} {named[name]}" for name, count in counts.most_common())


def _named(paths: Sequence[str], folder: Path) -> str:
    shown = ", ".join(repr(str(Path(path).relative_to(folder))) for path in paths[:NAMED])
    return f"{len(paths)} ({shown}{' and more' if len(paths) > NAMED else ''})"
