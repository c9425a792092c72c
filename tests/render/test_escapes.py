"""Hostile words in Markdown, read back by a parser of it: they come out as they are, as text, and stay legible."""

import html
import re
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token
from report_runs import HOSTILE, texts

from memdetect.inputs.harmless import plain
from memdetect.render.escapes import BREAK, code, text

PARSER = MarkdownIt("gfm-like", {"html": True, "linkify": False})  # tables and strikethrough; addresses: see GITHUB
OWN = {BREAK, "<span>", "</span>", "<code>", "</code>"}
# What GitHub looks for in each piece of text that is not code, after Markdown.
GITHUB = re.compile(
    r"\w@[\w.-]+|(?<!\w)@\w|#\d|(?<!\w)gh-\d|\w+://|www\.|:[\w+-]+:|(?<!\w)(?=\w*\d)(?=\w*[a-f])[0-9a-f]{7,40}(?!\w)",
    re.IGNORECASE,
)
PIECES = [
    "@octocat",
    "a@b.example",
    "0@.",
    "#12",
    "GH-7",
    "o/r#3",
    "https://x.example",
    "www.x.example",
    ":cat:",
    "[^1]",
    "[^1]:",
    "deadbeef1234",
    "**b**",
    "_i_",
    "~~s~~",
    "`c`",
    "![i](u)",
    "[l](u)",
    "<b>",
    "</td>",
    "<!--",
    "&lt;",
    "&#60;",
    "|",
    "\\",
    "$x$",
    "\n",
    "  ",
    "-",
    "1.",
    "2)",
    "#",
    ">",
    "+",
    "*",
    "---",
    "***",
    "```",
    "~~~",
    "[ ]",
    "[x]: u",
    "::",
    "http:",
    "mailto:a@b.example",
    "<http://x>",
    "a",
    "1",
    " ",
    "🐱",
    "\\|",
    "http&colon;//x",
    "_",
]
mixed = st.one_of(texts, st.lists(st.sampled_from(PIECES), max_size=8).map("".join))


def paragraph(made: str) -> list[Token]:
    return PARSER.parse(f"head\n\n{made}\n\ntail\n")[3:-3]


def item(made: str) -> list[Token]:
    tokens = PARSER.parse(f"head\n\n- {made}\n- last\n")
    assert [t.type for t in tokens].count("list_item_open") == 2
    return tokens[5 : [t.type for t in tokens].index("list_item_close") - 1]


def cell(made: str) -> list[Token]:
    tokens = PARSER.parse(f"| a | b | c |\n|---|---|---|\n| x | {made} | y |\n\ntail\n")
    body = tokens[[t.type for t in tokens].index("tbody_open") :]
    cells = [t for t in body if t.type == "inline"]
    assert len(cells) == 4
    assert (cells[0].content, cells[2].content) == ("x", "y")
    return [cells[1]]


def pieces(tokens: list[Token]) -> tuple[str, list[str]]:
    """All that is shown, and the pieces of text outside code between other tokens."""
    (inline,) = [t for t in tokens if t.type not in ("paragraph_open", "paragraph_close")]
    assert inline.type == "inline"
    shown, apart, inside = "", [""], 0
    for child in inline.children or []:
        assert child.type in ("text", "code_inline", "html_inline"), child.type
        if child.type == "html_inline":
            assert child.content in OWN
            inside += {"<code>": 1, "</code>": -1}.get(child.content, 0)
            apart.append("")
        else:
            shown += child.content
            apart[-1] += "" if inside or child.type == "code_inline" else child.content
    return shown, apart


@pytest.mark.parametrize("place", [paragraph, item, cell])
@settings(max_examples=400, deadline=None)
@given(mixed)
@example("".join(HOSTILE))
@example(" ".join(PIECES))
def test_words_are_text_and_nothing_else(place: Callable[[str], list[Token]], words: str) -> None:
    wanted = plain(words.strip(), 200)
    if not wanted:
        return
    made = text(words)
    assert not made.startswith("::"), "a command to GitHub's runner, in a log"
    shown, apart = pieces(place(made))
    assert shown == wanted
    assert not [piece for piece in apart if GITHUB.search(piece)]


@pytest.mark.parametrize("piece", PIECES)
@pytest.mark.parametrize("around", ["{}", "a {} b", "{} b", "a {}", "({})"])
def test_every_piece_is_text_wherever_it_stands(piece: str, around: str) -> None:
    words = around.format(piece).strip()
    for place in (paragraph, item, cell):
        if words:
            shown, apart = pieces(place(text(words)))
            assert shown == plain(words)
            assert not [each for each in apart if GITHUB.search(each)]


@pytest.mark.parametrize("place", [paragraph, cell])
@settings(max_examples=300, deadline=None)
@given(mixed)
@example("\\|`")
@example("``a`")
def test_code_is_the_words(place: Callable[[str], list[Token]], words: str) -> None:
    wanted = plain(words.strip(), 200)
    made = code(words)
    if not wanted:
        assert not made
        return
    shown, apart = pieces(place(made))
    assert shown == wanted
    assert not "".join(apart)


@settings(max_examples=100, deadline=None)
@given(st.lists(mixed, min_size=2, max_size=3))
def test_code_beside_code_keeps_apart(several: list[str]) -> None:
    wanted = [plain(words.strip(), 200) for words in several]
    shown, _ = pieces(paragraph(f"model {', '.join(map(code, several))}"))
    assert shown == f"model {', '.join(wanted)}".rstrip()


@settings(deadline=None)
@given(st.text("abc XYZ 189 ,.%!?'\"()=+-/;{}", max_size=60))
def test_ordinary_words_are_untouched(words: str) -> None:
    wanted = plain(words.strip(), 200)
    if re.match(r"\d+[.)]|[-+]", wanted):
        return
    assert re.sub(r"</?code>", "", text(words)) == wanted


def test_marks_that_mean_nothing_are_untouched() -> None:
    for words in (
        "a cat, 50% off: (red) - size 1.5!",
        "p = 0.012 <= 0.05 & n > 99",
        "up_blocks.0.resnets.1, 2 * 3, ~ 5",
        "12:30, 640x480, 249,600 images; 1234567 of them",
        'a "quoted" word; it\'s 100 %',
        "a facade, a 'defaced' one",
    ):
        assert text(words) == words
        assert code(words) == f"`{words}`"


@pytest.mark.parametrize(
    ("words", "made"),
    [
        ("a|b", r"a\|b"),
        ("[a](http://x)", r"\[a](http:<!-- -->//x)"),
        ("me@x.example", "me@<!-- -->x.example"),
        ("see #12", "see #<!-- -->12"),
        ("# big", r"\# big"),
        ("1. one", r"1\. one"),
        ("&lt;b> <b>", r"\&lt;b> \<b>"),
        ("costs $5", "costs <span>$</span>5"),
        ("commit deadbeef1", "commit <code>deadbeef1</code>"),
    ],
)
def test_what_acts_is_escaped(words: str, made: str) -> None:
    assert text(words) == made
    assert html.unescape(re.sub(r"<.*?>", "", PARSER.renderInline(made))) == words
