"""The pages read easily: sentences of at most 30 words, plain words, and a README of one sitting."""

import re

import pytest
from pages import DOCS, ROOT, name_of, pages, prose, sentences, without_code, words

LONGEST = 30  # words
README_LINES = 150
README = ROOT / "README.md"
SHORT = [README, *pages("", "tutorial", "how-to", "explanation")]
SHORT = [path for path in SHORT if path.name not in ("decisions.md", "glossary.md")]
WORDED = [*SHORT, *pages("measured"), DOCS / "decisions.md"]


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
