"""Whatever a prompt, an id, a path or a reason holds: no output commands a runner or a terminal, and all read back."""

import csv
import io
import json
import re
import unicodedata
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from report_runs import HOSTILE, OUTCOMES, run
from synthetic_runs import INDEX, match

from memdetect.cli.machine import Check
from memdetect.cli.terminal import complain, say, write_lines
from memdetect.copies.match import Looked
from memdetect.inputs.harmless import escaped, line, plain
from memdetect.render import FORMATS, render_table
from memdetect.render.explain import render_explanation
from memdetect.render.matches import matches_csv, matches_json, matches_table

WIDTHS = (1, 2, 7, 20, 33, 80, 120)
WIDE = "\N{HIRAGANA LETTER A}"
COMMANDS = ("::stop-commands::tok", "::add-mask::x", "##[error]x", "##vso[task.setvariable variable=x]y", "##VSO[x]")
BEFORE = (
    "",
    " ",
    "\t",
    "\n",
    "\r\n",
    "\u00a0",
    "\u3000",
    "\u034f",
    "\ufe0f",
    "\x1b[2K\r",
    "a\n",
    f"{WIDE * 33} ",
    "x" * 33,
)
armed = st.builds("{}{}{}".format, st.sampled_from(BEFORE), st.sampled_from(COMMANDS), st.text(max_size=5))
nasty = st.text("#:[vso]\u034f\ufe0f \t\x1b\x7f\x9b\u202e\\'\"\n\r,;|`*<&=@" + WIDE, max_size=60)
texts = st.one_of(st.sampled_from(HOSTILE), armed, nasty, st.text(max_size=40))
LIMITS = {"source": "held-out", "queries": 99, "similarity": 0.8, "level": 0.01, "shown": True, "attainable": 0.01}
SHARES = {"source": "held-out", "queries": 99, "pairs": 990, "agreed": 0.2, "shown": True, "duplicates": 9}
WHOLE = {"training_set": None, "as_trained": "", "training_set_by": "", "skipped": {}, "geometry": {}}
MANIFEST: dict[str, Any] = {
    **INDEX, **WHOLE, "planted": {"images": 0}, "threshold": {**LIMITS, "rows": 4}, "agreement": SHARES
}  # fmt: skip


def hidden(letter: str) -> bool:
    """Whether a letter shows nothing, so that a runner may compare without it."""
    return letter.isspace() or letter in "\u034f\ufe0f\u115f\u1160" or unicodedata.category(letter) == "Cf"


def seen(text: str) -> str:
    return "".join(letter for letter in text if not hidden(letter))


def check(text: str, *, commands: bool = False) -> None:
    """No control or direction character but line feeds, and no line that a runner takes for a command."""
    text.encode()
    acting = ("Cc", "Cf", "Cs", "Zl", "Zp")
    assert not [c for c in text.replace("\r\n", "").replace("\n", "") if unicodedata.category(c) in acting]
    for each in text.replace("\r\n", "\n").split("\n"):
        assert commands or not seen(each).startswith("::"), each
        spaced = "".join(letter for letter in each if letter.isspace() or not hidden(letter))  # blanks part a command
        assert not re.search(r"##(vso)?\[", spaced, re.IGNORECASE), each


def held(prompt: str, other: str) -> tuple[Any, list[Any], Any]:
    """A run whose every text is one of two."""
    near = match().model_copy(update={"key": other, "path": prompt, "caption": other, "note": other})
    header, results, verdict = run(
        [prompt, other], OUTCOMES, reason=other, id=prompt, source=other, files=[prompt], notes=[prompt], matches=[near]
    )
    return header.model_copy(update={"model": prompt, "default_point": other}), results, verdict


@settings(max_examples=60)
@given(texts, texts)
@example(f"{WIDE * 33} ::stop-commands::tok", " ::stop-commands::tok")
@example("##vso[task.x]y", "\u034f::error::x")
@pytest.mark.parametrize("name", FORMATS)
def test_no_report_commands_a_runner_or_a_terminal(name: str, one: str, other: str) -> None:
    check(FORMATS[name](*held(one, other)), commands=name == "github")


@settings(max_examples=40)
@given(texts, texts, st.sampled_from(WIDTHS))
@example(f"{WIDE * 33} ::stop-commands::tok", "", 120)
def test_no_width_of_the_table_breaks_a_line_before_a_command(one: str, other: str, width: int) -> None:
    header, results, verdict = held(one, other)
    check(render_table(header, results, replace(verdict, notes=(one, other)), width=width))


@settings(max_examples=60)
@given(texts, texts)
@example("::stop-commands::tok", "a cat")
def test_no_item_in_full_commands_a_runner(one: str, other: str) -> None:
    one, other = one.replace("\ud800", ""), other.replace("\ud800", "")  # which no file and no record can hold
    header, results, _ = held(one, other)
    header = header.model_copy(update={"index": {"rows": 1, "given": other}, "opening": {"revision": one}})
    for row in results:
        check(render_explanation(header, row))


@settings(max_examples=40)
@given(texts, texts, st.sampled_from(WIDTHS[2:]))
@pytest.mark.parametrize("form", ["table", "json", "csv"])
def test_no_match_commands_a_runner(form: str, one: str, other: str, width: int) -> None:
    near = match().model_copy(update={"key": one, "path": other, "caption": one})
    looked = [Looked(image=one, outcome="copy", reason=other, matches=[near]), Looked(image=other, outcome="clear")]
    if form == "table":
        check(matches_table(looked, MANIFEST, width=width))
    else:
        check((matches_json if form == "json" else matches_csv)(looked, MANIFEST))


@settings(max_examples=60)
@given(texts)
@example("::stop-commands::tok")
def test_no_line_of_words_commands_a_runner(text: str) -> None:
    """What doctor, index info, dry runs and errors are made of: lines for a person."""
    for made in (line(text), escaped(text)):
        assert "\n" not in made
    check(line(text))
    check(line(str(Check(text, "ok", text).found)))


@pytest.mark.parametrize("text", [*HOSTILE, *(f"{before}{command}" for before in BEFORE for command in COMMANDS)])
def test_what_is_said_is_one_harmless_line(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    say(text)
    complain(ValueError(text))
    write_lines([text])
    out, err = capsys.readouterr()
    check(out)
    check(err)
    assert (out.count("\n"), err.count("\n")) == (1, 2)


def undone(cell: str) -> str:
    r"""The text of a cell: without one apostrophe at its beginning, \\, \n, \xNN and so on undone."""
    cell = cell.removeprefix("'")
    return re.sub(r"\\(x..|u....|U.{8}|.)", lambda hit: _undone(hit[1]), cell, flags=re.DOTALL)


def _undone(code: str) -> str:
    if code[0] in "xuU":
        return chr(int(code[1:], 16))
    return {"n": "\n", "r": "\r", "t": "\t", "\\": "\\"}[code]


@settings(max_examples=150)
@given(texts, texts)
@example("'=1", "\\n\n\\\\")
@example("'", "''a")
def test_csv_reads_back(one: str, other: str) -> None:
    rows = list(csv.DictReader(io.StringIO(FORMATS["csv"](*held(one, other)), newline=""), strict=True))
    assert [undone(row["prompt"]) for row in rows] == [one, other]
    assert {(undone(row["id"]), undone(row["reason"]), undone(row["source"])) for row in rows} == {(one, other, other)}


@settings(max_examples=60)
@given(texts, texts)
@pytest.mark.parametrize("name", ["json", "jsonl"])
def test_json_reads_back(name: str, one: str, other: str) -> None:
    header, results, verdict = held(one, other)
    made = FORMATS[name](header, results, verdict)
    rows = json.loads(made)["findings"] if name == "json" else [json.loads(each) for each in made.splitlines()]
    assert [row["prompt"] for row in rows] == [one, other]
    assert {row["id"] for row in rows} == {one}


@settings(max_examples=60)
@given(texts, texts)
def test_markdown_reads_back_what_can_be_seen(one: str, other: str) -> None:
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(FORMATS["md"](*held(one, other)))
    words = [shown(token) for token in tokens if token.type == "inline"]
    for text in (one, other):
        assert plain(text.strip(), 200).split() in [each.split() for each in words]


def shown(token: Any) -> str:
    return "".join(child.content for child in token.children or () if child.type in ("text", "code_inline"))


def test_the_check_sees_commands() -> None:
    """What this file rests on."""
    for before in ("", " ", "\u3000", "\u034f", "a\n"):
        for command in COMMANDS:
            with pytest.raises(AssertionError):
                check(before + command)
    for letter in "\x1b\x9b\x7f\u202e\r":
        with pytest.raises(AssertionError):
            check(f"a{letter}b")
