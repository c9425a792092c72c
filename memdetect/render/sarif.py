"""SARIF 2.1.0 (OASIS), as code scanning services take it: one run, a result for each finding, worst first.

Every result has a place in the repository, for GitHub refuses a file in which one has none.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from memdetect.inputs.harmless import ascii_json, plain
from memdetect.judging import OUTCOMES, Rule, Verdict
from memdetect.render.shown import ALL, made_of, place, subject, told, untested, worst
from memdetect.runs.fingerprint import fingerprint, nearest_key, short_hash
from memdetect.runs.header import Header
from memdetect.runs.records import Result

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
MOST = 5000  # results; GitHub shows no more of a run
POLICY = "memdetect.toml"  # where a policy stands, or would
GATE = "gate"
Say = Callable[[str], None]
KINDS: Mapping[str, tuple[str, str, str]] = {
    "copy": ("error", "A training image comes back", "An image made for the prompt is a copy of a training image."),
    "partial-copy": (
        "error",
        "A part of a training image comes back",
        "An image made for the prompt repeats a part of a training image, and is a copy of none.",
    ),
    "suspicious": (
        "warning",
        "A prompt scores like a memorized one",
        "The score alone stands out among those of clean prompts. No training image was found that proves a copy.",
    ),
    "similar": (
        "note",
        "An image is near a training image, with other pixels",
        "The embedder finds the image near a training image, and the pixels differ. Look at the two.",
    ),
    GATE: (
        "error",
        "The gate asks something that does not hold, or that could not be decided",
        "A rule of the policy is not met, or is inconclusive. Without findings a run may still be unfinished.",
    ),
}
RULES = tuple(KINDS)


def render_sarif(
    header: Header, results: Sequence[Result], verdict: Verdict, *, most: int = MOST, say: Say | None = None
) -> str:
    """A log of one run: rules of the gate that are not met, then findings, those that are suppressed last.

    At most `most` results; how many more there are is a notification, and said (`say`). An item's file is its
    `source`, which has to be one of the repository; an item without one stands at the first line of the policy's file.
    """
    anchor = verdict.policy_file or POLICY
    found = [_gate(rule, anchor) for rule in _unmet(verdict)]
    total = len(found) + sum(one.found for one in told(results))
    places = worst(results, max(0, most - len(found)), lambda one: one.found, last=lambda one: one.suppressed)
    found += made_of(results, places, lambda row: _result(row, anchor))
    left = f"{total - most} more findings are not in this file, which holds the {most} worst; {ALL}"
    if say is not None and total > most:
        say(left)
    run = {
        "tool": {"driver": _driver(header), "extensions": list(_extensions(header, verdict))},
        "invocations": [_invocation(verdict, left if total > most else "")],
        "results": found[:most],
        "properties": _facts(header, verdict),
    }
    log = {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}
    return ascii_json(json.dumps(log, indent=1, allow_nan=False)) + "\n"


def _unmet(verdict: Verdict) -> list[Rule]:
    """Rules that are no results yet: failing findings stand for themselves."""
    unmet = [rule for rule in verdict.rules if rule.outcome != "pass"]
    return [rule for rule in unmet if rule.outcome == "inconclusive" or rule.name != "findings"]


def _driver(header: Header) -> dict[str, Any]:
    rules = [
        {
            "id": name,
            "shortDescription": {"text": f"{short}."},
            "fullDescription": {"text": full},
            "help": {"text": f"{full} `memdetect explain RUN ID` shows all that is known of an item."},
            "defaultConfiguration": {"level": level},
            "properties": {"tags": ["memorization"]},
        }
        for name, (level, short, full) in KINDS.items()
    ]
    return {"name": "memdetect", "version": plain(header.memdetect, 100), "rules": rules}


def _extensions(header: Header, verdict: Verdict) -> Iterator[dict[str, Any]]:
    """What was audited, and by what: the model, the clean scores and the index, each with its digest as version."""
    plan, index = header.plan, header.index
    facts = {"kind": "model", "adapter": plan.adapter, "scheduler": plan.scheduler, "dtype": plan.dtype}
    yield _extension(header.model, plan.model, facts)
    if verdict.calibration:
        yield _extension(
            "calibration", verdict.calibration, {"kind": "calibration", "cleanPrompts": verdict.calibrated}
        )
    if index:
        kept = ("rows", "pictures", "coverage", "embedder", "similarity", "level", "recall")
        shown = {key: index[key] for key in kept if index.get(key) is not None}
        yield _extension(str(index.get("name", "index")), str(index.get("digest", "")), {"kind": "index", **shown})


def _extension(name: str, digest: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    told = {key: plain(value, 200) if isinstance(value, str) else value for key, value in facts.items()}
    return {"name": plain(name, 200) or "unnamed", "version": plain(digest, 64) or "unknown", "properties": told}


def _invocation(verdict: Verdict, left: str) -> dict[str, Any]:
    """Whether all was measured, the gate's exit code, and what is not in the results."""
    said = [(left, "warning")] if left else []
    if undecided := verdict.counts.get("inconclusive", 0):
        said.append((f"{undecided} items are inconclusive; none of them is among the results", "warning"))
    if verdict.left:
        said.append((f"{verdict.left} items were screened only: no image was made of them", "warning"))
    return {
        "executionSuccessful": verdict.complete,
        "exitCode": int(verdict.exit),
        "exitCodeDescription": verdict.verdict,
        "toolExecutionNotifications": [
            {"level": level, "message": {"text": text}}
            for text, level in [*said, *((message(note, 1000), "note") for note in verdict.notes[:50])]
        ],
    }


def _facts(header: Header, verdict: Verdict) -> dict[str, Any]:
    return {
        "verdict": verdict.verdict,
        "claim": message(verdict.claim, 4000),
        "counts": {name: verdict.counts[name] for name in OUTCOMES if name in verdict.counts},
        "planned": verdict.planned,
        "measured": verdict.sampled,
        "screenedOnly": verdict.left,
        "suppressed": verdict.suppressed,
        "notTested": [message(phrase, 500) for phrase in untested(header)],
        "rules": [{"name": rule.name, "outcome": rule.outcome} for rule in verdict.rules],
        "policySha256": verdict.policy_digest,
        "policyFixedBeforeTheRun": verdict.fixed,
        "planSha256": header.plan_digest,
    }


def _gate(rule: Rule, anchor: str) -> dict[str, Any]:
    said = "is inconclusive" if rule.outcome == "inconclusive" else "is not met"
    text = message(f"{rule.name} {said}: {rule.reason}", 1000)
    return _finding(GATE, text, _location(anchor, 1), short_hash(f"{GATE} {rule.name}"), {"rule": rule.name})


def _result(row: Result, anchor: str) -> dict[str, Any]:
    file = place(row)
    said = f"{row.ranked_as}: {plain(subject(row), 200)}{f' ({row.reason})' if row.reason else ''}"
    where = _location(file, row.line or 1) if file else _location(anchor, 1)
    made = _finding(row.ranked_as, message(said, 600), where, fingerprint(row), _item(row))
    if row.suppressed:
        why = {"kind": "external", "status": "accepted", "justification": message(row.suppressed, 500)}
        made["suppressions"] = [why]
    return made


def _finding(rule: str, text: str, where: Mapping[str, Any], mark: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "ruleId": rule,
        "ruleIndex": RULES.index(rule),
        "level": KINDS[rule][0],
        "message": {"text": text},
        "locations": [where],
        # GitHub tells alerts apart by the second alone, and would make one of its own of the text at the place.
        "partialFingerprints": {"memdetect/v1": mark, "primaryLocationLineHash": f"{mark[:16]}:1"},
        "properties": facts,
    }


def _item(row: Result) -> dict[str, Any]:
    """What is known of a finding beside its sentence; its images as the evidence that was asked for."""
    key = nearest_key(row)
    best = max((match.similarity for match in row.matches if match.key == key), default=None)
    facts = {
        "id": plain(row.id, 200),
        "score": row.judged.get("combined"),
        "p": row.p.get("combined"),
        "trainingImage": plain(key, 200) or None,
        "similarity": best if key else None,
        "images": [plain(name, 200) for name in row.files] or None,
    }
    return {name: value for name, value in facts.items() if value is not None}


def _location(file: str, line: int) -> dict[str, Any]:
    return {"physicalLocation": {"artifactLocation": {"uri": uri(file)}, "region": {"startLine": max(line, 1)}}}


def uri(file: str) -> str:
    """A relative path as a URI reference (RFC 3986): what is not allowed in one is percent-encoded."""
    from urllib.parse import quote

    path = quote(file.encode("utf-8", "surrogatepass"), safe="/~!$&'()*+,;=@")
    return f"./{path}" if path.startswith("/") else path


def message(text: str, width: int) -> str:
    """A text in which a viewer finds no link and no placeholder (sections 3.11.5 and 3.11.6): a space breaks both."""
    return re.sub(r"\{(?=\d+\})", "{ ", plain(text, width).replace("](", "] ("))
