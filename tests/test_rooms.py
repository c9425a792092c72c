"""The lab stays in its room: nothing but its own commands imports it, and nobody else knows its names."""

import ast
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "memdetect"
COMMANDS = {
    PACKAGE / "cli" / f"{name}.py" for name in ("lab", "lora", "theory", "embedder", "world", "claims", "evidence")
}  # of `memdetect lab`
OTHERS = sorted({path for path in PACKAGE.rglob("*.py") if PACKAGE / "lab" not in path.parents} - COMMANDS)
COMPARING = [  # what compares labelled groups, whatever these are called
    *(PACKAGE / "evaluation").glob("*.py"),
    *(PACKAGE / "steering").glob("*.py"),
    *(PACKAGE / "cli" / f"{name}.py" for name in ("sweep", "steer", "steering", "options")),
]


def imported(source: str) -> set[str]:
    """Every module that is named by an import, wherever in the file, those for type checking too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def of_lab(source: str) -> set[str]:
    return {name for name in imported(source) if name == "memdetect.lab" or name.startswith("memdetect.lab.")}


def test_only_its_own_commands_import_the_lab():
    found = {str(path.relative_to(ROOT)): names for path in OTHERS if (names := of_lab(path.read_text("utf-8")))}
    assert len(OTHERS) > 100
    assert not found


def test_every_command_of_the_lab_is_registered_by_it():
    for path in COMMANDS - {PACKAGE / "cli" / "lab.py"}:
        assert f"memdetect.cli.{path.stem}" in imported((PACKAGE / "cli" / "lab.py").read_text("utf-8"))


@pytest.mark.parametrize(
    "source",
    [
        "import memdetect.lab.scenes",
        "from memdetect import lab",
        "from memdetect.lab import world",
        "def f():\n    from memdetect.lab.scenes import GROUNDS",
    ],
)
def test_an_import_of_the_lab_is_seen(source):
    assert of_lab(source)
    assert not of_lab("from memdetect.labels import requests_of\nfrom memdetect.cli import lab")


def test_no_name_of_the_bundled_world_is_built_into_what_compares_groups():
    rows = [json.loads(line) for line in (ROOT / "sample_prompts" / "labelled.jsonl").read_text("utf-8").splitlines()]
    rows += [
        json.loads(line) for line in (ROOT / "sample_prompts" / "clean-tuning.jsonl").read_text("utf-8").splitlines()
    ]
    names = {str(row[column]) for row in rows for column in ("group", "part", "kind")}
    assert {"duplicated", "unseen", "tuning", "clip art"} <= names
    names -= {"calibration"}  # an option of its own as well
    for path in COMPARING:
        nodes = ast.walk(ast.parse(path.read_text("utf-8")))
        strings = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
        assert not strings & names, path
