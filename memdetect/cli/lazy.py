"""Commands that are imported when they are asked for: a gate does not wait for the options of a scan."""

from collections.abc import Iterator, MutableMapping
from importlib import import_module
from inspect import cleandoc
from typing import Any

import typer
from typer.core import TyperGroup

# Name of a command -> its module in memdetect.cli, and there a function, or the Typer app of further commands.
COMMANDS = {
    "scan": ("scan", "scan_command"),
    "calibrate": ("calibrate", "calibrate_command"),
    "samples": ("samples", "samples_command"),
    "merge": ("merge", "merge_command"),
    "gate": ("gate", "gate_command"),
    "compare": ("compare", "compare_command"),
    "screen-recall": ("screen_recall", "screen_recall_command"),
    "report": ("report", "report_command"),
    "review": ("review", "review_command"),
    "sweep": ("sweep", "sweep_command"),
    "bench": ("bench", "bench_command"),
    "explain": ("explain", "explain_command"),
    "match": ("match", "match_command"),
    "doctor": ("doctor", "doctor_command"),
    "models": ("models", "models_command"),
    "layers": ("models", "layers_command"),
    "index": ("index", "app"),
    "steer": ("steer", "app"),
    "lab": ("lab", "app"),
}

# Panel of the help -> its commands.
PANELS = {
    "Find copies": ("scan", "samples", "merge", "match", "index"),
    "Prepare": ("calibrate", "screen-recall", "doctor", "models", "layers"),
    "Decide": ("gate", "compare", "report", "review", "explain"),
    "Study detectors and models": ("sweep", "bench", "steer", "lab"),
}


class Commands(MutableMapping[str, Any]):
    """The commands by name, each imported and made when it is looked up."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = dict.fromkeys(COMMANDS)

    def __getitem__(self, name: str) -> Any:
        if self._made[name] is None:
            self._made[name] = _command(name)
        return self._made[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self._made[name] = command

    def __delitem__(self, name: str) -> None:
        del self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._made)

    def __len__(self) -> int:
        return len(self._made)

    def __contains__(self, name: object) -> bool:
        return name in self._made


class LazyGroup(TyperGroup):
    """A group whose commands are those of the table."""

    def __init__(self, **attrs: Any) -> None:
        super().__init__(**attrs)
        self.commands = Commands()
        _no_type_of_help(self)


def _command(name: str) -> Any:
    module, attribute = COMMANDS[name]
    found = getattr(import_module(f"memdetect.cli.{module}"), attribute)
    if not isinstance(found, typer.Typer):
        alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        alone.command(name)(found)
        found = alone
    command: Any = typer.main.get_command(found)
    command.name = name
    command.rich_help_panel = next((panel for panel, names in PANELS.items() if name in names), None)
    for each in _with_inner(command):
        _no_type_of_help(each)
        each.help = paragraphs(each.help or "")
    return command


def _with_inner(command: Any) -> Iterator[Any]:
    """A command, and those that it is a group of, at any depth."""
    yield command
    for inner in getattr(command, "commands", {}).values():
        yield from _with_inner(inner)


def paragraphs(text: str) -> str:
    """A docstring with each paragraph on one line: Typer keeps its line ends, and a terminal breaks lines itself."""
    return "\n\n".join(" ".join(part.split()) for part in cleandoc(text).split("\n\n"))


def _no_type_of_help(command: Any) -> None:
    """Typer shows --help as an option that takes a value."""
    option = command.get_help_option(typer.Context(command))
    if option is not None:
        option.metavar = ""
