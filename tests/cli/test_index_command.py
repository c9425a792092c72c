"""`memdetect index` and `memdetect match` from the outside."""

import csv
import json
from io import StringIO

import pytest
from small_pictures import fill, picture

from memdetect.cli import run


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("cli-index")
    fill(root / "images", range(40))
    (root / "images" / "broken.png").write_bytes(b"no image")
    fill(root / "held", range(100, 130))
    picture(5).save(root / "query.png")
    assert run(["index", "build", str(root / "images"), "--out", str(root / "i"), "--embedder", "pixels"]) == 0
    return root


def test_build_says_what_the_threshold_rests_on(root, capsys):
    out = str(root / "held.index")
    command = ["index", "build", str(root / "images"), "--out", out, "--embedder", "pixels", "--level", "0.1"]
    assert run([*command, "--held-out", str(root / "held")]) == 0
    text = capsys.readouterr().out
    assert "40 images, embedder pixels" in text
    assert "with probability 0.1, by 30 held-out queries against 40 images\n" in text
    assert "left out: 1 " in text
    assert run(command) == 2
    assert "already" in capsys.readouterr().err


def test_auto_says_that_pdq_misses_crops(root, capsys):
    assert run(["index", "build", str(root / "images"), "--out", str(root / "pdq.index")]) == 0
    assert "pdq, since no SSCD weights were found" in capsys.readouterr().err


def test_info_verify_and_search(root, capsys):
    assert run(["index", "info", str(root / "i"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["count"] == 40
    assert run(["index", "verify", str(root / "i")]) == 0
    assert "3 files agree with the manifest, 40 images" in capsys.readouterr().out
    assert run(["index", "search", str(root / "i"), str(root / "query.png"), "--top-k", "2"]) == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert lines[1][4] == "../images/0005.png"
    assert len(lines) == 3


@pytest.mark.parametrize("format", ["table", "json", "csv"])
def test_match_finds_the_copy(root, capsys, format):
    picture(999).save(root / "other.png")
    command = ["match", str(root / "query.png"), str(root / "other.png"), "--index", str(root / "i")]
    assert run([*command, "--format", format]) == 0
    out = capsys.readouterr().out
    if format == "json":
        assert [row["outcome"] for row in json.loads(out)] == ["copy", "clear"]
    elif format == "csv":
        rows = list(csv.DictReader(StringIO(out)))
        assert (rows[0]["outcome"], rows[0]["key"]) == ("copy", "../images/0005.png")
    else:
        assert "1 of 2 images are copies" in out


def test_images_that_cannot_be_read_are_named_and_alone_are_inconclusive(root, capsys):
    assert run(["match", str(root / "images" / "broken.png"), "--index", str(root / "i")]) == 3
    assert "broken.png" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["match", "x.png", "--index", "nowhere"], "there is no index folder 'nowhere'"),
        (["index", "build", "nowhere", "--out", "x", "--embedder", "pixels"], "nowhere"),
        (["index", "build", ".", "--out", "x", "--append", "--replace"], "exclude each other"),
        (["index", "build", ".", "--out", "x", "--embedder", "pixls"], "did you mean 'pixels'?"),
        (["index", "verify", "."], "is no index"),
    ],
)
def test_bad_input_is_one_line(command, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(command) == 2
    err = capsys.readouterr().err.strip().splitlines()
    assert said in err[-1]
