"""The pages are easy to read: sentences of at most 30 words, plain words, and a README of one sitting."""

import re

import pytest
from pages import DOCS, ROOT, name_of, pages, prose, sentences, without_code, words

LONGEST = 30  # words
README_LINES = 150
README = ROOT / "README.md"
SHORT = [README, *pages("", "tutorial", "how-to", "explanation")]
SHORT = [path for path in SHORT if path.name not in ("decisions.md", "glossary.md")]
WORDED = [DOCS / "glossary.md", *SHORT, *pages("measured"), DOCS / "decisions.md"]


def unused(glossary):
    """The words of the glossary's table of words that the pages do not use."""
    section = glossary.split("\n## Words that are not used here\n")[1]
    return [word.strip() for cell in re.findall(r"^\| ([^|-][^|]*) \|", section, re.M)[1:] for word in cell.split(",")]


def used(text, banned):
    """Which of the banned words stand in the prose of a page."""
    plain = " ".join(prose(text).split())
    return [word for word in banned if re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", plain, re.IGNORECASE)]


BANNED = unused((DOCS / "glossary.md").read_text("utf-8"))


@pytest.mark.parametrize("path", WORDED, ids=name_of)
def test_words_that_are_not_used_are_not_used(path):
    assert used(path.read_text("utf-8"), BANNED) == []


def test_words_are_found_in_prose_alone():
    banned = unused(
        "# G\n\n## Words that are not used here\n\n| not | but |\n|---|---|\n| a dose, hits | x |\n| just | y |\n"
    )
    assert banned == ["a dose", "hits", "just"]
    assert used("It hits. A\ndose-response, `just` | a table\n| just |\n```\njust\n```\n", banned) == ["hits"]
    assert used("Just a\ndose.", banned) == ["a dose", "just"]
    assert {"peak", "simply", "of course"} <= {*BANNED}


@pytest.mark.parametrize("path", SHORT, ids=name_of)
def test_sentences_are_short(path):
    long = [f"{words(each)} words: {each}" for each in sentences(path.read_text("utf-8")) if words(each) > LONGEST]
    assert long == []


def test_the_readme_is_read_at_one_sitting():
    assert len(README.read_text("utf-8").splitlines()) <= README_LINES


def test_sentences_are_found():
    page = """# A heading of many words
One sentence. Another `with code. In it`, and "a third!" A fourth
goes on.

- an item without an end
- [a link](that/does.not.count) and **bold text.** Then more

| a table | does. not count |
|---|---|

```
Nor. Does. Code.
```
<!-- Nor a comment. -->
1. Numbered.
"""
    found = list(sentences(page))
    assert found == [
        "One sentence.",
        'Another code, and "a third!',
        "A fourth goes on.",
        "an item without an end",
        "a link and bold text.",
        "Then more",
        "Numbered.",
    ]
    assert [words(each) for each in found] == [2, 5, 4, 5, 5, 2, 1]
    assert "table" not in prose(page)
    assert without_code(page).count("\n") == page.count("\n")
    assert not re.search(r"Nor\. Does", without_code(page))
