"""README's figures are those of docs/measured/figures.json, and each stands on the page that it is of."""

import json
import re
from datetime import date

import pytest
from pages import DOCS, ROOT, commands

FILE = DOCS / "measured" / "figures.json"
FIGURES = json.loads(FILE.read_text("utf-8"))
README = (ROOT / "README.md").read_text("utf-8")
BEFORE = r"(?<![\d.,])"  # no figure begins or ends within a longer number
AFTER = r"(?!\d|[.,]\d)"


def rows(text, heading):
    """The rows of the first table of a section, without its head, cells stripped."""
    section = text.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = re.findall(r"^\|(.+)\|$", section, re.M)[2:]
    return [[cell.strip() for cell in line.split(" | ")] for line in lines]


def stands(value, text):
    """Whether a text holds a figure as it is printed, but for code marks and the ends of lines."""
    plain, value = (" ".join(each.replace("`", "").split()) for each in (text, value))
    return re.search(BEFORE + re.escape(value) + AFTER, plain) is not None


def counted(value):
    """A count as README's table prints it: found, of how many, the interval; None if a value is no count."""
    found = re.fullmatch(r"([\d,]+) \| ([\d,]+) \w+ \| (\[[\d., ]+\])", value)
    return None if found is None else (found[1].replace(",", ""), found[2].replace(",", ""), found[3])


def counts(value, text):
    """Whether a line of a text holds a count: its interval, of how many, and how many or their share.

    Of how many may stand in the head of a table instead.
    """
    found, of, interval = counted(value)
    head = ""
    for line in re.sub(r"(?<=\d),(?=\d{3})", "", text).replace("*", "").splitlines():
        head = line if line.startswith("|") and not head.startswith("|") else head if line.startswith("|") else ""
        if interval in line and stands(of, f"{line} {head}"):
            shares = {f"{int(found) / int(of):.{digits}f}" for digits in (2, 3)}
            before = line.partition(interval)[0]
            if stands(found, before) or any(stands(share, before) for share in shares):
                return True
    return False


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_has_its_date_its_command_and_its_page(name):
    figure = FIGURES[name]
    assert set(figure) == {"value", "date", "command", "page"}
    assert date.fromisoformat(figure["date"])
    assert re.match(r"(memdetect|python) \S", figure["command"])
    assert re.search(r"\w", figure["value"])


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_stands_on_its_page_as_printed(name):
    value, page = FIGURES[name]["value"], DOCS / FIGURES[name]["page"]
    holds = counts if counted(value) else stands
    assert holds(value, page.read_text("utf-8")), f"{page.name} has no {value}"


@pytest.mark.parametrize("row", rows(README, "How well it works"), ids=lambda row: row[0][:40])
def test_a_row_of_the_readme_is_a_figure(row):
    """Every cell after the question, as one value; and every number in brackets after the question, as another."""
    values = {figure["value"] for figure in FIGURES.values()}
    assert " | ".join(row[1:]) in values
    for said in re.findall(r"\((\d[^)]*)\)", row[0]):
        assert said in values, f"{said!r} is no figure of {FILE.name}"


def test_the_readme_cites_every_figure():
    """So that none is kept that nobody reads: in the table, or in the text."""
    assert {name for name, figure in FIGURES.items() if not stands(figure["value"], README)} == set()


def test_the_commands_of_the_figures_are_commands(tmp_path):
    page = "".join(f"```bash\n{figure['command']}\n```\n" for figure in FIGURES.values())
    wanted = sum(figure["command"].startswith("memdetect ") for figure in FIGURES.values())
    assert len(list(commands(page))) == wanted


@pytest.mark.parametrize(
    ("value", "text", "found"),
    [
        ("13 of 15 [0.60, 0.98]", "they are 13 of\n15 [0.60, 0.98].", True),
        ("13 of 15", "13 of 15.", True),
        ("13 of 15", "13 of 150", False),
        ("3 of 15", "13 of 15", False),
        ("1.19", "1.191 and 11.19", False),
        ("1.19", "costs 1.19, as measured", True),
    ],
)
def test_a_figure_is_found_as_printed(value, text, found):
    assert stands(value, text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("13 of 15 [0.60, 0.98] are found", True),
        ("| scenes | **0.87** [0.60, 0.98] | 15 |", True),
        ("| scenes, of 15 | found |\n|---|---|\n| these | 13 [0.60, 0.98] |", True),
        ("| scenes, of 15 |\n\n| found |\n|---|\n| 13 [0.60, 0.98] |", False),
        ("13 of 15 [0.60, 0.97]", False),
        ("12 of 15 [0.60, 0.98]", False),
        ("0.86 of 15 [0.60, 0.98]", False),
        ("13 of 16 [0.60, 0.98]", False),
    ],
)
def test_a_count_is_found_on_its_line(text, found):
    assert counts("13 | 15 prompts | [0.60, 0.98]", text) == found
    assert counts("1,300 | 1,500 prompts | [0.60, 0.98]", text.replace("13", "1,300").replace("15", "1500")) == found
