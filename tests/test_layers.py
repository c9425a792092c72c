"""Data never flows up: a file imports only from lower layers or its own folder, and nothing heavy before it must."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "memdetect"
FILES = sorted(path for path in PACKAGE.rglob("*.py") if "_bundled" not in path.parts)

# In the order in which a prompt walks through them: each imports only from itself and from those above it.
ROOMS = (
    "errors",
    "files",
    "locks",
    "inputs",
    "adapters",
    "probing",
    "copies",
    "detectors",
    "runs",
    "judging",
    "scanning",
    "evaluation",
    "steering",
    "render",
    "lab",
    "cli",
    "__main__",
    "",  # memdetect/__init__.py, which names what others define
)
LAYERS = {room: number for number, room in enumerate(ROOMS)}

HEAVY = {"torch", "diffusers", "transformers", "faiss", "scipy", "numpy"}
LIGHT = ("", "cli", "errors", "files", "locks", "runs", "judging", "render", "copies.match", "cli.gate", "cli.machine")
LIGHT += ("copies.alignment_words",)
LIGHT += ("inputs.bundled", "inputs.prompts", "inputs.folders", "inputs.wording", "inputs.captions", "inputs.labels")
LIGHT += ("inputs.options", "inputs.given")


def module_of(path: Path) -> str:
    """Dotted name below the package: `cli.scan`, `cli` for its __init__, "" for the package's own."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in FILES}


def full(module: str) -> str:
    return f"memdetect.{module}".rstrip(".")


def layer(module: str) -> int:
    unit = module.partition(".")[0]
    assert unit in LAYERS, f"{full(module)} has no layer; add {unit!r} to LAYERS in tests/test_layers.py"
    return LAYERS[unit]


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Line and full dotted name of everything a file imports at any depth, `from x import y` as x.y."""
    package = ["memdetect", *path.relative_to(PACKAGE).parent.parts]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def edges(path: Path) -> Iterator[tuple[int, str]]:
    """Line and module for each import of memdetect's own; `__version__` and other dunders count as no module."""
    for line, name in imported(path):
        head, _, inner = name.partition(".")
        if head != "memdetect" or (inner.startswith("__") and inner not in MODULES):
            continue
        while inner and inner not in MODULES:
            inner = inner.rpartition(".")[0]
        yield line, inner


def test_every_file_has_a_layer() -> None:
    for module in MODULES:
        layer(module)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE.parent)))
def test_imports_go_down(path: Path) -> None:
    """A room imports from itself and from rooms above it in ROOMS, never from one below."""
    module = module_of(path)
    wrong = [
        f"{path.name}:{line} imports {full(target)}" for line, target in edges(path) if layer(target) > layer(module)
    ]
    assert not wrong, "\n".join(wrong)


def test_no_module_imports_itself_in_a_circle() -> None:
    graph = {module: {target for _, target in edges(path)} - {module} for module, path in MODULES.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as problem:
        pytest.fail("import cycle: " + " -> ".join(map(full, problem.args[1])))


@pytest.mark.parametrize("module", [module for module in LIGHT if module in MODULES])
def test_starts_light(module: str) -> None:
    """Imported alone in a fresh interpreter, it loads nothing that takes seconds."""
    code = f"import sys, {full(module)}; print(*sorted({{m.partition('.')[0] for m in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PACKAGE.parent, timeout=120)
    assert done.returncode == 0, done.stderr
    unwanted = HEAVY | {"pydantic"} if module == "cli" else HEAVY
    loaded = unwanted.intersection(done.stdout.split())
    assert not loaded, f"import {full(module)} loads {', '.join(sorted(loaded))}"


def test_nothing_is_called_utils() -> None:
    assert not [path for path in FILES if path.name == "utils.py"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE.parent)))
def test_files_stay_short(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= 300, f"{path.name} has {lines} lines, at most 300; make it a folder"
