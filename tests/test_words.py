"""Words that were replaced stay replaced: in identifiers, in names of options and in texts of the code."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# docs/decisions.md and CHANGELOG.md tell how things were, in the words of then.
PAGES = [p for p in (*ROOT.glob("docs/*.md"), ROOT / "README.md") if p.name != "decisions.md"]
IDENTIFIERS = {
    *("Family", "FAMILIES", "add_family", "family_of", "tiny_families", "Look", "looked_at"),
    *("peak", "MEAN_SPREAD", "PEAK_TO_MEAN", "peak_to_mean"),
    *("hits_needed", "caught", "rungs", "parse_rungs", "part_a", "part_b", "members_of", "check_halves", "alarm"),
}
STRINGS = {"matched", "ladder", "peak", "A", "B", "reporting", "members", "peak-to-mean", "caught"}
PHRASES = (
    "Looked at",
    *("--rungs", "clean-a", "clean-b", "clean-report", "peak-to-mean", "hits needed", "clear hits", "alarm of shift"),
    *("caught at", "part A", "part B", "choosing half", "half set aside", "reporting half", "wording alarm"),
)
MODES = {f"memdetect/{name}.py": {"A"} for name in ("lab/world/pictures", "inputs/images")}  # the channel of a picture


def identifiers(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.arg(arg=name) | ast.Attribute(attr=name) | ast.alias(name=name):
                yield name
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.keyword(arg=str(name)):
                yield name
            case _:
                pass


def strings(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def said(text: str) -> list[str]:
    return [phrase for phrase in PHRASES if re.search(rf"(?<![\w-]){re.escape(phrase)}(?![\w-])", text)]


def problems(source: str, allowed: frozenset[str] | set[str] = frozenset()) -> list[str]:
    tree = ast.parse(source)
    own = {*identifiers(tree)} & IDENTIFIERS
    texts = [*strings(tree)]
    return sorted({*own, *({*texts} & STRINGS - allowed), *(phrase for text in texts for phrase in said(text))})


@pytest.mark.parametrize("path", sorted(ROOT.glob("memdetect/**/*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_the_code_uses_the_words_of_the_field(path):
    assert problems(path.read_text("utf-8"), MODES.get(path.relative_to(ROOT).as_posix(), set())) == []


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.name)
def test_the_pages_use_the_words_of_the_field(path):
    assert said(path.read_text("utf-8")) == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from x import hits_needed", ["hits_needed"]),
        ("class Family: ...", ["Family"]),
        ("model.rungs", ["rungs"]),
        ("f(peak=1)", ["peak"]),
        ("x = 'ladder'", ["ladder"]),
        ("'see clean-a.jsonl, part A'", ["clean-a", "part A"]),
        ("family = halves = 'a family'", []),
    ],
)
def test_old_words_are_found(source, found):
    assert problems(source) == found
