"""JUnit XML, which dashboards of tests read: a suite of the gate's rules, a suite of the items that are not clear.

What could not be decided is an error, never skipped, since dashboards show what is skipped as green.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from xml.etree import ElementTree

from memdetect.inputs.harmless import plain
from memdetect.judging import Rule, Verdict
from memdetect.render.shown import ALL, Said, beyond, left_words, made_of, place, subject, worst
from memdetect.runs.header import Header
from memdetect.runs.policy import failing
from memdetect.runs.records import Result

# What plain() leaves of the characters that XML 1.0 has none of; no character reference may stand for them either.
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
Case = ElementTree.Element
Say = Callable[[str], None]
MOST = 10_000  # cases of items; a dashboard shows no more to anybody
_DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'


def render_junit(
    header: Header, results: Sequence[Result], verdict: Verdict, *, most: int = MOST, say: Say | None = None
) -> str:
    """Suites `memdetect.policy`, a case for each rule, and `memdetect.findings`, a case for each item not clear.

    A finding that the policy fails on is a failure, one that somebody answers for is skipped, any other passes with
    what was found as its output. Cases take no time: nothing was run for them. At most `most` items have a case, the
    worst; one case more counts the others, and ends as the worst of them. say: told what is left out, a line.
    """
    rules = [_rule(rule) for rule in verdict.rules]
    if not rules:
        rules = [_case("memdetect.policy", "verdict", "error", "no rule was judged, so that nothing is known")]
    fails = failing(str((verdict.policy or {}).get("fail_on", "suspicious")))
    open_ = any(rule.name == "findings" and rule.outcome == "inconclusive" for rule in verdict.rules)
    places = worst(results, most, lambda one: one.unclear)
    items = [*_left(verdict), *made_of(results, places, lambda row: _item(row, fails, open_))]
    items += _more(beyond(results, places, lambda one: one.unclear), most, lambda one: _kind(*one, fails, open_), say)
    root = _counted(ElementTree.Element("testsuites", name="memdetect"), [*rules, *items])
    policy = _suite(root, "memdetect.policy", rules)
    facts = {"verdict": verdict.verdict, "claim": verdict.claim, "model": header.model, "digest": header.plan.model}
    properties = ElementTree.Element("properties")
    for name, value in facts.items():
        ElementTree.SubElement(properties, "property", name=name, value=xml_text(value, 4000))
    policy.insert(0, properties)
    _suite(root, "memdetect.findings", items)
    ElementTree.indent(root, " ")
    return f"{_DECLARATION}{ElementTree.tostring(root, 'us-ascii', xml_declaration=False).decode()}\n"


def _left(verdict: Verdict) -> list[Case]:
    """One case for all items that were only screened."""
    screened = verdict.screened
    if screened is None or not screened.left:
        return []
    kind = "error" if screened.reason else ""
    return [
        _case("memdetect.findings", f"{screened.left} items: screened only", kind, screened.reason or screened.keeps)
    ]


def _more(left: Counter[Said], most: int, kind: Callable[[Said], str], say: Say | None) -> list[Case]:
    """One case for all items that have none, which fails where one of them does, and is an error where one is."""
    if not left:
        return []
    kinds = {kind(one) for one in left}
    told = f"{left_words(left)}: this file holds the {most} worst; {ALL}"
    if say is not None:
        say(told)
    ends = next(end for end in ("failure", "error", "", "skipped") if end in kinds)
    return [_case("memdetect.findings", f"{left.total()} more items", ends, told)]


def _rule(rule: Rule) -> Case:
    kind = {"fail": "failure", "inconclusive": "error"}.get(rule.outcome, "")
    return _case("memdetect.policy", rule.name, kind, rule.reason or rule.outcome)


def _item(row: Result, fails: Sequence[str], undecided: bool) -> Case:
    """undecided: whether the gate could not say if findings by score count."""
    said = f"{row.outcome}: {row.reason}" if row.reason else row.outcome
    kind = _kind(row.outcome, bool(row.suppressed), fails, undecided)
    if kind == "skipped":
        said = f"{said}; suppressed: {row.suppressed}"
    name = f"{plain(row.id, 100)}: {plain(subject(row), 200)}"
    return _case("memdetect.findings", name, kind, said, _where(row))


def _kind(outcome: str, suppressed: bool, fails: Sequence[str], undecided: bool) -> str:
    """How the case of an item ends; "" = it passes."""
    if outcome == "inconclusive":
        return "error"
    if suppressed:
        return "skipped"
    return ("error" if undecided else "failure") if outcome in fails else ""


def _where(row: Result) -> str:
    """File and line of an item, where a reader of the repository can follow it."""
    file = place(row)
    return f"{file}:{row.line}" if file and row.line else file


def _case(suite: str, name: str, kind: str, said: str, where: str = "") -> Case:
    """A case that passes (""), fails, is an error or is skipped; what was said stands in the element that tells so."""
    case = ElementTree.Element("testcase", classname=suite, name=xml_text(name, 400), time="0")
    told = [said, f"at {where}"] if where else [said]
    if kind:
        outcome = ElementTree.SubElement(case, kind, message=xml_text(said, 500))
        if kind != "skipped":
            outcome.set("type", f"memdetect.{kind}")
        outcome.text = "\n".join(xml_text(line, 1000) for line in told)
    elif said not in ("pass", ""):
        ElementTree.SubElement(case, "system-out").text = "\n".join(xml_text(line, 1000) for line in told)
    return case


def _suite(root: Case, name: str, cases: Sequence[Case]) -> Case:
    suite = _counted(ElementTree.SubElement(root, "testsuite", name=name), cases)
    suite.extend(cases)
    return suite


def _counted(element: Case, cases: Sequence[Case]) -> Case:
    """The element with how many cases there are, and how many of them failed, are errors or are skipped."""
    found = {"tests": len(cases)}
    for attribute, kind in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        found[attribute] = sum(case.find(kind) is not None for case in cases)
    for name, count in found.items():
        element.set(name, str(count))
    element.set("time", "0")
    return element


def xml_text(text: str, width: int) -> str:
    """A text of at most `width` characters that XML may hold and a reader can see."""
    return _FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", plain(text, width))
