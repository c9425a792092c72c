"""README says what the code does: two commands, every command of the CLI, every exit code, every public name."""

import re
from pathlib import Path

import pytest
import typer.main

import memdetect
from memdetect.cli import app
from memdetect.errors import Exit

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = typer.main.get_command(app).commands


def blocks(heading: str) -> list[str]:
    section = README.split(f"## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"```bash\n(.*?)```", section, flags=re.DOTALL)


def test_exactly_two_commands_of_one_line_each():
    found = blocks("Two commands")
    assert [block.count("\n") for block in found] == [1, 1]
    assert "memdetect scan" in found[0]
    assert found[1].endswith("pytest -n 2\n")


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_a_command_has_help_and_stands_in_readme(name):
    command = COMMANDS[name]
    assert command.help
    assert f"memdetect {name}" in README


@pytest.mark.parametrize("name", sorted(COMMANDS["lab"].commands))
def test_a_lab_command_has_help_and_stands_in_readme(name):
    assert COMMANDS["lab"].commands[name].help
    listed = re.search(r"`memdetect lab ([^`]+)`: make", README)
    assert listed
    assert name in listed[1].split(" | ")


@pytest.mark.parametrize("name", ["scan", "calibrate", "gate"])
def test_every_option_has_help(name):
    assert [p.name for p in COMMANDS[name].params if not getattr(p, "help", None)] == []


def test_exit_codes_of_the_table_are_those_of_the_code():
    rows = re.findall(r"^\| ([\d, ]+) \|", README, flags=re.MULTILINE)
    listed = {int(code) for row in rows for code in row.split(",")}
    assert listed == {int(code) for code in Exit}


def test_public_names_are_ten_and_exist():
    names = "Detector Trace build_index calibrate judge load look_up read_run scan score"
    assert sorted(memdetect.__all__) == dir(memdetect) == names.split()
    for name in memdetect.__all__:
        assert getattr(memdetect, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'probe'"):
        _ = memdetect.probe


@pytest.mark.parametrize("path", re.findall(r"\]\(([^)#:]+)\)", README))
def test_links_of_the_readme_lead_somewhere(path):
    assert (ROOT / path).exists()
