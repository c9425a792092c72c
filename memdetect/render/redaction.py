"""A report that can be passed on: no prompt, no path, no caption, no name of an unreleased model, no pixel.

Redaction happens before any format is written, so that no format can forget it.
"""

import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from memdetect.copies.match import Match, picture_of
from memdetect.files import real
from memdetect.judging import Verdict
from memdetect.judging.outcome import Screened
from memdetect.judging.results import Mapped
from memdetect.render.shown import reasons
from memdetect.runs.fingerprint import hashed_id, short_hash
from memdetect.runs.header import Header
from memdetect.runs.plan import Plan
from memdetect.runs.records import Result
from memdetect.runs.review import Reviewed, person

Evidence = Literal["none", "hash", "thumbs"]
Text = Callable[[str], str]
GONE = "[redacted]"
LEAST = 6  # characters of a text that is looked for wherever it may stand
# Of a plan, what may be the user's own; all else are numbers, digests, and names that memdetect or diffusers gave.
OWN = ("call", "strata", "index", "base")
USUAL = ("memdetect.toml", "pyproject.toml")  # files of a policy whose names tell nothing


def redact(header: Header, results: Sequence[Result], verdict: Verdict) -> tuple[Header, Sequence[Result], Verdict]:
    """The same run without anything of the user's own; outcomes, scores, counts and line numbers stay.

    An id that is already the hash of its prompt stays; any other becomes 16 hex digits of its sha256. Whoever has a
    prompt can still recognise its hash.
    """
    base = results.base if isinstance(results, Mapped) else results  # no image is read to find what to blank
    held = {GONE, *_told(verdict), *map(_unquoted, [*_told(verdict), *reasons(base)])}
    named = (f"for {header.model} by ", f"for {_model(header)} by ")
    words = partial(_words, named=named, secrets=_secrets(header, base, verdict, held))
    rows = Mapped(results, lambda _, row: _row(row, words))
    known = tuple(replace(one, kind=short_hash(one.kind)) for one in verdict.sensitivity)
    decision = replace(
        verdict,
        missing=words(verdict.missing),
        rules=tuple(replace(rule, reason=words(rule.reason)) for rule in verdict.rules),
        policy=_policy(verdict.policy) if verdict.policy else verdict.policy,
        basis=words(verdict.basis),
        sensitivity=known,
        screened=_screened(verdict.screened),
        claim=words(verdict.claim),
        notes=tuple(words(note) for note in verdict.notes),
        policy_file=verdict.policy_file if verdict.policy_file in USUAL else "",
    )
    return _header(header), rows, decision


def with_evidence(results: Sequence[Result], evidence: Evidence, folder: Path | None) -> Sequence[Result]:
    """Results whose `files` are as asked: none; the sha256 of each image of the run folder; or their names.

    No format holds pixels yet; `thumbs` names the images that one will show.
    """
    if evidence == "thumbs":
        return results
    hashed = evidence == "hash" and folder is not None

    def made(_: int, row: Result) -> Result:
        files = [_hash(folder, name) for name in row.files] if hashed and folder is not None else []
        return row.model_copy(update={"files": files})

    return Mapped(results, made)


def _hash(folder: Path, name: str) -> str:
    path = real(folder / name)
    if not path.is_relative_to(real(folder)) or not path.is_file():
        return "missing"
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def _screened(found: Screened | None) -> Screened | None:
    """What a screen keeps, with hashes in place of the names of kinds."""
    if found is None:
        return None
    known = tuple(replace(one, kind=short_hash(one.kind)) for one in found.known)
    return replace(found, known=known, reason=re.sub(r"( of kind )[^,;]*", rf"\1{GONE}", found.reason))


def _model(header: Header) -> str:
    return f"model {header.plan.model:.19}"


def _row(row: Result, words: Text) -> Result:
    changed: dict[str, Any] = {
        "id": hashed_id(row),
        "prompt": None,
        "image": None,
        "source": "",
        "meta": {},
        "sha256": "",
        "matches": [_match(match) for match in row.matches],
        "notes": [note for note in row.notes if re.fullmatch(r"prompt truncated to its first \d+ tokens", note)],
        "reason": words(_blanked(row.reason, _own(row))),
        "suppressed": GONE if row.suppressed else "",
        "decisions": _decisions(row),
    }
    return row.model_copy(update=changed)


def _longest_first(texts: Iterable[str]) -> list[str]:
    """In one order in every process, also where they come as a set."""
    return sorted(texts, key=lambda text: (-len(text), text))


def _blanked(text: str, secrets: Iterable[str]) -> str:
    """A sentence without any of these texts that is of at least six characters, the longest first."""
    for secret in _longest_first(secret for secret in secrets if len(secret) >= LEAST):
        text = text.replace(secret, GONE)
    return text


def _decisions(row: Result) -> list[Reviewed]:
    """What was decided and when, without who, why and of what; several people stay several."""
    every = row.decisions
    people = list(dict.fromkeys(person(one.name) for one in every))
    names = {who: f"{GONE} {k + 1}" if len(people) > 1 else GONE for k, who in enumerate(people)}
    gone = {"id": GONE, "fingerprint": "", "pictures": ()}
    own = [
        {"name": names[person(one.name)], "note": GONE if one.note else "", "training": _training(one, row.matches)}
        for one in every
    ]
    return [one.model_copy(update={**gone, **more}) for one, more in zip(every, own, strict=True)]


def _training(one: Reviewed, matches: Sequence[Match]) -> tuple[str, ...]:
    """The training images that a decision is about as the matches name them now; of none of these a word that is none.

    Without a word it would be about the strongest of them.
    """
    about = one.about(matches)
    named = dict.fromkeys(short_hash(match.key) for match in matches if picture_of(match.key) in about)
    return tuple(named) or (GONE,)


def _match(match: Match) -> Match:
    return match.model_copy(update={"key": short_hash(match.key), "row": 0, "path": "", "caption": ""})


def _header(header: Header) -> Header:
    return header.model_copy(
        update={
            "model": _model(header),
            "plan": _plan(header.plan),
            "default_point": "",
            "index": {key: _value(value) for key, value in header.index.items()},
            "opening": {key: _value(value) for key, value in header.opening.items()},
            "policy": _policy(header.policy),
            "wording": {key: _value(value) for key, value in header.wording.items()},
            "seal": "",  # of what is no longer there
        }
    )


def _plan(plan: Plan) -> Plan:
    """A plan with hashes in place of what may be the user's own."""
    hashed = {key: short_hash(json.dumps(getattr(plan, key), default=str)) for key in OWN}
    return plan.model_copy(update={**hashed, "call": {"redacted": hashed["call"]}})


def _value(value: Any) -> Any:
    """Numbers as they are, also in a table; everything else as a hash."""
    if isinstance(value, Mapping):
        return {key: _value(own) for key, own in value.items()}
    return (
        value if value is None or isinstance(value, bool | int | float) else short_hash(json.dumps(value, default=str))
    )


def _policy(policy: Mapping[str, Any]) -> dict[str, Any]:
    """A policy whose suppressions are only counted."""
    ignored = len(policy.get("ignore", ()))
    return {**policy, **({"ignore": [GONE] * ignored} if "ignore" in policy else {})}


def _told(verdict: Verdict) -> list[str]:
    """The sentences of a verdict that may quote the user's own."""
    return [verdict.missing, verdict.basis, verdict.claim, *verdict.notes, *(rule.reason for rule in verdict.rules)]


def _words(text: str, *, named: tuple[str, str], secrets: Sequence[str]) -> str:
    """A sentence of memdetect's own without what it quotes, and without any of the secrets.

    These are looked for before as well: what is quoted may cut one in two.
    """
    return _blanked(_unquoted(_blanked(text.replace(*named), secrets)), secrets)


def _unquoted(text: str) -> str:
    """A sentence of memdetect's own without what it quotes: names in brackets and quotation marks, keys, entries."""
    text = re.sub(r"( of kind )[^,;]*", rf"\1{GONE}", text)
    text = re.sub(r"( is (?:similar|near) to ).*", rf"\1{GONE}", text, flags=re.DOTALL)
    text = re.sub(r"( is a copy of ).*", rf"\1{GONE}", text, flags=re.DOTALL)
    text = re.sub(r"( repeats a part of ).*(: [^:]* of its area agrees)", rf"\1{GONE}\2", text, flags=re.DOTALL)
    text = re.sub(r"^(the suppression of ).*", rf"\1{GONE}", text, flags=re.DOTALL)
    return re.sub(r"(\(|'|\").*(\)|'|\")", GONE, text, flags=re.DOTALL)


def _secrets(header: Header, results: Iterable[Result], verdict: Verdict, told: Collection[str]) -> list[str]:
    """The texts of the user's own, of at least six characters, that are told somewhere, the longest first.

    The second line of defence. Of however many items, only what stands in one of the sentences is kept.
    """
    ignored: Any = (verdict.policy or {}).get("ignore", ())
    mine = header.plan.model_dump(include=set(OWN))
    index = {key: value for key, value in header.index.items() if key != "stated_by"}  # an option's name, or our words
    said = "\0".join(told)
    begun = {said[i : i + LEAST] for i in range(len(said) - LEAST + 1)}
    ours = {header.model, *_strings(mine), *_strings(ignored), *_strings(index), *_strings(header.opening)}
    found = set[str]()
    for texts in chain((ours,), map(_own, results)):
        found.update(text for text in texts if text[:LEAST] in begun and text in said)
    return _longest_first(found)


def _own(row: Result) -> set[str]:
    """Every text of the user's own in a result."""
    matched = [(match.key, match.path, match.caption) for match in row.matches]
    decided = [(one.name, one.note, one.training) for one in row.decisions]
    return _strings([row.prompt, row.image, row.source, row.meta, row.notes, matched, decided])


def _strings(value: Any) -> set[str]:
    if isinstance(value, str):
        return {value}
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return {text for part in parts for text in _strings(part)}
