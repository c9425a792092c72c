"""The in-toto Statement, after the published text of its layers: nothing that is undecided reads as passed."""

import json
import re
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from report_runs import match, run, texts

from memdetect.judging import Rule
from memdetect.render.intoto import render_intoto


def read(made: Any) -> dict[str, Any]:
    """The statement, its frame checked: types, a subject with a digest, resources that can be told apart."""
    found = json.loads(render_intoto(*made))
    assert set(found) == {"_type", "subject", "predicateType", "predicate"}
    assert found["_type"] == "https://in-toto.io/Statement/v1"
    assert found["predicateType"] == "https://in-toto.io/attestation/test-result/v0.1"
    predicate = found["predicate"]
    assert set(predicate) == {"result", "configuration", "passedTests", "warnedTests", "failedTests"}
    assert predicate["result"] in ("PASSED", "WARNED", "FAILED")
    assert (predicate["result"] == "PASSED") == (not predicate["failedTests"] and bool(predicate["passedTests"]))
    for own in [*found["subject"], *predicate["configuration"]]:
        assert all(re.fullmatch(r"[A-Za-z0-9]+", name) for name in own["digest"])
        assert set(own) <= {"name", "digest", "annotations"}
    return found


def test_the_subject_is_the_model_and_the_policy_is_named() -> None:
    header, rows, verdict = run(["a"])
    found = read((header, rows, replace(verdict, calibration="c" * 64)))
    assert found["subject"] == [{"name": "tiny", "digest": {"memdetectSha256": "abc"}}]
    names = [own["name"] for own in found["predicate"]["configuration"]]
    assert names == ["policy", "plan", "calibration"]
    policy = found["predicate"]["configuration"][0]
    assert policy["digest"] == {"memdetectSha256": verdict.policy_digest}
    assert policy["annotations"]["verdict"] == "fail"
    header = header.model_copy(update={"index": {"digest": "d" * 64, "rows": 7, "name": "x"}})
    assert read((header, rows, verdict))["predicate"]["configuration"][-1]["annotations"]["rows"] == 7


def test_only_a_pass_is_passed() -> None:
    header, rows, verdict = run(["a"], ("clear",))
    rules = (Rule("findings", "pass"), Rule("complete", "pass"))
    passed = read((header, rows, replace(verdict, rules=rules)))["predicate"]
    assert (passed["result"], passed["passedTests"]) == ("PASSED", ["findings", "complete"])
    for worst in ("inconclusive", "fail"):
        failed = read((header, rows, replace(verdict, rules=(*rules, Rule("shift", worst, "x")))))["predicate"]
        assert (failed["result"], failed["failedTests"]) == ("FAILED", ["shift"])
    assert read((header, rows, replace(verdict, rules=())))["predicate"]["result"] == "FAILED"


@settings(max_examples=30)
@given(texts)
def test_no_prompt_is_in_it_and_names_are_text(name: str) -> None:
    header, rows, verdict = run(["QXJZ"], matches=[match("QXJZ")], reason="QXJZ")
    text = render_intoto(header.model_copy(update={"model": name}), rows, verdict)
    assert "QXJZ" not in text
    assert text.isascii()
    assert not re.search(r"^\s*::|##\[", text, re.MULTILINE)
