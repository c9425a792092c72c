"""The pages as tests read them: by folder, their fenced blocks, the commands in these, links, anchors and prose."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer.main

from memdetect.cli import app

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
MADE = ("cli.md", "messages.md", "python.md")  # by docs/site/references.py
TOP: Any = typer.main.get_command(app)  # made once: every command is imported when it is asked for
SHELL = ("bash", "sh", "console", "yaml", "yml", "")
FENCE = re.compile(r"^(?P<pad>[ ]*)```(?P<language>[^\n`]*)\n(?P<body>.*?)^(?P=pad)```[ ]*$", re.M | re.S)
SPAN = re.compile(r"(?<!`)(`+)(?!`).+?(?<!`)\1(?!`)", re.S)


def pages(*folders: str) -> list[Path]:
    """The pages of docs/ in these folders; "" = docs/ itself."""
    return [path for folder in folders for path in sorted((DOCS / folder).glob("*.md"))]


def every_page() -> list[Path]:
    """README and all pages of docs/."""
    return [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]


def name_of(path: Path) -> str:
    """A page as a test's id."""
    return path.relative_to(ROOT).as_posix()


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and the line where it begins."""

    language: str
    body: str
    line: int


def blocks(text: str) -> Iterator[Block]:
    """Every fenced block of a page."""
    for found in FENCE.finditer(text):
        yield Block(found["language"].strip(), found["body"], text.count("\n", 0, found.start()) + 1)


@dataclass(frozen=True)
class Command:
    """A call of memdetect as a page shows it: its words without `memdetect`, and its line."""

    words: tuple[str, ...]
    line: int

    def __str__(self) -> str:
        return shlex.join(["memdetect", *self.words])


def commands(text: str) -> Iterator[Command]:
    """Every call of memdetect in the shell blocks of a page, and in the `run:` lines of its workflows.

    A variable that the page sets on a line of its own, NAME="...", stands for its words from there on.
    """
    variables: dict[str, str] = {}
    for block in blocks(text):
        if block.language in SHELL:
            joined = block.body.replace("\\\n", "  ")
            for number, line in enumerate(joined.splitlines(), 1):
                if found := re.fullmatch(r'([A-Z]+)="([^"]*)"', line.strip()):
                    variables[found[1]] = found[2]
                line = re.sub(r"\$([A-Z]+)", lambda name: variables.get(name[1], name[0]), line)
                yield from (Command(words, block.line + number) for words in _called(line))


def _called(line: str) -> Iterator[tuple[str, ...]]:
    """The calls of memdetect in a line of a script."""
    if not re.search(r"(^|[\s/])memdetect\s", line):
        return
    line = re.sub(r"^\s*(- )?run: ", "", line)
    lexer = shlex.shlex(line.removeprefix("$ "), posix=True, punctuation_chars="();<>|&")
    lexer.whitespace_split, lexer.commenters = True, "#"
    words: list[str] = []
    for word in [*lexer, ";"]:
        if re.fullmatch(r"[();<>|&]+", word):
            while words and re.match(r"[A-Z_]+=", words[0]):
                del words[0]
            if words and words[0].rpartition("/")[2] == "memdetect":
                yield tuple(words[1:])
            words = []
        else:
            words.append(word)


def parsed(words: tuple[str, ...]) -> Any:
    """The context of a call as the command line reads it, without running it; raises what the parser raises."""
    command: Any = TOP
    rest = list(words)
    while rest and rest[0] in getattr(command, "commands", {}):
        command = command.commands[rest.pop(0)]
    if hasattr(command, "commands"):
        raise ValueError(f"{' '.join(words)!r} names no command; there are {', '.join(command.commands)}")
    return command.make_context(command.name, rest)


def without_code(text: str) -> str:
    """A page without its blocks and spans of code, line for line."""
    text = FENCE.sub(lambda found: "\n" * found[0].count("\n"), text)
    return SPAN.sub(lambda found: "code" + "\n" * found[0].count("\n"), text)


def links(text: str) -> list[str]:
    """The targets of a page's links and pictures, addresses of other hosts left out."""
    shown = SPAN.sub("code", FENCE.sub("", text))
    return [found for found in re.findall(r"\]\(([^)\s]+)\)", shown) if not re.match(r"[a-z]+:", found)]


def anchors(text: str) -> list[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    found: list[str] = []
    for heading in re.findall(r"^#{1,6} +(.+?)[ #]*$", FENCE.sub("", text), re.M):
        plain = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").replace("*", "")
        slug = re.sub(r"[^\w\- ]", "", plain.lower()).strip().replace(" ", "-")
        count = sum(each == slug or re.fullmatch(rf"{re.escape(slug)}-\d+", each) is not None for each in found)
        found.append(f"{slug}-{count}" if count else slug)
    return found + re.findall(r"<a (?:id|name)=\"([^\"]+)\"", text)


def prose(text: str) -> str:
    """What a reader reads as sentences: no code, tables, headings, pictures, comments; links as their text."""
    lines = [line for line in without_code(text).splitlines() if not re.match(r"\s*(\||#|!\[|<!--|:::)", line)]
    return re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", "\n".join(lines))


def sentences(text: str) -> Iterator[str]:
    """The sentences of a page's prose; an item of a list ends one."""
    for paragraph in re.split(r"\n\s*\n|\n\s*(?=[-*] |\d+\. )", prose(text)):
        plain = re.sub(r"[*_]{1,2}(?=\w|\S)|(?<=\S)[*_]{1,2}", "", " ".join(paragraph.split()))
        plain = re.sub(r"^(?:[-*]|\d+\.)\s+", "", plain)
        for sentence in re.split(r"(?<=[.!?])[\"')\]]*\s+(?=[\w\"'(\[])", plain):
            if re.search(r"\w", sentence):
                yield sentence


def words(sentence: str) -> int:
    """How many words a sentence has; a span of code is one."""
    return sum(re.search(r"\w", word) is not None for word in sentence.split())
