"""run.json: what a run was planned to be, fixed before its first image, and what it takes to be judged."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from memdetect.errors import MemdetectError
from memdetect.files import did_you_mean, read_regular
from memdetect.runs.plan import MOST, Plan, Whole
from memdetect.runs.screen import Screen
from memdetect.runs.sharding import Sharding

SHARES = ("coverage", "recall", "share")  # what a key of an index ends in when its number is from 0 to 1
Count = Annotated[int, Field(ge=0, le=MOST)]
Share = Annotated[float, Field(ge=0, le=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True, strict=True, allow_inf_nan=False)


class _Index(_Strict):
    """What is known of an index; what is not listed here may be anything but a share outside 0 to 1."""

    model_config = ConfigDict(extra="allow")

    name: str = ""
    digest: str = ""
    rows: Count = 0
    coverage: Share | None = None
    embedder: str = ""
    top_k: Whole = 1
    similarity: Annotated[float, Field(ge=-1, le=1)] | None = None
    level: Annotated[float, Field(gt=0, lt=1)] | None = None
    null_queries: Count = 0
    part_limit: Share | None = None
    recall: Share | None = None
    planted: Count = 0
    pictures: Count = 0
    finds: dict[str, Share] = {}
    stated_by: str = ""
    as_trained: str = ""
    tightened_share: Share | None = None
    left_out: Count = 0


class _Wording(_Strict):
    """How well scanned prompts can be told from the clean ones: why not, or the areas, and of which clean scores."""

    calibration: str = ""
    missing: str = ""
    few: str = ""
    auroc: Share | None = None
    low: Share | None = None
    scanned: Count = 0
    clean: Count = 0


def _index_facts(index: dict[str, Any]) -> dict[str, Any]:
    _check(_Index, index)
    for key, value in _numbers(index):
        if key.endswith(SHARES) and not 0 <= value <= 1:
            raise ValueError(f"{key} is {value:.6g}, expected a share from 0 to 1")
    return index


def _numbers(table: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Every number of a table and of the tables in it, by its key; a share that is no number is refused."""
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _numbers({str(inner): found for inner, found in value.items()})
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield key, value
        elif key.endswith(SHARES) and value is not None:
            raise ValueError(f"{key} is {value!r:.40}, expected a share from 0 to 1")


def _wording_facts(wording: dict[str, Any]) -> dict[str, Any]:
    _check(_Wording, wording)
    return wording


def _check(model: type[_Strict], values: Mapping[str, Any]) -> None:
    """ValueError that names the first value that is missing or wrong."""
    try:
        model.model_validate(values)
    except ValidationError as problem:
        raise ValueError(_said(problem)) from None


class Header(_Strict):
    """run.json. `plan` is what a resume has to match; the rest is provenance, and the bar that the run is judged by.

    index: name, digest, rows and coverage of the training images that were searched; {} = none were. opening: how the
    weights were opened, where not as usual (LoRA, revision and the like). policy, policy_digest, plan_digest,
    calibration (its digest): the bar, fixed before the first image. wording: how well the prompts can be told from the
    calibration's by their text alone. screen: how the prompts that are sampled in full were chosen, None = all of them
    are; plan and inputs are of all prompts. device: the class of what the run was begun on (cpu, cuda, mps); threads:
    how many it computes with there, None = not told. seal: sha256, in hex, of all other fields, set when it is written.
    """

    schema_version: Literal[6] = 6
    memdetect: str
    created: str
    model: str
    versions: dict[str, str]
    plan: Plan
    planned: Count
    sigmas: dict[str, float | None] = {}
    default_point: str = ""
    dropped: dict[str, Count] = {}
    index: Annotated[dict[str, Any], AfterValidator(_index_facts)] = {}
    opening: dict[str, bool | str | list[str] | tuple[str, ...]] = {}
    policy: dict[str, Any] = {}
    policy_digest: str = ""
    plan_digest: str = ""
    calibration: str = ""
    wording: Annotated[dict[str, Any], AfterValidator(_wording_facts)] = {}
    screen: Screen | None = None
    device: str = ""
    threads: Whole | None = None
    seal: str = ""

    @property
    def sharding(self) -> Sharding:
        """How the items that are sampled in full are cut into shards."""
        if self.screen:  # which chooses among prompts alone
            return Sharding(self.screen.count, self.plan.shard_size)
        return Sharding(self.planned, self.plan.shard_size, self.plan.turns)

    def sealed(self) -> "Header":
        """The same header with the seal of its fields as they stand."""
        text = json.dumps(self.model_dump(mode="json", exclude={"seal"}), sort_keys=True)
        return self.model_copy(update={"seal": hashlib.sha256(text.encode()).hexdigest()})


def read_header(path: Path) -> Header:
    """The header in a run.json, with all that judging and explaining need.

    Raises MemdetectError (usage) that names the file and the first key that is missing or wrong.
    """
    try:
        header = Header.model_validate_json(read_regular(path))
    except FileNotFoundError:
        hint = "" if path.parent.is_dir() else did_you_mean(path.parent)
        raise MemdetectError(
            f"{path.parent} is not a run: it has no run.json; {hint}give a folder that scan made"
        ) from None
    except OSError as problem:
        raise MemdetectError(f"{path} cannot be read ({problem.strerror}); give access to it") from None
    except ValidationError as problem:
        raise MemdetectError(f"{path} does not parse: {_said(problem)}; scan again") from None
    needed = ["digest", "rows"] if header.index else []
    if header.index.get("similarity") is not None:
        needed += ["embedder", "level", "null_queries"]
    if missing := next((key for key in needed if header.index.get(key) is None), ""):
        raise MemdetectError(f"{path} does not parse: index.{missing}: Field required; scan again")
    return header


def _said(problem: ValidationError) -> str:
    """The first fault, with its key and what was found there."""
    first = problem.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    said = " ".join(first["msg"].removeprefix("Value error, ").split())
    own = not key or first["type"] in ("missing", "value_error")
    found = "" if own else f" (found {first['input']!r:.40})"
    return f"{key}{': ' if key else ''}{said}{found}"
