"""`memdetect index` and `memdetect match`: what is printed where, and the exit codes."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from memdetect.cli import run


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty pictures in `train`, and an index of them."""
    base = tmp_path_factory.mktemp("match")
    (base / "train").mkdir()
    for seed in range(30):
        cells = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(cells).resize((64, 64), 0).save(base / "train" / f"{seed:02d}.png")
    rows = [{"path": f"train/{i:02d}.png", "key": f"=k{i}", "caption": f"the \x1b[31mpicture {i}"} for i in range(30)]
    (base / "list.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    built = ["index", "build", str(base / "list.jsonl"), "--out", str(base / "i"), "--embedder", "pixels"]
    assert run([*built, "--threshold-level", "0.1", "--training-set", "300"]) == 0
    return base


def test_build_prints_the_folder_and_says_what_was_made(place, tmp_path, capsys):
    arguments = ["index", "build", str(place / "train"), "--embedder", "pdq", "--out", str(tmp_path / "i")]
    assert run(arguments) == 0
    out, err = capsys.readouterr()
    assert out == f"{tmp_path / 'i'}\n"
    assert "30 images, Flat, digest" in err
    assert "They cannot show p <= 0.001, only 0.032: give more held-out images." in err
    assert run(arguments) == 2
    assert "is there already" in capsys.readouterr().err
    assert run([*arguments, "--replace", "--factory", "IVF4,SQ8"]) == 0
    assert run([*arguments, "--append", "--replace"]) == 2


def test_pictures_as_training_saw_them(place, tmp_path, capsys):
    Image.open(place / "train" / "03.png").resize((96, 64)).save(tmp_path / "wide.png")
    built = ["index", "build", str(place / "train"), str(tmp_path / "wide.png"), "--embedder", "pdq"]
    assert run([*built, "--out", str(tmp_path / "i"), "--as-trained", "64,random"]) == 0
    assert "31 images in 48 rows, as trained at 64,random, Flat" in capsys.readouterr().err
    assert run([*built, "--out", str(tmp_path / "j"), "--as-trained", "64,left"]) == 2
    assert "expected SIZE, SIZE,center or SIZE,random" in capsys.readouterr().err


def test_info_and_verify(place, capsys):
    assert run(["index", "info", str(place / "i")]) == 0
    out = capsys.readouterr().out
    assert out.startswith("30 images, Flat, digest ")
    assert "embedder pixels: 3072 numbers" in out
    assert "p <= 0.1 by 30 of its own images" in out
    assert "The index covers 10.00% of the training set as --training-set states its size" in out
    assert "The index finds copies that were recompressed [100 %], mirrored [100 %], cropped [" in out
    assert run(["index", "info", str(place / "i"), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["count"] == 30
    assert run(["index", "verify", str(place / "i")]) == 0
    assert "30 images" in capsys.readouterr().out


def test_match_finds_the_copy(place, tmp_path, capsys):
    Image.open(place / "train" / "05.png").save(tmp_path / "a.jpg", quality=70)
    Image.new("RGB", (64, 64), "red").save(tmp_path / "b.png")
    (tmp_path / "c.png").write_text("no")
    base = ["match", str(tmp_path), "--index", str(place / "i"), "--top-k", "2"]
    assert run(base) == 0
    out, _ = capsys.readouterr()
    assert [line.partition("=k")[2][0] for line in out.splitlines() if "a copy of" in line] == ["5"]
    assert "3 images looked up among 30: 1 copy, 0 partial-copy, 0 similar, 1 clear, 1 inconclusive." in out
    said = "The index covers 10.00% of the training set as --training-set states its size: clear says nothing of"
    assert f"{said} the rest." in out
    assert run([*base, "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["index"]["embedder"]["name"] == "pixels"
    assert found["finds"].startswith("finds copies that were recompressed [100 %], mirrored [100 %], cropped [")
    first = found["images"][0]
    assert (first["outcome"], len(first["matches"])) == ("copy", 2)
    assert first["matches"][0]["key"] == "=k5"
    assert first["matches"][0]["copy_found"] is True
    assert run([*base, "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["outcome"] for row in rows] == ["copy", "copy", "clear", "clear", "inconclusive"]
    assert rows[0]["key"] == "'=k5"
    assert [(row["similar"], row["copy_found"]) for row in rows[:2]] == [("True", "True"), ("False", "False")]


def test_nothing_usable_exits_3(place, tmp_path, capsys):
    (tmp_path / "c.png").write_text("no")
    assert run(["match", str(tmp_path), "--index", str(place / "i")]) == 3
    assert "1 inconclusive" in capsys.readouterr().out


def test_without_an_embedder_it_is_pdq_tiles_and_what_that_misses_is_said(place, capsys, monkeypatch, tmp_path):
    monkeypatch.delenv("MEMDETECT_SSCD", raising=False)
    for name in ("XDG_CACHE_HOME", "TORCH_HOME", "HF_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    assert run(["index", "build", str(place / "train"), "--out", str(tmp_path / "i")]) == 0
    assert "no SSCD weights were found; rotated, redrawn" in capsys.readouterr().err
    assert run(["index", "info", str(tmp_path / "i")]) == 0
    assert "embedder pdq-tiles" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["match", "{q}", "--index", "{base}/train"], "is no index: it has no manifest.json"),
        (["match", "{q}", "--index", "{base}/gone"], "there is no index folder"),
        (["match", "{base}/gone.png", "--index", "{base}/i"], "no such file or folder"),
        (["match", "{q}"], "Missing option '--index'"),
        (["match", "{q}", "--index", "{base}/i", "--top-k", "0"], "'--top-k'"),
        (["index", "verify", "{base}/train"], "is no index"),
        (["index", "info", "{base}"], "is no index"),
        (["index", "build", "{base}/train", "--out", "{base}/x", "--embedder", "pixel"], "no embedder named 'pixel'"),
        (["index", "build", "{base}/train", "--out", "{base}/x", "--embedder", "sscd-288"], "SSCD"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value[:2]),
)
def test_bad_input_is_one_line_and_exit_2(place, arguments, said, capsys):
    given = [text.format(base=place, q=place / "train" / "00.png") for text in arguments]
    assert run(given) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert err.count("\n") == 1
    assert not (place / "x").exists()


def test_a_damaged_index_exits_2_naming_the_file(place, tmp_path, capsys):
    import shutil

    shutil.copytree(place / "i", tmp_path / "i")
    data = bytearray((tmp_path / "i" / "vectors.f16").read_bytes())
    data[1000] ^= 4
    (tmp_path / "i" / "vectors.f16").write_bytes(data)
    query = str(place / "train" / "00.png")
    for arguments in (["match", query, "--index"], ["index", "verify"]):
        assert run([*arguments, str(tmp_path / "i")]) == 2
        assert "vectors.f16' is damaged" in capsys.readouterr().err


def test_json_holds_no_line_that_a_log_would_obey(place, tmp_path, capsys):
    rows = [{"path": str(place / "train" / f"{i:02d}.png"), "caption": "##[error]x\n::error::y"} for i in range(30)]
    (tmp_path / "list.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    built = ["index", "build", str(tmp_path / "list.jsonl"), "--out", str(tmp_path / "i"), "--embedder", "pixels"]
    assert run(built) == 0
    capsys.readouterr()
    assert run(["match", rows[3]["path"], "--index", str(tmp_path / "i"), "--format", "json"]) == 0
    out = capsys.readouterr().out
    assert "##[" not in out
    assert json.loads(out)["images"][0]["matches"][0]["caption"] == rows[3]["caption"]


def test_a_model_that_is_not_there_is_not_passed_over(place, tmp_path, capsys):
    assert run(["match", str(place / "train"), "--index", str(place / "i"), "--model", "emoji-scnes"]) == 2
    assert "--model 'emoji-scnes' is neither a bundled model nor a folder" in capsys.readouterr().err


def test_an_index_that_a_build_left_aside_is_put_back_before_more_is_added(place, tmp_path, capsys):
    """As a process that was killed between its two renames leaves it."""
    import shutil

    shutil.copytree(place / "i", tmp_path / ".i.old")
    query = str(place / "train" / "00.png")
    assert run(["match", query, "--index", str(tmp_path / "i")]) == 2
    assert f"was cut off, its index is '{tmp_path / '.i.old'}'; rename it" in capsys.readouterr().err
    Image.new("RGB", (64, 64), "red").save(tmp_path / "new.png")
    assert run(["index", "build", str(tmp_path / "new.png"), "--out", str(tmp_path / "i"), "--append"]) == 0
    assert not (tmp_path / ".i.old").exists()
    assert run(["index", "info", str(tmp_path / "i")]) == 0
    assert capsys.readouterr().out.startswith(f"{tmp_path / 'i'}\n31 images")


def test_a_training_set_that_is_too_small_is_refused_while_images_are_taken_in(place, tmp_path, capsys, monkeypatch):
    built = ["index", "build", str(place / "train"), "--out", str(tmp_path / "i"), "--embedder", "pixels"]
    assert run([*built, "--training-set", "9", "--batch-size", "10"]) == 2
    assert "said to have 9 pictures, the index has 10 or more; correct --training-set" in capsys.readouterr().err
    assert run([*built, "--training-set", "30"]) == 0


def test_weights_that_are_not_there_or_not_wanted_are_refused(place, tmp_path, capsys):
    built = ["index", "build", str(place / "train"), "--out", str(tmp_path / "i"), "--embedder", "pixels"]
    assert run([*built, "--weights", str(tmp_path / "none.pt")]) == 2
    assert "no SSCD weights at" in capsys.readouterr().err
    (tmp_path / "some.pt").write_bytes(b"x")
    assert run([*built, "--weights", str(tmp_path / "some.pt")]) == 2
    assert "'pixels' takes no --weights" in capsys.readouterr().err


def test_lists_and_manifests_that_may_not_be_read_say_so(place, tmp_path, capsys, monkeypatch):
    (tmp_path / "l.csv").write_text("image\na.png\n")
    (tmp_path / "twice.csv").write_text("image,image\na.png,b.png\n")
    usual = Path.open

    def refused(path, *arguments, **more):
        if path.name == "l.csv":
            raise PermissionError(13, "Permission denied")
        return usual(path, *arguments, **more)

    monkeypatch.setattr(Path, "open", refused)
    assert run(["index", "build", str(tmp_path / "l.csv"), "--out", str(tmp_path / "i")]) == 2
    assert "l.csv': cannot be read (Permission denied); give access to it" in " ".join(capsys.readouterr().err.split())
    assert run(["index", "build", str(tmp_path / "twice.csv"), "--out", str(tmp_path / "i")]) == 2
    assert "the column 'image' is there twice" in capsys.readouterr().err

    def unread(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", unread)
    assert run(["index", "info", str(place / "i")]) == 2
    assert "manifest.json' cannot be read (Permission denied); give access to it" in capsys.readouterr().err
