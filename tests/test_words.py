"""Words that were replaced stay replaced: in identifiers, in names of options and in texts of the code."""

import ast
import re
from collections.abc import Iterator, Set
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# docs/decisions.md and CHANGELOG.md tell how things were, in the words of then.
PAGES = [
    path
    for pattern in ("README.md", "docs/**/*.md", "benchmarks/*.md", "models/*/README.md", "sample_prompts/*.md")
    for path in sorted(ROOT.glob(pattern))
    if path.name != "decisions.md"
]
TESTS = sorted({*ROOT.glob("tests/**/*.py"), *ROOT.glob("benchmarks/*.py")} - {Path(__file__)})
IDENTIFIERS = {
    *("Family", "FAMILIES", "add_family", "family_of", "tiny_families", "Look", "looked_at"),
    *("peak", "MEAN_SPREAD", "PEAK_TO_MEAN", "peak_to_mean"),
    *("hits_needed", "caught", "rungs", "parse_rungs", "part_a", "part_b", "members_of", "check_halves", "alarm"),
    *("FAMILY_MAKERS", "tiny_family", "lot", "lots", "LOOK", "LOOKS", "looks", "alarms", "peaks"),
    *("Null", "null", "NULL", "nulls", "NULLS", "make_null", "paired_null", "null_of", "read_nulls", "base_null"),
}
STRINGS = {"matched", "ladder", "peak", "A", "B", "reporting", "members", "peak-to-mean", "caught"}
PHRASES = (
    "Looked at",
    *("--rungs", "clean-a", "clean-b", "clean-report", "peak-to-mean", "hits needed", "clear hits", "alarm of shift"),
    *("caught at", "part A", "part B", "choosing half", "half set aside", "reporting half", "wording alarm"),
    *("by lot", "--lots", "--nulls", "--half", "--family", "--member", "null images", "null similarities"),
    *("on one half", "on the other half", "half that nothing was chosen on", "half by hash", "of the same half"),
    *("a look", "A look", "one look", "every family's", "row of families", "alias of its family"),
    *("every family", "a member's", "single member", "all members", "constant member", "several members"),
    *("hits are suspicious", "more hits", "is held out", "whole families held out"),
)
PATTERNS = {
    # The null distribution is one; "the null" is said of neither its scores nor of anything else.
    "bare null": r"\b(?:an?|the|its|their|this|no|own|fair|best)\s+null\b(?!\s+(?:class|distribution|hypothesis))",
    "alarm": r"(?<![Ff]alse[ -])\balarms?\b",
}
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
    """The phrases in a text, wherever its lines are broken."""
    own = re.sub(r"\s+", " ", text)
    phrases = [phrase for phrase in PHRASES if re.search(rf"(?<![\w-]){re.escape(phrase)}(?![\w-])", own)]
    return phrases + [name for name, pattern in PATTERNS.items() if re.search(pattern, own)]


def functions(tree: ast.AST) -> Iterator[str]:
    """The names of functions, as one would read them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            yield node.name.replace("_", " ")


def problems(source: str, allowed: Set[str] = frozenset(), called: Set[str] = frozenset()) -> list[str]:
    """What of the old words is in a source, but for strings that are `allowed` and what may be `called` so."""
    tree = ast.parse(source)
    own = {*identifiers(tree)} & IDENTIFIERS - called
    texts = [*strings(tree), *functions(tree), *(line.partition("#")[2] for line in source.splitlines())]
    together = " \0 ".join(texts)  # one search instead of thousands; nothing is found across two texts
    return sorted({*own, *({*texts} & STRINGS - allowed), *said(together)})


@pytest.mark.parametrize("path", sorted(ROOT.glob("memdetect/**/*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_the_code_uses_the_words_of_the_field(path):
    assert problems(path.read_text("utf-8"), MODES.get(path.relative_to(ROOT).as_posix(), set())) == []


@pytest.mark.parametrize("path", TESTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_the_tests_use_the_words_of_the_field(path):
    """`caught` is what pytest raised, `A` an item, and so on: of texts only phrases count."""
    memory = {"peaks"} if path.name == "scan.py" else set[str]()
    assert problems(path.read_text("utf-8"), STRINGS, {"caught", *memory}) == []


@pytest.mark.parametrize("path", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
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
        ("null = lots = 1", ["lots", "null"]),
        ("x = 1  # chosen by lot", ["by lot"]),
        ("'drawn like the\\n    null'", ["bare null"]),
        ("'the null class, a null distribution'", []),
        ("def test_every_family_opens(): ...", ["every family"]),
        ("'a false alarm, the alarm'", ["alarm"]),
        ("'chosen on one half, a look'", ["a look", "on one half"]),
        ("'on one', 'half', 'a', 'look'", []),
    ],
)
def test_old_words_are_found(source, found):
    assert problems(source) == found
