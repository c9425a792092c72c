"""Every command that a page shows is one that the command line takes: by its own parser, without running it."""

import re

import pytest
from pages import TOP, blocks, commands, every_page, name_of, parsed

PAGES = [path for path in every_page() if path.name != "decisions.md"]
SHOWN = [(path, command) for path in PAGES for command in commands(path.read_text("utf-8"))]
# Calls in running text, such as `memdetect scan --dry-run`: they may leave out what is required.
SPANS = [
    (path, span)
    for path in PAGES
    for span in re.findall(r"`(?:\.venv/bin/)?memdetect ((?!lab [a-z-]+ \|)[a-z][^`\n]*)`", path.read_text("utf-8"))
]


def problem_of(words):
    """What the command line says against a call, without running it; "" if nothing."""
    try:
        parsed(words)
    except Exception as problem:
        told = getattr(problem, "format_message", None)
        return told() if told else str(problem)
    return ""


@pytest.mark.parametrize(("path", "command"), SHOWN, ids=[f"{name_of(p)}:{c.line}" for p, c in SHOWN])
def test_a_command_of_a_page_parses(path, command):
    said = problem_of(command.words)
    assert not said, f"{name_of(path)}, line {command.line}: {command}"


@pytest.mark.parametrize(("path", "span"), SPANS, ids=[f"{name_of(p)}-{s[:40]}" for p, s in SPANS])
def test_a_command_in_a_sentence_has_its_name_and_its_options(path, span):
    command = TOP
    rest = span.split()
    while rest and rest[0] in getattr(command, "commands", {}):
        command = command.commands[rest.pop(0)]
    assert command.name != "memdetect", f"{name_of(path)}: memdetect {span} names no command"
    takes = {name for each in command.params for name in (*each.opts, *each.secondary_opts)} | {"--help"}
    asked = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", span))
    assert asked <= takes or hasattr(command, "commands"), f"{name_of(path)}: {asked - takes} in memdetect {span}"


def test_tutorials_and_how_tos_show_commands():
    folders = {path.parent.name for path, _ in SHOWN}
    assert {"tutorial", "how-to"} <= folders
    assert len(SHOWN) > 20


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("memdetect scan a.txt --model m", [("scan", "a.txt", "--model", "m")]),
        ("$ CI=1 .venv/bin/memdetect gate 'a b' && memdetect report x | tee y", [("gate", "a b"), ("report", "x")]),
        ("pip install memdetect # memdetect scan", []),
        ("memdetect scan a \\\n    --model m", [("scan", "a", "--model", "m")]),
        ("memdetect gate runs/a || code=$?; memdetect models", [("gate", "runs/a"), ("models",)]),
        ("# memdetect scan nothing", []),
    ],
)
def test_calls_are_found_in_a_script(line, words):
    page = f"text\n```bash\n{line}\n```\nand\n```python\nmemdetect scan\n```\n"
    assert [command.words for command in commands(page)] == words
    assert [block.language for block in blocks(page)] == ["bash", "python"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("scna", "a"), "scna"),
        (("scan", "a"), "--model"),
        (("scan", "a", "--model", "m", "--sead", "1"), "--sead"),
        (("gate", "r", "--fdr", "x"), "--fdr"),
        (("gate",), "RUN"),
        (("index",), "build"),
    ],
)
def test_what_the_command_line_refuses_does_not_parse(words, said):
    assert said in problem_of(words)


def test_a_variable_of_a_page_stands_for_its_words():
    page = '```bash\nMORE="--steps 4 --seed 1"\n```\n```bash\nmemdetect scan a $MORE\n```\n'
    assert [command.words for command in commands(page)] == [("scan", "a", "--steps", "4", "--seed", "1")]
