"""Make the pages of docs/reference that the code itself holds: commands and options, error messages, Python.

Run it after a change of either: python docs/site/references.py
"""

import ast
import re
import sys
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import typer.main

import memdetect
from memdetect.cli import app
from memdetect.cli.lazy import PANELS

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "memdetect"
COMMAND = "python docs/site/references.py"
MADE = f"<!-- Made by `{COMMAND}`; change the code instead. -->\n"

# The public names, in the order in which somebody needs them, and the records that they take.
ORDER = ("scan", "score", "calibrate", "judge", "read_run", "look_up", "build_index", "load", "Detector", "Trace")
RECORDS = tuple(
    f"memdetect.inputs.options.{name}"
    for name in (
        *("running.Loading", "running.Sampling", "running.Probing", "running.Lookup", "running.Sharing"),
        *("screening.Screening", "judging.Judging", "indexing.Indexing"),
    )
)

# Rooms of the package, in the order of docs: what somebody was doing when a message of it comes.
ROOMS = {
    "cli": "The command line",
    "inputs": "Prompts, images and options",
    "adapters": "Models",
    "probing": "Sampling and probing",
    "detectors": "Detectors",
    "copies": "Embedders and indexes",
    "runs": "Run folders and policies",
    "judging": "Calibrations and verdicts",
    "scanning": "Scans",
    "evaluation": "Comparing detectors",
    "steering": "Steering",
    "render": "Reports",
    "lab": "The lab",
}


def cli_page() -> str:
    """Every command with its options, by panel, as the command line itself has them."""
    parts = [
        "# Commands and options\n",
        MADE,
        "Every command of `memdetect`, with every option, as `--help` shows them. "
        "A word in *ITALICS* stands for what an option takes; some options can be given several times.\n",
    ]
    top = typer.main.get_command(app)
    for panel, names in PANELS.items():
        parts.append(f"**{panel}**: " + ", ".join(f"[`{name}`](#memdetect-{name})" for name in names) + "\n")
    for path, command in _walked(top, ("memdetect",)):
        if len(path) > 1:
            parts += _command(path, command)
    return "\n".join(parts).rstrip() + "\n"


def _walked(command: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, command
    for name, each in getattr(command, "commands", {}).items():
        yield from _walked(each, (*path, name))


def _command(path: tuple[str, ...], command: Any) -> Iterator[str]:
    yield f"\n{'#' * min(len(path), 4)} {' '.join(path)}\n"
    yield from (f"{_cell(text)}\n" for text in (command.help or "").split("\n\n"))
    if hasattr(command, "commands"):
        return
    context = typer.Context(command, info_name=" ".join(path))
    yield f"```text\n{' '.join(command.get_usage(context).removeprefix('Usage: ').split())}\n```\n"
    panels: dict[str, list[str]] = {}
    for each in command.params:
        argument = each.param_type_name == "argument"
        panel = "Arguments" if argument else each.rich_help_panel or "Options"
        panels.setdefault(panel, []).append(_argument(each) if argument else _option(each, context))
    first = sorted(panels, key=lambda panel: ("Arguments", "Options", panel).index(panel))
    for panel in first:
        heads = ("argument" if panel == "Arguments" else "option", "meaning")
        yield "\n".join([f"*{panel}*\n", f"| {' | '.join(heads)} |", "|---" * len(heads) + "|", *panels[panel], ""])


def _argument(argument: Any) -> str:
    return f"| `{argument.display_name_raw}` | {_cell(argument.help)}{'' if argument.required else ' *Optional.*'} |"


def _option(option: Any, context: Any) -> str:
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    takes = option.display_type_rich(context) or ""
    choice = takes.startswith("<") and "|" in takes
    one_of = f" One of {', '.join(f'`{value}`' for value in takes.strip('<>').split('|'))}." if choice else ""
    word = f" *{takes}*".replace("|", "\\|") if takes and not choice else ""
    return f"| {names}{word} | {_cell(option.help)}{one_of}{_default(option)} |"


def _default(option: Any) -> str:
    value = option.default.value if isinstance(option.default, Enum) else option.default
    if option.required:
        return " *Required.*"
    if isinstance(value, bool):
        on, *off = [*option.opts[:1], *option.secondary_opts[:1]]
        return f" Default: `{on if value else off[0]}`." if off else ""
    if isinstance(value, tuple):
        value = " ".join(map(str, value))
    return "" if value is None or value == "" else f" Default: `{value}`."


def _cell(text: str | None) -> str:
    """A text on one line, with options and files as code."""
    plain = " ".join((text or "").split()).replace("|", "\\|")
    return re.sub(r"(?<![\w`-])(--[a-z][\w-]*)(?![\w`-])", r"`\1`", plain)


def messages_page() -> str:
    """Return the text of an expression, with … for what is only known when it is raised."""
    parts = [
        "# Every error message\n",
        MADE,
        "Every problem that memdetect expects ends a command with one line on stderr: what was found, what was "
        "expected, and what to do. In Python the same line is that of a `memdetect.errors.MemdetectError`. "
        "This page lists the lines, so that a search finds them; `…` stands for a name, a number or a path.\n",
        "The exit code is 2 (usage, configuration or input), or the number in brackets: 4 is an error on the way.\n",
    ]
    for room, title in ROOMS.items():
        paths = sorted((PACKAGE / room).rglob("*.py"))
        lines = sorted({line for path in paths for line in _messages(path)}, key=str.casefold)
        parts += [f"\n## {title}\n", *(f"- {line}" for line in lines)]
    return "\n".join(parts).rstrip() + "\n"


def _messages(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "MemdetectError" and node.args:
            text = re.sub(r"…\s*…", "…", " ".join(_text(node.args[0]).split())).replace("`", "'")
            if re.search(r"\w{3}.* .*\w{3}", text):
                yield f"`{text}`" + (" (4)" if "Exit.ERROR" in ast.unparse(node) else "")


def _text(node: ast.expr) -> str:
    """Return the text of an expression; … stands for what is only known when it is raised."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=values):
            return "".join(_text(value) for value in values)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _text(left) + _text(right)
        case _:
            return "…"


def python_page() -> str:
    """The public names, the records of options and the files of the detectors, for mkdocstrings to fill in."""
    names = dict(sorted(memdetect._HOME.items(), key=lambda item: ORDER.index(item[0])))
    made = [
        "# Python\n",
        MADE,
        "`import memdetect` gives ten names. Each has its docstring below, with shapes, units and what it raises; "
        "the site fills them in where this page holds `:::`.\n",
        "## Functions and records\n",
        *(f"::: {home}.{name}\n" for name, home in names.items()),
        "## Options\n",
        "Options are records, importable from `memdetect.scanning`; their fields have the names and defaults of the "
        "command line.\n",
        *(f"::: {name}\n" for name in RECORDS),
        "## Detectors\n",
        "One file each; a detector is a record around pure functions of a `Trace`.\n",
    ]
    for path in sorted((PACKAGE / "detectors").glob("*.py")):
        calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
        if any(getattr(call.func, "id", "") == "Detector" for call in calls):
            made.append(f"::: memdetect.detectors.{path.stem}\n")
    return "\n".join(made).rstrip() + "\n"


PAGES = {
    ROOT / "docs/reference/cli.md": cli_page,
    ROOT / "docs/reference/messages.md": messages_page,
    ROOT / "docs/reference/python.md": python_page,
}


def main() -> None:
    """Write the pages, and say which changed."""
    for path, make in PAGES.items():
        made = make()
        if not path.exists() or path.read_text(encoding="utf-8") != made:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(made, encoding="utf-8")
            sys.stdout.write(f"{path.relative_to(ROOT)}\n")


if __name__ == "__main__":
    main()
