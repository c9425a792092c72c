"""An option has one name, one type and one help in every command, and is declared in one place; commands are thin."""

import ast
import inspect
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import EnumType
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import pytest
import typer
import typer.main
from typer.models import OptionInfo

from memdetect.cli import app, run
from memdetect.cli.reports import Format
from memdetect.cli.unfold import Take, unfolded
from memdetect.inputs.options import Loading, Lookup, Sampling

PACKAGE = Path(__file__).parents[2] / "memdetect"
LONGEST = 40


def walk(command: Any, path: str = "memdetect") -> Iterator[tuple[str, Any]]:
    """Every command that does something, with its name."""
    inner = getattr(command, "commands", None)
    if inner is None:
        yield path, command
    for name, each in (inner or {}).items():
        yield from walk(each, f"{path} {name}")


COMMANDS = dict(walk(typer.main.get_command(app)))


@dataclass(frozen=True)
class Found:
    """An option of a command: its names, and what it takes, without its default."""

    command: str
    names: tuple[str, ...]
    choices: frozenset[str]
    kind: tuple[Any, ...]
    help: str


def options(command: str) -> Iterator[Found]:
    for parameter in inspect.signature(COMMANDS[command].callback).parameters.values():
        hint, info = get_args(parameter.annotation)
        if isinstance(info, OptionInfo):
            parts = [part for part in get_args(hint) or (hint,) if part is not type(None)]
            choices = frozenset(parts[0]) if isinstance(parts[0], EnumType) else frozenset()
            kind = ("choice" if choices else parts), info.min, info.max, info.metavar
            yield Found(command, (info.default, *(info.param_decls or ())), choices, kind, info.help or "")


OPTIONS = [found for command in COMMANDS for found in options(command)]
NAMES = sorted({name for found in OPTIONS for name in found.names})


# What fails: an outcome where a run is judged, a change where two are compared.
TWICE = {"--fail-on": "memdetect compare"}
LAB, OF_LAB = ("lora", "world"), ("--rank", "--world")  # files of the lab, and options that mean something else there


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_one_option_everywhere(name: str) -> None:
    """The same names, type, limits and help; commands may print fewer formats than others."""
    every = [option for option in OPTIONS if name in option.names and option.command != TWICE.get(name)]
    for found in (list(own) for _, own in groupby(sorted(every, key=of_lab), key=of_lab)):
        alike(found)


def of_lab(option: Found) -> bool:
    """The lab is a room of its own: its ranks are those of LoRAs, its worlds training sets."""
    return option.command.startswith("memdetect lab")


def alike(found: Sequence[Found]) -> None:
    assert len({(option.names, str(option.kind), option.help) for option in found}) == 1, found
    assert found[0].help
    if "--format" in found[0].names:
        assert all(option.choices <= set(get_args(Format)) for option in found)
    else:
        assert len({option.choices for option in found}) == 1


def test_o_is_a_report_and_out_is_what_a_command_makes() -> None:
    assert {option.names for option in OPTIONS if "-o" in option.names} == {("--output", "-o")}
    assert {option.names for option in OPTIONS if "--out" in option.names} == {("--out",)}
    helps = {name: option.help for option in OPTIONS for name in option.names}
    assert "report" in helps["--output"]
    assert "report" not in helps["--out"]


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_a_command_is_short(name: str) -> None:
    command = inspect.unwrap(COMMANDS[name].callback)
    assert len(inspect.getsourcelines(command)[0]) <= LONGEST


def declared(tree: ast.AST) -> Iterator[str]:
    """The first name of every option that a file declares, by a call of Option."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) == "Option":
            assert node.args, f"line {node.lineno}: an option without its name"
            yield ast.literal_eval(node.args[0])


def test_an_option_is_declared_once() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for path in PACKAGE.rglob("*.py"):
        for name in declared(ast.parse(path.read_text(encoding="utf-8"))):
            if name not in OF_LAB or path.stem not in LAB:
                places[name].append(path.name)
    assert {name: sorted(found) for name, found in places.items() if len(found) > 1} == {
        name: [f"{command.split()[-1]}.py", "judging.py"] for name, command in TWICE.items()
    }
    assert {name for name in places if name != "--version"} == {option.names[0] for option in OPTIONS}


def test_panels_of_scan_are_its_records(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["scan", "--help"]) == 0
    shown = capsys.readouterr().out
    panels = ["Options", "Inputs", "Model", "Sampling", "Probing and detectors", "Training images", "Judging", "Report"]
    panels += ["More than one process"]
    places = [shown.index(f"─ {panel} ─") for panel in panels]
    assert places == sorted(places)


def called(command: Any, *arguments: str) -> None:
    single = typer.Typer()
    single.command()(unfolded(command))
    single(args=list(arguments), standalone_mode=False)


def test_a_record_comes_as_it_was_given() -> None:
    seen: list[Any] = []

    def command(
        loading: Loading,
        sampling: Annotated[Sampling, Take(without=("seed",), default=Sampling(num_seeds=3, seed=7))],
        lookup: Annotated[Lookup, Take(only=("index",), required=("index",))],
        word: Annotated[Literal["a", "b"], typer.Option("--word")] = "a",
    ) -> None:
        seen.extend((loading, sampling, lookup, word))

    called(
        command, "--index", "i", "--lora", "x", "--lora", "y@2", "--dtype", "fp32", "--call", "height=64", "--word=b"
    )
    assert seen == [
        Loading(loras=("x", "y@2"), dtype="fp32"),
        Sampling(num_seeds=3, seed=7, call={"height": 64}),
        Lookup(index=Path("i")),
        "b",
    ]
    assert type(seen[0].dtype) is type(seen[3]) is str
    with pytest.raises(Exception, match="index"):
        called(command)
    with pytest.raises(Exception, match="seed"):
        called(command, "--index", "i", "--seed", "2")


def test_two_options_of_one_name_are_a_fault() -> None:
    def command(sampling: Sampling, seed: Annotated[int, typer.Option("--seed")] = 1) -> None: ...

    with pytest.raises(TypeError, match="command has seed twice"):
        unfolded(command)
