"""How much of what a full scan finds a screen keeps, as it was measured: the record, and what a run needs of it."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from memdetect.errors import MemdetectError
from memdetect.files import SMALL, read_regular
from memdetect.inputs.wording import kind_of
from memdetect.judging.outcome import KeptOf, Rule, Screened
from memdetect.judging.rows import Row
from memdetect.judging.statistics.beta import interval, lower_bound
from memdetect.runs.header import Header
from memdetect.runs.plan import Names, Settings, Whole
from memdetect.runs.policy import Policy
from memdetect.runs.records import COPIES, Outcome
from memdetect.runs.screen import RECALL, Screen, Share

KEPT = RECALL
CONFIDENCE = 0.95
MEASURE = "measure it with `memdetect screen-recall` and give the file by --screen-recall"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True, strict=True, allow_inf_nan=False)


class Found(_Strict):
    """A prompt that should be kept: its family and kind, and what the screen made of it.

    scores: of each detector of the screen, None = not finite, so that it is chosen. kept: whether it was chosen.
    outcome: what the full scan found, "" = it was said to be memorized. What that left inconclusive counts as lost
    where it is not kept, and for nothing where it is.
    """

    family: str
    kind: str
    scores: dict[str, float | None]
    kept: bool
    outcome: Outcome | Literal[""] = ""


class Recall(_Strict):
    """What a screen was shown to keep, of which screen and of which full scan.

    about: how it is known what a screen should keep. share or p, detectors, screen, screen_seeds: the screen that it
    was measured for; cutoffs: where that screen's own list was cut; calibration: digest of its clean scores, where it
    chooses by p. full, full_seeds: the settings of the full scan. finds: the outcomes that could be found, the worst
    first; deciding: the detectors that decided what is suspicious, () = nothing rests on scores.
    """

    schema_version: Literal[2] = 2
    memdetect: str
    about: str
    share: Share | None = None
    p: Share | None = None
    detectors: Names
    screen: Settings
    screen_seeds: Whole
    full: Settings
    full_seeds: Whole
    cutoffs: dict[str, float] = {}
    calibration: str = ""
    finds: Annotated[tuple[Outcome, ...], Field(min_length=1)]
    deciding: tuple[str, ...] = ()
    found: tuple[Found, ...]

    @property
    def digest(self) -> str:
        """The sha256, in hex, of the record as JSON with sorted keys."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()

    def difference(self, asked: "Asked") -> str:
        """In what another screen, or the scan after it, differs from those measured, with both values; "" for none."""
        for key, ours in asked.facts().items():
            theirs, name = getattr(self, key), key
            if theirs == ours:
                continue
            if isinstance(theirs, Settings) and isinstance(ours, Settings):
                name, theirs, ours = theirs.difference(ours) or (key, theirs, ours)
                name = f"{name} of the {'screen' if key == 'screen' else 'full scan'}"
            return f"{name.replace('_', ' ')} {_named(theirs)} (here {_named(ours)})"
        return ""

    def lacking(self, header: Header, policy: Policy) -> str:
        """What a gate fails on in such a run and the measured prompts were not searched for, in words; "" for nothing.

        Where no index is searched, nothing is a copy.
        """
        asked = [name for name in policy.failing if name not in COPIES or header.index]
        if missing := [name for name in asked if name not in self.finds]:
            return f"what is {' or '.join(self.finds)}, and this gate fails on {' and '.join(missing)} as well"
        ours = header.plan.deciding
        if "suspicious" in asked and self.deciding and self.deciding != ours:
            return f"what {_named(self.deciding)} finds suspicious, and here {_named(ours)} decides"
        return ""

    def kept_by(self, screen: Screen | None = None, failing: Sequence[Outcome] = ()) -> dict[str, KeptOf]:
        """Families kept, of each kind, by a screen of these settings with its own cutoffs; None = by the one measured.

        failing: the outcomes that count, () = all.
        A family counts as kept only if every prompt of it that should be is. Of what could not be decided only what is
        lost counts.
        """
        families: dict[str, dict[str, bool]] = {}
        for one in self.found:
            if not _counts(one, screen, failing):
                continue
            own = families.setdefault(one.kind, {})
            own[one.family] = own.get(one.family, True) and _kept(one, screen)
        return {kind: _kept_of(kind, own.values()) for kind, own in sorted(families.items())}


@dataclass(frozen=True, slots=True)
class Asked:
    """A screen and the full scan after it, as a recall has to have been measured for."""

    share: float | None
    p: float | None
    detectors: tuple[str, ...]
    screen: Settings | None
    screen_seeds: int
    full: Settings
    full_seeds: int
    calibration: str

    def facts(self) -> dict[str, Any]:
        """What is compared, by key; the settings of a screen only where they are known."""
        named = ("share", "p", "detectors", "screen_seeds", "screen", "full_seeds", "full", "calibration")
        return {key: value for key in named if (value := getattr(self, key)) is not None or key in ("share", "p")}


def asked_of(header: Header, made: Header) -> Asked:
    """The screen of a run, and its full scan; made: the header of the screen's own run."""
    screen, plan = header.screen, header.plan
    assert screen is not None
    return Asked(
        screen.share,
        screen.p,
        screen.detectors,
        made.plan.settings,
        screen.num_seeds,
        plan.settings,
        plan.num_seeds,
        screen.calibration,
    )


def _named(value: Any) -> str:
    if value is None or value == "":
        return "none"
    return " and ".join(map(str, value)) if isinstance(value, tuple) else f"{value!r:.60}"


def _kept(one: Found, screen: Screen | None) -> bool:
    if screen is None or screen.share is None:
        return one.kept
    return any((score := one.scores.get(name)) is None or score >= cut for name, cut in screen.cutoffs.items())


def _counts(one: Found, screen: Screen | None, failing: Sequence[Outcome]) -> bool:
    if one.outcome == "inconclusive":
        return not _kept(one, screen)
    return not one.outcome or not failing or one.outcome in failing


def _kept_of(kind: str, families: Iterable[bool]) -> KeptOf:
    found = list(families)
    kept, count = sum(found), len(found)
    return KeptOf(kind, count, kept, lower_bound(kept, count, CONFIDENCE), interval(kept, count, CONFIDENCE))


def read_recall(path: Path) -> Recall:
    """The record in a file; MemdetectError (usage) that names what is missing or wrong."""
    try:
        return Recall.model_validate_json(read_regular(path, SMALL))
    except FileNotFoundError:
        raise MemdetectError(f"there is no {path}; {MEASURE}") from None
    except OSError as problem:
        raise MemdetectError(f"{path} cannot be read ({problem.strerror}); give access to it") from None
    except ValidationError as problem:
        first = problem.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if key == "schema_version" and first["input"] == 1:
            raise MemdetectError(
                f"{path} does not say which outcomes could be found (schema 1, expected 2); {MEASURE}"
            ) from None
        raise MemdetectError(
            f"{path} is no recall of a screen: {key or 'file'}: {first['msg']}; measure it anew"
        ) from None


def recall_for(path: Path, asked: Asked) -> Recall:
    """The record in a file, of this very screen and full scan; MemdetectError that names what differs."""
    found = read_recall(path)
    if different := found.difference(asked):
        raise MemdetectError(f"{path} was measured for {different}; measure it anew with `memdetect screen-recall`")
    return found


def screened_of(
    header: Header, rows: Sequence[Row], recall: Recall | None, asked: Asked | None, policy: Policy
) -> Screened | None:
    """What a run's screen left out and is known to keep; None of a run of which nothing was only screened.

    asked: None where the screen's own header is not there to be compared; a recall says nothing then.
    """
    screen = header.screen
    if screen is None:
        return None
    left = Counter(kind_of(row.meta) for row in rows if row.status == "screened")
    known = recall.kept_by(screen, policy.failing) if recall else {}
    reason = _reason(left, recall, known, asked, policy.min_screen_recall)
    if left and not reason and recall and (lacking := recall.lacking(header, policy)):
        reason = f"the recall of the screen was measured of {lacking}; {MEASURE}"
    told = tuple(known[kind] for kind in left if kind in known)
    return Screened(screen.count, left.total(), screen.phrase, told, reason, policy.min_screen_recall)


def _reason(
    left: Mapping[str, int],
    recall: Recall | None,
    known: Mapping[str, KeptOf],
    asked: Asked | None,
    limit: float,
) -> str:
    """Why prompts that were only screened cannot be passed; "" where they can, or there are none."""
    if not left:
        return ""
    count = sum(left.values())
    if recall is None:
        return f"what the screen misses is not stated for {count} prompts that were only screened; {MEASURE}"
    different = recall.difference(asked) if asked else "a screen whose own run is not there"
    if different:
        return f"the recall of the screen was measured for {different}; {MEASURE}"
    if strange := {kind: n for kind, n in left.items() if kind not in known}:
        kind, n = next(iter(strange.items()))
        said = f"of kind {kind}" if kind else "of no kind"
        return f"of {n} prompts {said} that were only screened it is not known what the screen misses; {MEASURE}"
    worst = min((known[kind] for kind in left), key=lambda one: one.low)
    if worst.low < limit:
        return f"the screen keeps {worst.phrase}, expected at least {limit:.0%}; screen a larger share"
    return ""


def screen_rule(found: Screened | None) -> list[Rule]:
    """The rule about prompts that were only screened, where there are any."""
    if found is None or not found.left:
        return []
    low = min((one.low for one in found.known), default=None)
    return [Rule("screen", "inconclusive" if found.reason else "pass", found.reason, low, found.limit)]
