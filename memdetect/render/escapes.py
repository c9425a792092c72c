"""Hostile words in Markdown: what Markdown or GitHub would act on is escaped, and nothing else: all stays legible.

GitHub makes links of addresses, mentions, issues, commits and of :names: only after Markdown's own escapes are
resolved. A comment between two characters keeps them in two pieces of text there, and shows nothing.
"""

import re

from memdetect.inputs.harmless import plain

BREAK = "<!-- -->"
_MARKS = re.compile(
    r"""
      ^\d{1,9}(?P<order>[.)])(?=\ |$)                     # a list: 1. or 1)
    | ^(?P<block>[-+](?=[-\ ]|$) | \*(?=\ |$)             # a list or a rule
        | \#(?=\#{0,5}(?:\ |$)) | > | :(?=:))             # a heading, a quote, a command to GitHub's runner
    | (?P<mark>[\\`|\[] | (?<=\S)[*~] | [*~](?=\S)        # code, cell, link; emphasis unless between spaces
        | (?<![^\W_])_ | _(?![^\W_])                       # emphasis unless within a word
        | <(?=[A-Za-z/!?]) | &(?=\#?\w+;))                 # HTML, entity
    | (?P<dollar>\$)                                       # a formula
    | (?P<hash>(?<!\w)(?=\w*\d)(?=\w*[a-f])[\da-f]{7,40}(?!\w))  # a commit
    | (?P<link>:(?=//) | www(?=\.) | @(?=[\w.-]) | \#(?=\d) | (?<!\w)gh-(?=\d) | :(?=[\w+-]+:))
    """,
    re.VERBOSE | re.IGNORECASE,
)


def text(words: str, width: int = 200) -> str:
    """Words as text and nothing else: no markup, HTML, link, mention or table cell border comes of them.

    For a paragraph, a list item or a table cell of its own, or within one; at most `width` characters are shown.
    """
    return _MARKS.sub(_escape, plain(words.strip(), width))


def code(words: str, width: int = 200) -> str:
    """The same in code type, where nothing but backticks and the border of a table cell means anything."""
    shown = plain(words.strip(), width)
    if "|" in shown:  # within backticks a table takes away the backslash that may stand before a border
        return f"<code>{text(words, width)}</code>"
    ticks = "`" * (1 + max(map(len, re.findall("`+", shown)), default=0))
    pad = " " if "`" in (shown[:1], shown[-1:]) else ""
    return f"{ticks}{pad}{shown}{pad}{ticks}" if shown else ""


def _escape(hit: re.Match[str]) -> str:
    """What stands for a mark that would act."""
    found = hit[0]
    match hit.lastgroup:
        case "dollar":
            return "<span>$</span>"  # as GitHub's documentation says, since it finds formulas in escaped dollars too
        case "hash":
            return f"<code>{found}</code>"
        case "link":
            return f"{found}{BREAK}"
        case _:
            return f"{found[:-1]}\\{found[-1]}"
