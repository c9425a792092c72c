"""Columns and paragraphs fit their width, and lose nothing but what is said to be cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from memdetect.render.layout import cells, columns, cut, paragraph, styled

WIDE = "\N{CJK UNIFIED IDEOGRAPH-732B}"
letters = st.sampled_from(
    ["a", "b", " ", WIDE, "e\N{COMBINING ACUTE ACCENT}", "\N{LATIN SMALL LETTER U WITH DIAERESIS}"]
)
texts = st.lists(letters, max_size=40).map("".join)


@given(texts)
def test_a_text_takes_as_many_cells_as_rich_counts(text: str) -> None:
    assert cells(text) == cell_len(text)


@given(texts, st.integers(2, 30))
def test_a_cut_text_fits_and_says_that_it_was_cut(text: str, width: int) -> None:
    shown = cut(text, width)
    assert cells(shown) <= width
    assert shown == text or (shown.endswith("\N{HORIZONTAL ELLIPSIS}") and text.startswith(shown[:-1]))


@given(texts, st.integers(2, 30))
def test_a_paragraph_fits_and_holds_every_letter(text: str, width: int) -> None:
    lines = list(paragraph(text, width))
    assert max(map(cells, lines)) <= width
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert " ".join(paragraph("one two three", width)).split() == ["one", "two", "three"] or width < 5


@given(st.lists(st.tuples(texts, texts, texts), min_size=1, max_size=5), st.integers(1, 60))
def test_columns_are_as_wide_as_they_need_and_fit_the_line(rows: list[tuple[str, str, str]], width: int) -> None:
    made = columns(rows, [False, True, False], width)
    assert all(cells("  ".join(row).rstrip()) <= width for row in made)
    assert {tuple(map(cells, row)) for row in made} == {tuple(map(cells, made[0]))}
    if width >= sum(max(map(cells, column)) for column in zip(*rows, strict=True)) + 4:
        assert [[cell.strip() for cell in row] for row in made] == [[cell.strip() for cell in row] for row in rows]


def test_numbers_stand_to_the_right() -> None:
    assert columns([["n", "x"], ["10", "yy"]], [True, False], 20) == [[" n", "x "], ["10", "yy"]]


@pytest.mark.parametrize(
    ("style", "shown"), [("", "x"), ("yellow", "\x1b[33mx\x1b[0m"), ("bold red", "\x1b[1;31mx\x1b[0m")]
)
def test_styles_are_codes_around_a_text(style: str, shown: str) -> None:
    assert styled("x", style) == shown
