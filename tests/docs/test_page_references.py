"""The pages that are made from the code are those that the code makes now."""

import sys

import pytest
import typer.main
from pages import ROOT, anchors, name_of

from memdetect.cli import app

sys.path.insert(0, str(ROOT / "docs" / "site"))
import references

sys.path.pop(0)


@pytest.mark.parametrize("path", references.PAGES, ids=name_of)
def test_a_made_page_is_up_to_date(path):
    made = references.PAGES[path]()
    assert path.read_text("utf-8") == made, f"{name_of(path)} is of older code; run: {references.COMMAND}"


def test_every_command_and_option_stands_on_its_page():
    page = references.cli_page()
    sections = dict(zip(anchors(page), page.split("\n#")[1:], strict=False))
    for path, command in references._walked(typer.main.get_command(app), ("memdetect",)):
        if not hasattr(command, "commands"):
            section = page.split(f" {' '.join(path)}\n", 1)[1].split("\n## ")[0].split("\n### ")[0]
            for each in command.params:
                assert all(f"`{name}`" in section for name in each.opts if name.startswith("-")), (path, each.name)
    assert "memdetect-scan" in sections


def test_every_command_has_a_panel():
    top = typer.main.get_command(app)
    assert {name for names in references.PANELS.values() for name in names} == set(top.commands)


def test_a_message_stands_with_dots_for_what_varies(tmp_path):
    source = tmp_path / "x.py"
    source.write_text(
        'raise MemdetectError(f"{name!r} has {n} rows, expected {m}; give " + "more", Exit.ERROR)\n'
        'raise MemdetectError("`a` is\\n  empty; fill it")\nraise MemdetectError(text)\nraise Other("no error here")\n'
    )
    found = sorted(references._messages(source))
    assert found == ["`'a' is empty; fill it`", "`… has … rows, expected …; give more` (4)"]
