"""What a gate asks of a run: its limits, read from options and configuration, and the findings that are set aside."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from memdetect.errors import MemdetectError
from memdetect.files import SMALL, read_text
from memdetect.runs.records import COPIES, FINDINGS, Outcome
from memdetect.runs.repository import folders_above, inside
from memdetect.runs.review import seen

IGNORE_FILE = ".memdetectignore.toml"
Share = Annotated[float, Field(ge=0, le=1)]
Part = Annotated[float, Field(ge=0, lt=1)]  # a share that may not be all of it
Rare = Annotated[float, Field(ge=1e-6, le=0.5)]  # an error rate that some number of clean prompts can keep
Limit = Annotated[float, Field(ge=1e-6, lt=1)]
Confidence = Annotated[float, Field(ge=0.5, lt=1)]
Words = Annotated[str, Field(min_length=1, pattern=r"\S")]
HEX = r"^[0-9a-f]{8,64}$"
Said = Annotated[str, AfterValidator(seen)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True, strict=True, allow_inf_nan=False)


class Ignore(_Strict):
    """A finding that somebody answers for: it stays in every output, and fails no gate until it expires.

    id: that of the item, compared exactly. outcome: that or a weaker one is answered for; or copy_of: the key of a
    training image, of which alone the item's images may be copies, whole or in part. model: the name that the run
    gives the scanned model, or the first eight or more hex digits of its digest; or run: those of the run's plan
    digest. expires: the last day on which the entry holds.
    """

    id: Words
    outcome: Literal["copy", "partial-copy", "suspicious", "similar"] | None = None
    copy_of: Words | None = None
    model: Words | None = None
    run: Annotated[str, Field(pattern=HEX)] | None = None
    reason: Said
    owner: Said
    expires: date

    @model_validator(mode="after")
    def _one_of_each(self) -> "Ignore":
        if (self.outcome is None) == (self.copy_of is None):
            raise ValueError("give either outcome or copy-of: what the entry answers for")
        if (self.model is None) == (self.run is None):
            raise ValueError("give either model or run: what the entry was given for")
        return self


class Policy(_Strict):
    """The limits of a gate. All rates are shares from 0 to 1.

    fail_on: the outcomes that fail: the named one or worse. fdr: tolerated share of false ones among the
    findings (Benjamini-Hochberg over all planned prompts). level: false-positive rate at which `max_rate` counts.
    max_rate: limit for the upper bound, at `confidence`, of the share of prompt families flagged at that level.
    min_coverage: least share of the training set that the searched index has to cover; None = any, or no index.
    max_undetectable: largest share of the items that may stay without a p-value; None = none. Items above every clean
    prompt that could not be decided are never among them. delta: the error rates hold for this very calibration set
    but for this chance, instead of averaged over such sets; None = averaged. min_sensitivity: least lower 95 % bound of
    the share of labelled memorized prompts that the deciding detectors find, asked where no index was searched; 0 = not
    asked. min_recall: least share of planted copies that the searched index finds and calls copies. max_one_colour:
    largest share of the images that may have a single colour. min_screen_recall: least lower 95 % bound of the share of
    findings that a screen keeps, where prompts were only screened.
    ignore: findings set aside.
    """

    fail_on: Literal["copy", "partial-copy", "suspicious", "none"] = "suspicious"
    fdr: Rare = 0.05
    level: Rare = 0.01
    max_rate: Limit | None = None
    confidence: Confidence = 0.95
    min_coverage: Share | None = None
    max_undetectable: Part | None = None
    delta: Rare | None = None
    min_sensitivity: Share = 0.5
    min_recall: Share = 0.9
    max_one_colour: Part = 0.05
    min_screen_recall: Share = 0.9
    ignore: tuple[Ignore, ...] = ()

    @property
    def asks_scores(self) -> bool:
        """Whether scores play a part: not where copies alone fail, whole or in part."""
        return self.fail_on not in COPIES or self.max_rate is not None

    @property
    def failing(self) -> Sequence[Outcome]:
        """The outcomes that fail, the worst first."""
        return failing(self.fail_on)

    @property
    def digest(self) -> str:
        """The sha256, in hex, of the policy as JSON with sorted keys and no spaces: equal policies, equal digests."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()


def failing(fail_on: str) -> Sequence[Outcome]:
    """The outcomes that a policy's `fail_on` names: that one and worse ones, the worst first; () for `none`."""
    return () if fail_on == "none" else FINDINGS[: FINDINGS.index(fail_on) + 1]


@dataclass(frozen=True, slots=True)
class Chosen:
    """The policy in force, in words whose it is, and its file from the root of the repository, "" = none there."""

    policy: Policy
    source: str
    file: str = ""


def read_policy(
    overrides: Mapping[str, Any], start: Path, file: Path | None = None, held: Sequence[Policy] = ()
) -> Chosen:
    """The policy in force: options over one configuration file, else over what the runs hold, else over the defaults.

    overrides: field -> value; None = not given. The file is `file`, or the nearest one from `start` upwards to the
    root of its repository that says something: `memdetect.toml` (table `policy`) before `pyproject.toml` (table
    `tool.memdetect.policy`). Outside a repository only `start` is looked at. Such a file stands for the whole policy:
    what it does not name is the default, whatever the runs hold. held: the policies that runs were planned with; where
    they differ and no file decides, options have to name each key that does. Suppressions are those of the
    `.memdetectignore.toml` that is found in the same folders, and no others. Raises MemdetectError (usage) that names
    the file for an unknown key, a wrong type or range.
    """
    folders = folders_above(start.resolve())
    given = {key: value for key, value in overrides.items() if value is not None}
    path, table = _configured(folders, file)
    if table is not None:
        source, base = repr(os.path.relpath(path, start.resolve()) if file is None else path), _read(path, table)
    elif held:
        _refuse_different(held, given)
        source, base = "the policy fixed in the run" + "s" * (len(held) > 1), held[0]
    else:
        source, base = "the default policy", Policy()
    chosen = _validate(Policy, {**base.model_dump(exclude={"ignore"}), **given}, "options")
    options = ", ".join(f"--{_dashed(key)}" for key in sorted(given))
    return Chosen(
        with_ignored(chosen, start),
        f"{source}{' under ' if options else ''}{options}",
        inside(path, folders[-1]) if table is not None else "",
    )


def with_ignored(policy: Policy, start: Path) -> Policy:
    """A policy with the suppressions of the `.memdetectignore.toml` in force at `start`, and no others."""
    return policy.model_copy(update={"ignore": _ignored(folders_above(start.resolve()))})


def _dashed(key: str) -> str:
    return key.replace("_", "-")


def _read(path: str, table: Mapping[str, Any]) -> Policy:
    known = {_dashed(name) for name in Policy.model_fields} - {"ignore"}
    _refuse_unknown(table, known, f"{path}: policy")
    return _validate(Policy, {key.replace("-", "_"): value for key, value in table.items()}, f"{path}: policy")


def _refuse_different(held: Sequence[Policy], given: Mapping[str, Any]) -> None:
    """Refuse runs of which no option says which of their policies holds."""
    for key in [key for key in Policy.model_fields if key != "ignore" and key not in given]:
        found = sorted({json.dumps(getattr(policy, key)) for policy in held})
        if len(found) > 1:
            raise MemdetectError(
                f"the runs were planned with different policies: {_dashed(key)} is {' and '.join(found)}; "
                f"say which holds, with --policy FILE or --{_dashed(key)}"
            )


def _configured(folders: Iterable[Path], file: Path | None) -> tuple[str, Mapping[str, Any] | None]:
    """Name and policy table of the file in force; None when there is none."""
    if file is not None:
        table = _policy_table(file)
        if table is None:
            raise MemdetectError(
                f"{file} holds no policy; write it under [policy], in a pyproject.toml under tool.memdetect"
            )
        return str(file), table
    for path in (folder / name for folder in folders for name in ("memdetect.toml", "pyproject.toml")):
        if os.path.lexists(path) and not path.is_file():
            raise MemdetectError(
                f"{path} is no file that can be read (a folder, a pipe, or a link to nowhere); remove it"
            )
        if path.is_file() and (table := _policy_table(path)) is not None:
            return str(path), table
    return "", None


def _policy_table(path: Path) -> Mapping[str, Any] | None:
    """The policy in a file, None when it says nothing of one; MemdetectError for what is not known beside it."""
    content, own = _toml(path), path.name != "pyproject.toml"
    inner = content if own else _table(_table(content, "tool", path), "memdetect", path)
    _refuse_unknown(inner, {"policy"}, f"{path}{'' if own else ': tool.memdetect'}")
    return _table(inner, "policy", path) if "policy" in inner else None


def _table(content: Mapping[str, Any], key: str, path: Path) -> Mapping[str, Any]:
    found = content.get(key, {})
    if not isinstance(found, dict):
        raise MemdetectError(f"{path}: {key} is {found!r:.40}, expected a table")
    return {str(name): value for name, value in found.items()}


def _ignored(folders: Iterable[Path]) -> tuple[Ignore, ...]:
    path = next((folder / IGNORE_FILE for folder in folders if os.path.lexists(folder / IGNORE_FILE)), None)
    return read_ignores(path) if path else ()


def read_ignores(path: Path) -> tuple[Ignore, ...]:
    """The `[[ignore]]` entries of a file; MemdetectError (usage) for one that is incomplete, unknown or repeated."""
    content = _toml(path)
    _refuse_unknown(content, {"ignore"}, str(path))
    entries = content.get("ignore", [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise MemdetectError(f"{path}: ignore is not a list of tables; write [[ignore]] above each entry")
    known = {_dashed(name) for name in Ignore.model_fields}
    found: dict[tuple[str, str | None, str | None], Ignore] = {}
    for number, entry in enumerate(entries, 1):
        where = f"{path}: ignore entry {number}"
        _refuse_unknown(entry, known, where)
        ignore = _validate(Ignore, {key.replace("-", "_"): value for key, value in entry.items()}, where)
        key = (ignore.id, ignore.model, ignore.run)
        if key in found:
            raise MemdetectError(f"{where}: the id {ignore.id!r:.80} is there already; keep one of the two")
        found[key] = ignore
    return tuple(found.values())


def _toml(path: Path) -> Mapping[str, Any]:
    import tomllib  # only where there is such a file

    try:
        return tomllib.loads(read_text(path, SMALL))
    except OSError as problem:
        raise MemdetectError(f"{path} cannot be read ({problem.strerror}); check its permissions") from None
    except RecursionError:
        raise MemdetectError(f"{path} is nested too deep; write it plainly") from None
    except ValueError as problem:  # tomllib.TOMLDecodeError and UnicodeDecodeError are such
        raise MemdetectError(f"{path} is no TOML: {problem}; correct it") from None


def _refuse_unknown(table: Mapping[str, Any], known: set[str], where: str) -> None:
    for key in table:
        if key not in known:
            close = get_close_matches(key.replace("_", "-"), known, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise MemdetectError(f"{where} has no key {key!r:.80}; {hint}(have: {', '.join(sorted(known))})")


_Model = TypeVar("_Model", bound=_Strict)


def _validate(model: type[_Model], values: Mapping[str, Any], where: str) -> _Model:
    """Make a record of values; MemdetectError that names the first field that is missing or wrong."""
    try:
        return model.model_validate(values)
    except ValidationError as problem:
        raise _refusal(problem, where) from None


def held_policy(held: Mapping[str, Any], where: str) -> Policy:
    """The policy that a record holds as JSON; MemdetectError (usage) that names the place and the first wrong field."""
    try:
        return Policy.model_validate_json(json.dumps(held))
    except ValidationError as problem:
        raise _refusal(problem, f"{where}: policy") from None


def _refusal(problem: ValidationError, where: str) -> MemdetectError:
    first = problem.errors()[0]
    key = _dashed(".".join(str(part) for part in first["loc"]))
    own = first["type"] == "missing" or not key
    found = "" if own else f" (found {first['input']!r:.40})"
    said = first["msg"].removeprefix("Value error, ")
    return MemdetectError(f"{where}: {key}{': ' if key else ''}{said}{found}; correct it")
