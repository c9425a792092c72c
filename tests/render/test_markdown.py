"""Markdown, read back by a Markdown and an HTML parser: prompts come out as text, and only as text."""

from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from markdown_it import MarkdownIt
from report_runs import run, texts

from memdetect.inputs.harmless import plain
from memdetect.render.markdown import LIMIT, ROWS, render_markdown

TAGS = {"h2", "h3", "p", "table", "thead", "tbody", "tr", "th", "td", "code", "span", "ul", "li"}


class Page(HTMLParser):
    """Tags, attributes and cells of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.rows: list[list[str]] = []
        self.text = ""
        self.in_cell = False
        self.feed(MarkdownIt("commonmark", {"html": True}).enable("table").render(text))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes.update(f"{name}={value}" for name, value in attrs)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self.in_cell = True

    def handle_endtag(self, tag: str) -> None:
        self.in_cell = self.in_cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.in_cell:
            self.rows[-1][-1] += data


@settings(max_examples=50)
@given(texts, texts)
def test_a_prompt_is_text_in_its_cell(prompt: str, reason: str) -> None:
    page = Page(render_markdown(*run([prompt], reason=reason)))
    assert page.tags <= TAGS
    assert page.attributes <= {"style=text-align:right"}
    (cells,) = [cells for cells in page.rows if cells[0] == "copy" and len(cells) == 6]
    assert [c.split() for c in cells[4:]] == [plain(words.strip(), 200).split() for words in (prompt, reason)]


def test_it_says_what_was_decided_and_what_not_tested() -> None:
    header, results, verdict = run(["a cat", "a dog"], ("copy", "clear"))
    page = Page(render_markdown(header, results, verdict))
    assert "memdetect: fail" in page.text
    assert verdict.claim in page.text
    assert ["1", "0", "0", "0", "0", "1", "0", "2", "2"] in page.rows
    assert ["findings", "fail", "1 among 2"] in page.rows
    assert "training images: none were searched" in page.text
    assert "the wording was not compared" in page.text
    assert "a dog" not in page.text


def test_suppressed_findings_are_marked() -> None:
    page = Page(render_markdown(*run(["a cat"], suppressed="legal until 2027-01-01: licensed")))
    assert "copy, suppressed" in [cells[0] for cells in page.rows]


def test_the_table_is_cut_and_says_so() -> None:
    text = render_markdown(*run([f"prompt {i}" for i in range(ROWS + 7)]))
    assert text.count("`prompt ") == ROWS
    assert "\n7 more findings are not shown.\n" in text
    assert "more findings" not in render_markdown(*run(["a cat"] * ROWS))


@pytest.mark.parametrize("letter", ["|", "\N{CAT FACE}", "\x1b"])
def test_it_stays_below_the_limit(letter: str) -> None:
    """Two bytes and more for each character, in more rows than fit."""
    results = run([letter * 10**3] * 3000, reason=letter * 10**3)
    text = render_markdown(*results, rows=3000)
    assert LIMIT - 5000 < len(text.encode()) <= LIMIT < 2**20
    shown = text.count("\n| copy | 0.01 | ")
    assert f"\n{3000 - shown} more findings are not shown.\n" in text
    assert len(Page(render_markdown(*results, rows=1000, limit=20_000)).rows) > 2
