"""Annotations, read back as GitHub's runner reads them."""

import re

import pytest
from hypothesis import given, settings
from report_runs import HOSTILE, OUTCOMES, run, texts

from memdetect.inputs.harmless import plain
from memdetect.render.github import MOST, render_github

Command = tuple[str, dict[str, str], str]


def commands(text: str) -> list[Command]:
    """Every line as (command, properties, message), split and unescaped by the runner's rules."""
    found = []
    for line in text.split("\n")[:-1]:
        hit = re.fullmatch(r"::(\w+) (.*?)::(.*)", line)
        assert hit, line
        pairs = [pair.split("=", 1) for pair in hit[2].split(",")]
        found.append((hit[1], {key: unescape(value) for key, value in pairs}, unescape(hit[3])))
    return found


def unescape(text: str) -> str:
    for code, letter in (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
        text = text.replace(code, letter)
    return text


@settings(max_examples=40)
@given(texts, texts)
def test_a_prompt_is_the_message_and_no_more(prompt: str, reason: str) -> None:
    verdict, found = commands(render_github(*run([prompt], reason=reason, source="a,b:c%.txt")))
    assert verdict[:2] == ("error", {"title": "memdetect: fail"})
    assert found[:2] == ("error", {"file": "a,b:c%.txt", "line": "1", "title": "memdetect: copy"})
    assert found[2].startswith(plain(prompt, 200))


@pytest.mark.parametrize("source", HOSTILE[:4])
def test_a_file_name_stays_one_property(source: str) -> None:
    _, found = commands(render_github(*run(["a cat"], source=source)))
    assert set(found[1]) <= {"file", "line", "title"}
    assert found[1].get("file", plain(source, 1000)) == plain(source, 1000).replace("\\", "/")


def test_levels_and_places() -> None:
    header, results, verdict = run(["a", "b", "c", "d", "e", "f"], OUTCOMES)
    results[5] = results[5].model_copy(update={"source": "/home/me/p.txt"})
    kinds = [
        (level, found.get("file"), found["title"])
        for level, found, _ in commands(render_github(header, results, verdict))
    ]
    assert kinds == [
        ("error", None, "memdetect: fail"),
        ("error", "p.txt", "memdetect: copy"),
        ("error", "p.txt", "memdetect: partial-copy"),
        ("warning", "p.txt", "memdetect: suspicious"),
        ("notice", "p.txt", "memdetect: similar"),
    ]


@pytest.mark.parametrize(("count", "left"), [(9, 0), (10, 1), (200, 191)])
def test_at_most_ten_of_a_kind_and_the_rest_is_counted(count: int, left: int) -> None:
    found = commands(render_github(*run(["a cat"] * count)))
    assert [level for level, _, _ in found].count("error") == min(count + 1, MOST)
    assert [message for level, _, message in found if level == "notice"] == (
        [f"{left} more findings are not shown here"] if left else []
    )


def test_each_kind_has_its_own_ten() -> None:
    levels = [level for level, _, _ in commands(render_github(*run(["a"] * 60, ("suspicious", "copy"))))]
    assert (levels.count("error"), levels.count("warning"), levels.count("notice")) == (MOST, MOST, 1)


def test_a_pass_is_a_notice_and_what_is_suppressed_is_no_annotation() -> None:
    header, results, verdict = run(["a cat"], ("clear",))
    assert [command[0] for command in commands(render_github(header, results, verdict))] == ["notice"]
    header, results, verdict = run(["a cat"], suppressed="legal until 2027-01-01: licensed")
    assert len(commands(render_github(header, results, verdict))) == 1
