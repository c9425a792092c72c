"""The repository around a folder: the folders up to its root, and files as seen from there."""

from pathlib import Path


def folders_above(start: Path) -> list[Path]:
    """From `start` up to its repository's root; `start` alone where there is no repository."""
    upwards = [start, *start.parents]
    roots = [depth for depth, folder in enumerate(upwards) if (folder / ".git").exists()]
    return upwards[: roots[0] + 1] if roots else [start]


def root_of(start: Path) -> Path:
    """The root of the repository that a folder is in; the folder itself where there is none."""
    return folders_above(start.resolve())[-1]


def inside(path: str, root: Path) -> str:
    """A file as seen from a folder above it, with forward slashes; "" for one that is elsewhere."""
    found = Path(path).resolve()
    return found.relative_to(root).as_posix() if found.is_relative_to(root) else ""
