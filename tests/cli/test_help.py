"""Help says what an option is for in a sentence, and what it takes in a word; the options that most need come first."""

import re
from itertools import pairwise

import pytest
import typer.main

from memdetect.cli import app, run

FIRST = ("--model", "--index", "--train-images", "--calibration", "--fail-on", "--out", "--dry-run")


def walked(command, path=()):
    """Every command with its name, groups too."""
    yield path, command
    for name in getattr(command, "commands", {}):
        yield from walked(command.commands[name], (*path, name))


EVERY = dict(walked(typer.main.get_command(app)))
OPTIONS = {
    (path, option.opts[0]): option
    for path, command in EVERY.items()
    for option in command.params
    if option.param_type_name == "option"
}


@pytest.mark.parametrize(("path", "name"), OPTIONS, ids=lambda value: value if isinstance(value, str) else None)
def test_the_help_of_an_option_is_a_sentence(path, name):
    text = OPTIONS[path, name].help or ""
    assert re.match(r"[A-Z]|\w+ \(|output:", text), text
    assert text.endswith("."), text
    assert len(text.split()) >= 3, text


@pytest.mark.parametrize(("path", "name"), OPTIONS, ids=lambda value: value if isinstance(value, str) else None)
def test_an_option_says_what_it_takes_in_words_of_its_own(path, name):
    """Not as a Python type: a switch takes nothing, a choice lists what there is, others have a word."""
    option = OPTIONS[path, name]
    context = EVERY[path].make_context(" ".join(path), [], resilient_parsing=True)
    shown = option.display_type_rich(context)
    if option.is_flag:
        assert shown == ""
    elif option.type_descriptor.is_choice and option.metavar is None:
        assert "|" in shown
    else:
        assert re.fullmatch(r"[^<>]*[A-Z][^<>]*", shown), shown


@pytest.mark.parametrize("path", EVERY, ids=" ".join)
@pytest.mark.parametrize("columns", [80, 130])
def test_help_keeps_to_its_width(path, columns, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(columns))
    assert run([*path, "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if len(line) > columns] == []
    assert re.findall(r"--[\w-]*…", " ".join(lines)) == []


@pytest.mark.parametrize("path", EVERY, ids=" ".join)
def test_paragraphs_of_help_fill_their_lines(path, monkeypatch, capsys):
    """No line ends where the docstring's did: the next word would not have fitted."""
    monkeypatch.setenv("COLUMNS", "80")
    assert run([*path, "--help"]) == 0
    lines = capsys.readouterr().out.partition("╭")[0].splitlines()
    pairs = [(line.rstrip(), after.split()[0]) for line, after in pairwise(lines) if line.strip() and after.strip()]
    assert [line for line, word in pairs if len(line) + 1 + len(word) < 80] == []


def test_the_options_that_most_people_need_come_first(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "130")
    assert run(["scan", "--help"]) == 0
    first = capsys.readouterr().out.partition("─ Options ─")[2].partition("╰")[0]
    assert re.findall(r"^│[ *]+(--[\w-]+)", first, flags=re.MULTILINE) == [*FIRST, "--help"]
