"""JUnit XML, read back with a parser: two suites, counts that hold, and nothing undecided that a dashboard skips."""

from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from report_runs import HOSTILE, OUTCOMES, match, run, texts

from memdetect.judging import Rule
from memdetect.render.junit import render_junit, xml_text
from memdetect.runs.policy import failing

KINDS = ("failure", "error", "skipped")


def suites(made: Any) -> dict[str, list[ElementTree.Element]]:
    """Cases by suite; every count is compared with what stands below it."""
    root = ElementTree.fromstring(render_junit(*made))
    assert root.tag == "testsuites"
    for element in (root, *root):
        cases = list(element.iter("testcase"))
        named = ("tests", "failures", "errors", "skipped")
        found = [len(cases), *(sum(case.find(kind) is not None for case in cases) for kind in KINDS)]
        assert [int(element.attrib[name]) for name in named] == found
    assert all(case.attrib["classname"] == suite.attrib["name"] for suite in root for case in suite.iter("testcase"))
    return {suite.attrib["name"]: list(suite.iter("testcase")) for suite in root}


def kind(case: ElementTree.Element) -> str:
    (found,) = [name for name in KINDS if case.find(name) is not None] or [""]
    return found


def test_a_case_for_each_rule_and_each_item_that_is_not_clear() -> None:
    header, rows, verdict = run(["a", "b", "c", "d", "e", "f"], OUTCOMES)
    rules = (*verdict.rules, Rule("complete", "pass"), Rule("shift", "inconclusive", "not compared"))
    found = suites((header, rows, replace(verdict, rules=rules)))
    assert [(case.attrib["name"], kind(case)) for case in found["memdetect.policy"]] == [
        ("findings", "failure"),
        ("complete", ""),
        ("shift", "error"),
    ]
    assert [(case.attrib["name"], kind(case)) for case in found["memdetect.findings"]] == [
        ("i0: a", "failure"),
        ("i1: b", "failure"),
        ("i2: c", "failure"),
        ("i3: d", ""),
        ("i5: f", "error"),
    ]
    assert found["memdetect.findings"][3].findtext("system-out") == "similar\nat p.txt:4"
    assert found["memdetect.findings"][0].findtext("failure") == "copy\nat p.txt:1"


@pytest.mark.parametrize(
    ("fail_on", "expected"),
    [
        ("suspicious", ["failure"] * 3),
        ("partial-copy", ["failure", "failure", ""]),
        ("copy", ["failure", "", ""]),
        ("none", ["", "", ""]),
    ],
)
def test_what_fails_is_what_the_policy_fails_on(fail_on: str, expected: list[str]) -> None:
    header, rows, verdict = run(["a", "b", "c"], OUTCOMES)
    policy = {**(verdict.policy or {}), "fail_on": fail_on}
    found = suites((header, rows, replace(verdict, policy=policy)))["memdetect.findings"]
    assert [kind(case) for case in found] == expected
    assert len(failing(fail_on)) == expected.count("failure")


def test_findings_that_may_not_count_are_errors() -> None:
    header, rows, verdict = run(["a"], ("suspicious",))
    shifted = replace(verdict, rules=(Rule("findings", "inconclusive", "under a distribution-shift warning"),))
    assert [kind(case) for case in suites((header, rows, shifted))["memdetect.findings"]] == ["error"]


def test_only_what_somebody_answers_for_is_skipped() -> None:
    header, rows, verdict = run(["a", "b"], ("copy", "inconclusive"), suppressed="legal until 2027-01-01: licensed")
    first, second = suites((header, rows, verdict))["memdetect.findings"]
    skipped = first.find("skipped")
    assert skipped is not None
    assert skipped.attrib["message"] == "copy; suppressed: legal until 2027-01-01: licensed"
    assert kind(second) == "error"


def test_a_verdict_without_rules_is_an_error() -> None:
    header, rows, verdict = run(["a"], ("clear",))
    found = suites((header, rows, replace(verdict, rules=())))
    assert [kind(case) for case in found["memdetect.policy"]] == ["error"]
    assert found["memdetect.findings"] == []


def test_the_suite_of_rules_says_what_was_tested() -> None:
    root = ElementTree.fromstring(render_junit(*run(["a"])))
    facts = {own.attrib["name"]: own.attrib["value"] for own in root.iter("property")}
    assert facts["verdict"] == "fail"
    assert facts["model"] == "tiny"
    assert facts["claim"].startswith("Of some items")


@settings(max_examples=40)
@given(texts, texts)
def test_any_prompt_reads_back_as_it_is_shown(prompt: str, reason: str) -> None:
    made = run([prompt], reason=reason, source=prompt, suppressed="", matches=[match(reason)])
    assert render_junit(*made).isascii()
    (case,) = suites(made)["memdetect.findings"]
    assert case.attrib["name"].startswith("i0: ")
    # A parser gives what was written: no case, no element and no attribute comes of a prompt.
    assert case.attrib["name"] == f"i0: {xml_text(prompt, 200)}"
    assert {element.tag for element in case} == {"failure"}


@pytest.mark.parametrize("text", ["\x00", "\x0b", "\x1f", "\ufffe", "\uffff", "\ud800", "\U0001ffff", *HOSTILE])
def test_what_xml_forbids_is_replaced(text: str) -> None:
    made = run([f"a{text}b"])
    name = suites(made)["memdetect.findings"][0].attrib["name"]
    assert name.startswith("i0: a")
    assert not set(name) & set("\x00\x0b\x1f\ufffe\uffff\ud800")
