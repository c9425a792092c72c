"""SARIF as a code scanning service reads it: a place for every result, fingerprints that live, no markup of prompts."""

import json
import re
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from report_runs import HOSTILE, OUTCOMES, match, run, texts
from synthetic_runs import part

from memdetect.judging import Rule
from memdetect.render.redaction import redact
from memdetect.render.sarif import KINDS, MOST, message, render_sarif, uri
from memdetect.render.shown import plain
from memdetect.runs.fingerprint import fingerprint, short_hash


def read(text: str) -> dict[str, Any]:
    """The one run of a log, whose frame is checked against sections 3.13 to 3.27 of the standard on the way."""
    log = json.loads(text)
    assert set(log) == {"$schema", "version", "runs"}
    assert log["version"] == "2.1.0"
    (found,) = log["runs"]
    rules = [rule["id"] for rule in found["tool"]["driver"]["rules"]]
    assert len(set(rules)) == len(rules)
    assert all(part["name"] for part in (found["tool"]["driver"], *found["tool"]["extensions"]))
    for result in found["results"]:
        assert rules[result["ruleIndex"]] == result["ruleId"]
        assert result["level"] in ("none", "note", "warning", "error")
        assert result["message"]["text"]
        (place,) = result["locations"]
        where = place["physicalLocation"]
        assert where["region"]["startLine"] >= 1
        assert re.fullmatch(r"[\w.~!$&'()*+,;=@%/-]+", where["artifactLocation"]["uri"], re.ASCII)
        assert not re.match(r"/|[A-Za-z][\w+.-]*:", where["artifactLocation"]["uri"])
        assert all(own["kind"] in ("inSource", "external") for own in result.get("suppressions", ()))
    return found


def results(made: Any) -> list[dict[str, Any]]:
    return read(render_sarif(*made))["results"]


def place(result: dict[str, Any]) -> tuple[str, int]:
    where = result["locations"][0]["physicalLocation"]
    return unquote(where["artifactLocation"]["uri"]), where["region"]["startLine"]


def test_levels_and_places() -> None:
    found = results(run(["a", "b", "c", "d", "e", "f"], OUTCOMES))
    assert [(r["ruleId"], r["level"], *place(r)) for r in found] == [
        ("copy", "error", "p.txt", 1),
        ("partial-copy", "error", "p.txt", 2),
        ("suspicious", "warning", "p.txt", 3),
        ("similar", "note", "p.txt", 4),
    ]
    assert found[0]["message"]["text"] == "copy: a"


def test_a_clean_run_is_written_too_so_that_old_alerts_close() -> None:
    found = read(render_sarif(*run(["a"], ("clear",))))
    assert found["results"] == []
    assert found["invocations"][0]["executionSuccessful"] is True
    assert found["invocations"][0]["exitCodeDescription"] == "pass"


@pytest.mark.parametrize("source", ["", "-", "--unconditional", "/home/me/p.txt", "../p.txt", "C:\\p.txt"])
def test_what_has_no_file_in_the_repository_stands_at_the_policy(source: str) -> None:
    header, rows, verdict = run(["a cat"], source="" if source == "--unconditional" else source)
    assert place(results((header, rows, verdict))[0]) == ("memdetect.toml", 1)
    assert place(results((header, rows, replace(verdict, policy_file="ci/my policy.toml")))[0]) == (
        "ci/my policy.toml",
        1,
    )


def test_what_could_not_be_decided_is_a_result_and_never_an_empty_list() -> None:
    """An unfinished run without findings would close every alert of the one before."""
    header, rows, verdict = run(["a"], ("clear",))
    rules = (Rule("findings", "pass"), Rule("complete", "inconclusive", "1 of 9 planned items were measured"))
    found = read(render_sarif(header, rows, replace(verdict, rules=rules, planned=9)))
    assert [(r["ruleId"], r["level"], place(r)) for r in found["results"]] == [("gate", "error", ("memdetect.toml", 1))]
    assert found["results"][0]["message"]["text"].startswith("complete is inconclusive: 1 of 9")
    assert found["invocations"][0]["executionSuccessful"] is False


def test_a_limit_that_is_passed_is_a_result_beside_the_findings() -> None:
    header, rows, verdict = run(["a"], ("copy",))
    rules = (*verdict.rules, Rule("max-rate", "fail", "1 of 1 families flagged"))
    assert [r["ruleId"] for r in results((header, rows, replace(verdict, rules=rules)))] == ["gate", "copy"]


def test_a_fingerprint_lives_on_without_model_place_score_and_id() -> None:
    header, rows, verdict = run(["a cat"], matches=[match("train-7")])
    moved = rows[0].model_copy(update={"id": "new", "line": 99, "source": "q.txt", "judged": {"combined": 9.0}})
    other = header.model_copy(update={"model": "next", "plan": header.plan.model_copy(update={"model": "9" * 64})})
    first, second = results((header, rows, verdict))[0], results((other, [moved], verdict))[0]
    assert first["partialFingerprints"] == second["partialFingerprints"]
    assert first["partialFingerprints"]["primaryLocationLineHash"] == f"{fingerprint(rows[0])[:16]}:1"


def test_a_fingerprint_is_of_rule_prompt_and_training_image() -> None:
    _, rows, _ = run(["a cat"], matches=[match("train-7")])
    changes = [
        {},
        {"prompt": "a dog"},
        {"outcome": "suspicious"},
        {"matches": [match("train-8")]},
        {"prompt": "", "id": "unconditional-0000001"},
        {"prompt": "", "id": "unconditional-0000002"},
        {"prompt": None, "image": "a.png", "sha256": "1" * 64},
        {"prompt": None, "image": "a.png", "sha256": "2" * 64},
    ]
    marks = [fingerprint(rows[0].model_copy(update=change)) for change in changes]
    assert len(set(marks)) == len(marks)


def test_the_training_image_of_a_fingerprint_is_that_of_most_seeds_in_any_order() -> None:
    _, rows, _ = run(["a cat"])
    near = [part("b", 0, copy_found=True), part("a", 1, copy_found=True), part("b", 2, copy_found=True)]
    marks = {fingerprint(rows[0].model_copy(update={"matches": m})) for m in (near, near[::-1], near[:1])}
    assert len(marks) == 1
    tied = [near[:2], near[1::-1]]
    assert len({fingerprint(rows[0].model_copy(update={"matches": m})) for m in tied}) == 1


def test_redaction_leaves_the_fingerprint_of_a_prompt_whose_id_is_its_hash() -> None:
    header, rows, verdict = run(["a cat"], matches=[match("train-7")], id=short_hash("a cat"))
    assert fingerprint(redact(header, rows, verdict)[1][0]) == fingerprint(rows[0])


def test_suppressed_findings_say_who_answers_and_stand_last() -> None:
    header, rows, verdict = run(["a", "b"])
    rows[0] = rows[0].model_copy(update={"suppressed": "legal until 2027-01-01: licensed"})
    first, second = results((header, rows, verdict))
    assert "suppressions" not in first
    assert second["suppressions"] == [
        {"kind": "external", "status": "accepted", "justification": "legal until 2027-01-01: licensed"}
    ]
    assert second["message"]["text"] == "copy: a"


def test_the_worst_are_kept_and_the_rest_is_counted() -> None:
    made = run(["a"] * 12, ("similar", "suspicious", "copy"))
    found = read(render_sarif(*made, most=5))
    assert [r["ruleId"] for r in found["results"]] == ["copy"] * 4 + ["suspicious"]
    told = found["invocations"][0]["toolExecutionNotifications"][0]
    text = told["message"]["text"]
    assert text.startswith("7 more findings are not in this file, which holds the 5 worst; `memdetect report RUN -o ")
    assert told["level"] == "warning"
    assert MOST == 5000


def test_the_model_its_clean_scores_and_its_index_are_extensions() -> None:
    header, rows, verdict = run(["a"])
    assert [own["name"] for own in read(render_sarif(header, rows, verdict))["tool"]["extensions"]] == ["tiny"]
    header = header.model_copy(update={"index": {"name": "train.index", "digest": "d" * 64, "rows": 500}})
    found = read(render_sarif(header, rows, replace(verdict, calibration="c" * 64)))["tool"]["extensions"]
    assert [(own["name"], own["version"]) for own in found] == [
        ("tiny", "abc"),
        ("calibration", "c" * 64),
        ("train.index", "d" * 64),
    ]
    assert found[1]["properties"]["cleanPrompts"] == 99
    assert found[2]["properties"]["rows"] == 500


@settings(max_examples=40)
@given(texts, texts, texts)
def test_a_prompt_is_text_and_no_more(prompt: str, reason: str, key: str) -> None:
    """No link, no placeholder, nothing that cannot be seen, no command to a runner that prints the file."""
    text = render_sarif(*run([prompt], reason=reason, source=prompt, notes=[key], matches=[match(key)]))
    assert text.isascii()
    assert not re.search(r"^\s*::|##\[", text, re.MULTILINE)
    for result in read(text)["results"]:
        said = result["message"]["text"]
        assert said == plain(said, len(said))
        assert not re.search(r"\]\(|\{\d+\}", said)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("[a](http://x)", "[a] (http://x)"),
        ("[a [b](0)](1)", "[a [b] (0)] (1)"),
        ("a {0} {{12}} {x} [b] (c)", "a { 0} {{ 12}} {x} [b] (c)"),
    ],
)
def test_links_and_placeholders_are_broken(text: str, shown: str) -> None:
    assert message(text, 200) == shown


@pytest.mark.parametrize("name", [*HOSTILE, "a b.txt", "a:b.txt", "#1?.txt", "größe.txt"])
def test_a_file_is_a_uri_reference_that_reads_back(name: str) -> None:
    made = uri(name)
    assert unquote(made, errors="surrogatepass").removeprefix("./" if name.startswith("/") else "") == name
    assert made.isascii()
    assert ":" not in made


def test_every_kind_of_finding_has_a_rule() -> None:
    assert set(KINDS) == {"copy", "partial-copy", "suspicious", "similar", "gate"}
