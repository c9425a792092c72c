"""What a gate asks of a run: its limits, read from options and configuration, and the findings that are set aside."""

import hashlib
import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from memdetect.errors import MemdetectError

IGNORE_FILE = ".memdetectignore.toml"
Share = Annotated[float, Field(ge=0, le=1)]
Open = Annotated[float, Field(gt=0, lt=1)]  # a rate of which neither none nor all can be asked
Words = Annotated[str, Field(min_length=1, pattern=r"\S")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Ignore(_Strict):
    """A finding that somebody answers for: it stays in every output, and fails no gate until it expires.

    id: that of the item. expires: the last day on which it holds.
    """

    id: Words
    reason: Words
    owner: Words
    expires: date


class Policy(_Strict):
    """The limits of a gate. All rates are shares from 0 to 1.

    fail_on: the outcomes that fail; `suspicious` means that or worse. fdr: tolerated share of false ones among the
    findings (Benjamini-Hochberg over all planned prompts). level: false-positive rate at which `max_rate` counts.
    max_rate: limit for the upper bound, at `confidence`, of the share of prompt families flagged at that level.
    min_coverage: least share of the training set that the searched index has to cover; None = any, or no index.
    max_undetectable: largest share of the items that may stay without a p-value; None = none. Items above every clean
    prompt that could not be decided are never among them. delta: the error rates hold for this very calibration set
    but for this chance, instead of averaged over such sets; None = averaged. min_sensitivity: least lower 95 % bound of
    the share of labelled memorized prompts that the deciding detectors find, asked where no index was searched; 0 = not
    asked. min_recall: least share of planted copies that the searched index finds and calls copies. max_one_colour:
    largest share of the images that may have a single colour.
    ignore: findings set aside.
    """

    fail_on: Literal["copy", "suspicious", "none"] = "suspicious"
    fdr: Open = 0.05
    level: Open = 0.01
    max_rate: Open | None = None
    confidence: Open = 0.95
    min_coverage: Share | None = None
    max_undetectable: Share | None = None
    delta: Open | None = None
    min_sensitivity: Share = 0.5
    min_recall: Share = 0.9
    max_one_colour: Share = 0.05
    ignore: tuple[Ignore, ...] = ()

    @property
    def digest(self) -> str:
        """The sha256, in hex, of the policy as JSON with sorted keys and no spaces: equal policies, equal digests."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Suppressions:
    """What the ignore entries do to a run: item id -> entry in force, those out of date, and those without a finding.

    An expired entry suppresses nothing. An unused one is in force, but no finding has its id.
    """

    used: Mapping[str, Ignore]
    expired: tuple[Ignore, ...]
    unused: tuple[Ignore, ...]


def suppressions(policy: Policy, findings: Iterable[str], today: date) -> Suppressions:
    """Match a policy's ignore entries with the ids of a run's findings on a day."""
    found = set(findings)
    expired = tuple(entry for entry in policy.ignore if entry.expires < today)
    valid = [entry for entry in policy.ignore if entry.expires >= today]
    used = {entry.id: entry for entry in valid if entry.id in found}
    return Suppressions(used, expired, tuple(entry for entry in valid if entry.id not in found))


def read_policy(overrides: Mapping[str, Any], start: Path, file: Path | None = None) -> Policy:
    """The policy in force: options first, then one configuration file, then the defaults.

    overrides: field -> value; None = not given. The file is `file`, or the nearest one from `start` upwards to the
    root of its repository that says something: `memdetect.toml` (table `policy`) before `pyproject.toml` (table
    `tool.memdetect.policy`). Outside a repository only `start` is looked at. `.memdetectignore.toml` is searched in
    the same folders. Raises MemdetectError (usage) that names the file for an unknown key, a wrong type or range.
    """
    folders = _folders(start.resolve())
    source, table = _configured(folders, file)
    known = {name.replace("_", "-") for name in Policy.model_fields} - {"ignore"}
    _refuse_unknown(table, known, f"{source}: policy")
    given = {key: value for key, value in overrides.items() if value is not None}
    read = _validate(Policy, {key.replace("-", "_"): value for key, value in table.items()}, f"{source}: policy")
    chosen = _validate(Policy, {**read.model_dump(exclude={"ignore"}), **given}, "options")
    return chosen if "ignore" in given else chosen.model_copy(update={"ignore": _ignored(folders)})


def _folders(start: Path) -> list[Path]:
    """The folders to search, from `start` up to its repository's root; `start` alone where there is no repository."""
    upwards = [start, *start.parents]
    roots = [depth for depth, folder in enumerate(upwards) if (folder / ".git").exists()]
    return upwards[: roots[0] + 1] if roots else [start]


def _configured(folders: Iterable[Path], file: Path | None) -> tuple[str, Mapping[str, Any]]:
    """Name and policy table of the file in force; an empty table when there is none."""
    if file is not None:
        table = _policy_table(file)
        if table is None:
            raise MemdetectError(
                f"{file} holds no policy; write it under [policy], in a pyproject.toml under tool.memdetect"
            )
        return str(file), table
    for path in (folder / name for folder in folders for name in ("memdetect.toml", "pyproject.toml")):
        if path.is_file() and (table := _policy_table(path)) is not None:
            return str(path), table
    return "", {}


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
    path = next((folder / IGNORE_FILE for folder in folders if (folder / IGNORE_FILE).is_file()), None)
    return read_ignores(path) if path else ()


def read_ignores(path: Path) -> tuple[Ignore, ...]:
    """The `[[ignore]]` entries of a file; MemdetectError (usage) for one that is incomplete, unknown or repeated."""
    content = _toml(path)
    _refuse_unknown(content, {"ignore"}, str(path))
    entries = content.get("ignore", [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise MemdetectError(f"{path}: ignore is not a list of tables; write [[ignore]] above each entry")
    found: dict[str, Ignore] = {}
    for number, entry in enumerate(entries, 1):
        where = f"{path}: ignore entry {number}"
        _refuse_unknown(entry, set(Ignore.model_fields), where)
        ignore = _validate(Ignore, entry, where)
        if ignore.id in found:
            raise MemdetectError(f"{where}: the id {ignore.id!r:.80} is there already; keep one of the two")
        found[ignore.id] = ignore
    return tuple(found.values())


def _toml(path: Path) -> Mapping[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as problem:
        raise MemdetectError(f"{path} cannot be read ({problem.strerror}); check its permissions") from None
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
        first = problem.errors()[0]
        key = ".".join(str(part) for part in first["loc"]).replace("_", "-")
        found = "" if first["type"] == "missing" else f" (found {first['input']!r:.40})"
        raise MemdetectError(f"{where}: {key}: {first['msg']}{found}; correct it") from None
