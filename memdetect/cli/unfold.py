"""A command's records unfolded: each field of a record becomes an option, each record a panel of the help."""

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from enum import EnumType, StrEnum
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from typer.models import OptionInfo, ParameterInfo

from memdetect.errors import MemdetectError
from memdetect.inputs.options import Given


@dataclass(frozen=True, slots=True)
class Take:
    """What a command takes of a record: `only` some of its options, or all `without` some.

    required: of these, what has no default here. default: a record with defaults of this command. panel: its title.
    front: options that stand in the first panel of the help instead, among those that most people need.
    """

    only: Sequence[str] = ()
    without: Sequence[str] = ()
    required: Sequence[str] = ()
    default: Any = None
    panel: str = ""
    front: Sequence[str] = ()

    def holds(self, name: str) -> bool:
        """Whether an option of the record is taken."""
        return name in self.only if self.only else name not in self.without


Make = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class _Unfolded:
    """A record's options: the parameters, and what makes each field's value of what the command line gives."""

    record: type[Any]
    default: Any
    parameters: list[Parameter] = field(default_factory=list[Parameter])
    made: dict[str, Make] = field(default_factory=dict[str, Make])

    def __call__(self, given: dict[str, Any]) -> Any:
        """The record; what it takes is taken out of `given`."""
        rest = {f.name: getattr(self.default, f.name) for f in fields(self.record)} if self.default else {}
        return self.record(**{**rest, **{name: make(given.pop(name)) for name, make in self.made.items()}})


def unfolded(command: Callable[..., None]) -> Callable[..., None]:
    """The command as Typer takes it: a parameter for each field of its records, with the record's panel.

    A parameter is a record if its type is a dataclass with a `panel`; `Annotated[Record, Take(...)]` takes a part of
    it. Raises TypeError where two parameters have one name.
    """
    hints = get_type_hints(command, include_extras=True)
    records: dict[str, _Unfolded] = {}
    own: dict[str, Make] = {}
    parameters: list[Parameter] = []
    for name, parameter in signature(command).parameters.items():
        if record := _record(hints[name]):
            records[name] = record
            parameters += record.parameters
        else:
            option, own[name] = _option(name, hints[name], parameter.default)
            parameters.append(option)

    @wraps(command)
    def called(**given: Any) -> None:
        made = {name: record(given) for name, record in records.items()}
        command(**made, **{name: own[name](value) for name, value in given.items()})

    names = [parameter.name for parameter in parameters]
    if twice := {name for name in names if names.count(name) > 1}:
        raise TypeError(f"{command.__name__} has {', '.join(sorted(twice))} twice")
    called.__dict__["__signature__"] = Signature(parameters)
    called.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return called


def path_of(text: str | Path) -> Path:
    """A path as it is given; MemdetectError for an empty one, which an unset variable leaves behind."""
    if not str(text).strip():
        raise MemdetectError("a path is empty, as an unset variable leaves it; name a file or folder, . for this one")
    return Path(text)


def _record(hint: Any) -> _Unfolded | None:
    """The options of a record; None for the type of a plain parameter."""
    record, *notes = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    if not (is_dataclass(record) and isinstance(record, type) and hasattr(record, "panel")):
        return None
    take = next((note for note in notes if isinstance(note, Take)), Take())
    made = _Unfolded(record, take.default)
    hints = get_type_hints(record, include_extras=True)
    panel = take.panel or getattr(record, "panel", "")
    for each in fields(record):
        if take.holds(each.name):
            default = getattr(take.default, each.name) if take.default is not None else _default(each)
            default = Parameter.empty if each.name in take.required else default
            place = None if each.name in take.front else panel
            parameter, made.made[each.name] = _option(each.name, hints[each.name], default, place)
            made.parameters.append(parameter)
    return made


def _option(name: str, hint: Any, default: Any, panel: str | None = None) -> tuple[Parameter, Make]:
    """A parameter as Typer takes it, and what makes the value of what it gives."""
    base, *notes = get_args(hint)
    option = copy(next(note for note in notes if isinstance(note, ParameterInfo)))
    option.rich_help_panel = panel or option.rich_help_panel
    given = next((note for note in notes if isinstance(note, Given)), None) or _given(base)
    if given.type in (Path, Path | None) and option.parser is None:
        option.parser, option.metavar = path_of, option.metavar or "PATH"
    if isinstance(option, OptionInfo) and option.metavar is None:
        option.metavar = _metavar(str(option.default), given.type)
    if default is not Parameter.empty and (isinstance(default, Mapping) or default == ()):
        default = None
    plain = _without_none(given.type) if default is Parameter.empty else given.type
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[plain, option]), given.made


def _metavar(name: str, hint: Any) -> str | None:
    """What the help says that an option takes: nothing for a switch, its choices, N, X, or the end of its name."""
    kinds = {part for part in get_args(hint) or (hint,) if part is not type(None)}
    if bool in kinds:
        return ""
    if any(isinstance(kind, EnumType) for kind in kinds):
        return None
    return "N" if int in kinds else "X" if float in kinds else name.rpartition("-")[2].upper()


def _default(each: Field[Any]) -> Any:
    if each.default_factory is not MISSING:
        return each.default_factory()
    return Parameter.empty if each.default is MISSING else each.default


def _given(hint: Any) -> Given:
    """What Typer reads for a type: several values for a sequence, a path for a name or path, a choice for literals."""
    parts = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    if Path in parts:
        return Given(Path | None if type(None) in parts else Path)
    if get_origin(hint) is Sequence:
        return Given(list[get_args(hint)[0]] | None, lambda values: tuple(values or ()))
    literal = next((part for part in parts if get_origin(part) is Literal), None)
    if literal is not None:
        choice: Any = StrEnum("Choice", {value: value for value in get_args(literal)})
        return Given(choice | None if type(None) in parts else choice, _value)
    return Given(hint)


def _value(choice: StrEnum | None) -> str | None:
    return None if choice is None else choice.value


def _without_none(hint: Any) -> Any:
    """The type without None: an option that has to be given."""
    parts = [part for part in get_args(hint) if part is not type(None)]
    return parts[0] if get_origin(hint) in (Union, UnionType) else hint
