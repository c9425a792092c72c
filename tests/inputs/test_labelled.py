"""Lists of the field as people have them, each by one option; families by the column or by how prompts begin."""

import json

import pytest

from memdetect.errors import MemdetectError
from memdetect.inputs.labelled import Columns, labelled_requests
from memdetect.inputs.wording import opening_key


@pytest.fixture
def wen(tmp_path):
    """A list of captions with index and address, one object a line."""
    rows = [
        {"caption": "Acme Floors Deluxe Oak 12 00550_5C494", "index": 1030727993, "url": "https://a.example/1.jpg?6"},
        {"caption": "Acme Floors Royal Elm 9' 00161_19829", "index": 87, "url": "https://a.example/2.jpg"},
        {"caption": '<i>Two Lamps</i> Gets a ""Second"" Season', "index": 3, "url": "https://a.example/3.jpg"},
    ]
    path = tmp_path / "wen.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.fixture
def membench(tmp_path):
    """A table as pandas writes it, its first column without a name, its last a list of addresses."""
    text = (
        ",prompt,urls\n0,calm tall lamp,['https://a.example/1.jpg']\n1,tall lamp again,['https://a.example/1.jpg']\n"
        "2,blue rug,\"['https://a.example/2.jpg', 'https://a.example/3.jpg']\"\n"
    )
    path = tmp_path / "membench.csv"
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.fixture
def nemo(tmp_path):
    """A table between semicolons; captions with commas, quotation marks, and one that ends as a file does."""
    text = (
        ";Caption;URL;type;Index\n0;Lamp, by A. Maker;https://a.example/1.jpg;VM;396\n"
        '1;"""Two Lamps"" (1985)";https://a.example/2.png?6;TM;7\n2;Old-bridge-at-night-square.jpg;https://a.example/3;TM;8\n'
    )
    path = tmp_path / "nemo.csv"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_list_of_one_object_a_line(wen):
    found = labelled_requests([], [f"memorized={wen}"]).items
    assert [item.meta["group"] for item in found] == ["memorized"] * 3
    assert found[0].prompt == "Acme Floors Deluxe Oak 12 00550_5C494"
    assert found[0].meta["family"] == found[1].meta["family"] != found[2].meta["family"]


def test_a_table_whose_first_column_has_no_name(membench):
    found = labelled_requests([], [f"memorized={membench}"], Columns(family="urls")).items
    assert [item.prompt for item in found] == ["calm tall lamp", "tall lamp again", "blue rug"]
    assert found[0].meta["family"] == found[1].meta["family"] == "['https://a.example/1.jpg']"
    assert found[2].meta["family"] != found[0].meta["family"]


def test_a_table_between_semicolons_as_one_group_or_by_its_column(nemo):
    found = labelled_requests([], [f"memorized={nemo}"]).items
    assert [item.prompt for item in found] == [
        "Lamp, by A. Maker",
        '"Two Lamps" (1985)',
        "Old-bridge-at-night-square.jpg",
    ]
    by_type = labelled_requests([nemo], (), Columns(group="type")).items
    assert [item.meta["group"] for item in by_type] == ["VM", "TM", "TM"]


def test_a_parquet_file_with_types_of_copies(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    rows = {
        "caption": ["a lamp", "a rug"],
        "overfit_type": ["MV", "N"],
        "retrieved_urls": [["https://a.example/1"], []],
        "gen_seeds": [[1, 2], [3]],
    }
    parquet.write_table(pyarrow.table(rows), tmp_path / "webster.parquet")
    found = labelled_requests([str(tmp_path / "webster.parquet")], (), Columns(group="overfit_type")).items
    assert [(item.prompt, item.meta["group"]) for item in found] == [("a lamp", "MV"), ("a rug", "N")]


def test_a_prompt_of_two_groups_is_refused_and_one_of_the_same_group_counted(wen, tmp_path):
    other = tmp_path / "clean.txt"
    other.write_text("a new lamp\nAcme Floors Deluxe Oak 12 00550_5C494\n", encoding="utf-8")
    with pytest.raises(
        MemdetectError, match=r"is of group memorized \('.*wen.jsonl', line 1\) and of group clean .*2\)"
    ):
        labelled_requests([], [f"memorized={wen}", f"clean={other}"])
    found = labelled_requests([], [f"memorized={wen}", f"memorized={other}"])
    assert (len(found.items), found.repeated) == (4, 1)


@pytest.mark.parametrize(
    ("text", "lists", "message"),
    [
        ('{"prompt": "a lamp"}\n', (), r"line 1 has no 'group'; name the column of the groups with --group-column"),
        ('{"prompt": "a lamp", "group": ""}\n', (), "has no 'group'"),
        ('{"prompt": "a lamp", "group": "x"}\n', ("memorized",), "--group 'memorized' is not NAME=FILE"),
        ('{"prompt": "a lamp", "group": "x"}\n', ("=a.txt",), "--group '=a.txt' is not NAME=FILE"),
    ],
)
def test_what_has_no_group_is_refused(tmp_path, text, lists, message):
    path = tmp_path / "a.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(MemdetectError, match=message):
        labelled_requests([str(path)], lists)


def test_nothing_given_and_images_are_refused(tmp_path):
    from PIL import Image

    with pytest.raises(MemdetectError, match="no labelled prompts are given"):
        labelled_requests([])
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    with pytest.raises(MemdetectError, match="is an image; detectors are compared on prompts"):
        labelled_requests([], [f"x={tmp_path / 'a.png'}"])


@pytest.mark.parametrize(
    ("first", "second", "alike"),
    [
        ("Acme Floors Deluxe 12", "the ACME floors, of 1985", True),
        ("a man riding a horse", "a man sitting down", False),
        ("lamp", "lamp 2", False),
        ("lamp 1", "lamp 2", True),  # digits make no difference
        ("<em>Two Lamps</em> Review", "Two lamps, again", True),
    ],
)
def test_prompts_that_begin_alike_are_of_one_family(first, second, alike):
    assert (opening_key(first) == opening_key(second)) is alike
