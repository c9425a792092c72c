"""An in-toto Statement with the predicate `test-result`: which model was tested, by what, and what it passed. Unsigned.

Signing binds it to somebody; that is done outside, with `cosign` or `actions/attest`.
"""

import json
from collections.abc import Sequence
from typing import Any

from memdetect.inputs.harmless import ascii_json, plain
from memdetect.judging import Decision, Verdict
from memdetect.runs.header import Header
from memdetect.runs.records import Result

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://in-toto.io/attestation/test-result/v0.1"
# memdetect's own digests: lowercase hex sha256 of several files, or of JSON, so that no single file has them.
ALGORITHM = "memdetectSha256"


def render_intoto(header: Header, results: Sequence[Result], verdict: Verdict) -> str:
    """Subject = the model, by the digest of its weights and configurations; PASSED only where the gate passes.

    What is inconclusive is among the failed tests: a verifier asks whether all required tests passed.
    """
    statement = {
        "_type": STATEMENT,
        "subject": [_resource(header.model, header.plan.model)],
        "predicateType": PREDICATE,
        "predicate": {
            "result": "PASSED" if verdict.verdict == "pass" else "FAILED",
            "configuration": _configuration(header, verdict),
            "passedTests": _named(verdict, "pass"),
            "warnedTests": [],
            "failedTests": [*_named(verdict, "fail"), *_named(verdict, "inconclusive")],
        },
    }
    return ascii_json(json.dumps(statement, indent=1, allow_nan=False)) + "\n"


def _named(verdict: Verdict, outcome: Decision) -> list[str]:
    return [plain(rule.name, 100) for rule in verdict.rules if rule.outcome == outcome]


def _configuration(header: Header, verdict: Verdict) -> list[dict[str, Any]]:
    """The policy with what was decided by it, the plan, and clean scores and index where there are some."""
    decided = {
        "verdict": verdict.verdict,
        "claim": plain(verdict.claim, 4000),
        "fixedBeforeTheRun": verdict.fixed,
        "complete": verdict.complete,
        "planned": verdict.planned,
        "measured": verdict.sampled,
        "screenedOnly": verdict.left,
        "suppressed": verdict.suppressed,
        "counts": dict(verdict.counts),
    }
    found = [_resource("policy", verdict.policy_digest, decided)]
    facts = {"memdetect": plain(header.memdetect, 100), "created": plain(header.created, 100)}
    found.append(_resource("plan", header.plan_digest, facts))
    if verdict.calibration:
        found.append(_resource("calibration", verdict.calibration, {"cleanPrompts": verdict.calibrated}))
    if header.index:
        rows = {"rows": header.index.get("rows"), "coverage": header.index.get("coverage")}
        found.append(_resource("index", str(header.index.get("digest", "")), rows))
    return found


def _resource(name: str, digest: str, annotations: dict[str, Any] | None = None) -> dict[str, Any]:
    made: dict[str, Any] = {"name": plain(name, 200), "digest": {ALGORITHM: plain(digest, 100)}}
    return {**made, "annotations": annotations} if annotations else made
