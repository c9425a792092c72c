"""`memdetect steer` as its user meets it: a vector, a grid with numbers, a response; and one line for bad input."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from steered_pipes import header

from memdetect.adapters import load
from memdetect.cli import run
from memdetect.inputs.options import Loading
from memdetect.steering import Vector, read_vector

FAST = ["--steps", "2", "--device", "cpu"]


@pytest.fixture(scope="module")
def work(tmp_path_factory, model_folder):
    folder = tmp_path_factory.mktemp("steer")
    (folder / "cats.txt").write_text("a cat\na red cat\na blue cat\n", encoding="utf-8")
    (folder / "dogs.txt").write_text("a dog\na red dog\na blue dog\n", encoding="utf-8")
    rows = [{"prompt": f"a cat of {i}", "group": ("duplicated", "control")[i % 2]} for i in range(6)]
    (folder / "labelled.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "pictures").mkdir()
    for k, size in enumerate([(32, 32), (50, 70)]):
        Image.fromarray(np.full((*size, 3), 90 * k, np.uint8)).save(folder / "pictures" / f"{k}.png")
    made = ["steer", "build", "--with", str(folder / "cats.txt"), "--without", str(folder / "dogs.txt")]
    made += ["--model", str(model_folder), "--out", str(folder / "v.safetensors"), "--embedder", "pixels", *FAST]
    assert run(made) == 0
    return folder


@pytest.fixture
def steer(work, model_folder):
    """Runs apply or measure on files of the work folder with its vector."""

    def call(command, inputs, *more, vector="v.safetensors"):
        place = ["--model", str(model_folder), "--vector", str(work / vector)]
        place += ["--positive", "duplicated"] if command == "measure" else []
        return run(["steer", command, str(work / inputs), *place, *FAST, *more])

    return call


def test_build_writes_a_vector_and_its_header(work, model_folder, capsys):
    vector = read_vector(work / "v.safetensors")
    assert vector.header.digest == load(str(model_folder), Loading(device="cpu")).digest
    assert (vector.header.positive, vector.header.negative, vector.header.method) == (3, 3, "difference")
    assert vector.header.embedder["name"] == "pixels"
    capsys.readouterr()
    command = ["steer", "build", "--with", str(work / "pictures"), "--model", str(model_folder)]
    assert run([*command, "--out", str(work / "images.safetensors"), "--embedder", "none", *FAST]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["method"] == "mean"
    assert "1 of 2 positive images were cropped to their centre and resized to 32x32" in err


def test_apply_draws_a_grid_and_writes_numbers(steer, work):
    out = work / "grid.png"
    assert steer("apply", "cats.txt", "--strength", "0,1", "--window", "1:", "--layer", "*.0", "--out", str(out)) == 0
    numbers = json.loads(out.with_suffix(".json").read_text())
    assert numbers["window"] == "1:2"
    assert numbers["layers"] == ["up_blocks.0.resnets.0", "up_blocks.1.resnets.0"]
    assert [row["strength"] for row in numbers["rows"]] == [0, 1] * 3
    assert Image.open(out).size == (2 * 16 + 2 * 36, 16 + 3 * 36)


def test_measure_reports_the_response(steer, work, capsys):
    out = work / "m.json"
    command = ["--strength", "0,1,2", "--ground", "205,60,60", "--out", str(out), "--num-seeds", "1"]
    assert steer("measure", "labelled.jsonl", *command) == 0
    assert "| resistance |" in capsys.readouterr().out
    numbers = json.loads(out.read_text())
    assert numbers["edit"] == "ground (205, 60, 60)"
    assert set(numbers["responses"]["moved"]) == {"1", "2"}
    assert "stillness" in numbers["detectors"]
    assert len(numbers["items"]) == 6
    assert steer("measure", "labelled.jsonl", "--strength", "0,1", "--out", str(out)) == 0
    assert json.loads(out.read_text())["edit"] == "embedder's direction"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--strength", "0,much"], "strength 'much' is no finite number"),
        (["--window", "9"], "is no window"),
        (["--window", "1:9"], "outside the run"),
        (["--last", "3"], "outside the run"),
        (["--layer", "down*"], "the vector has no layer 'down*'"),
        (["--vector", "/nowhere.safetensors"], "there is no vector"),
        (["--model", " "], "--model is empty"),
    ],
)
def test_bad_options_are_one_line(steer, more, message, capsys):
    assert steer("apply", "cats.txt", *more) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("memdetect: ")]
    assert len(lines) == 1
    assert message in lines[0]


def test_a_vector_of_another_model_or_layer(steer, work, model_folder, capsys):
    model = load(str(model_folder), Loading(device="cpu"))
    lengths = {"mid_block": 1.0}
    Vector(header(model, digest="0" * 64, lengths=lengths), {"mid_block": torch.ones(16)}).save(work / "a.safetensors")
    Vector(header(model, lengths={"gone": 1.0}), {"gone": torch.ones(16)}).save(work / "b.safetensors")
    Vector(header(model, lengths=lengths), {"mid_block": torch.ones(3)}).save(work / "c.safetensors")
    for name, message in (
        ("a", "build it again for this model"),
        ("b", "no layer named 'gone'"),
        ("c", "has 16 channels, the vector 3"),
    ):
        assert steer("apply", "cats.txt", "--strength", "1", vector=f"{name}.safetensors") == 2
        assert message in capsys.readouterr().err


def test_bad_references_and_prompts(steer, work, model_folder, capsys):
    build = ["steer", "build", "--model", str(model_folder), "--out", str(work / "x.safetensors"), *FAST]
    cats = ["--with", str(work / "cats.txt")]
    for more, message in (
        ([*cats, "--references", "4"], "3 positive references, 4 asked for"),
        ([*cats, str(work / "pictures" / "0.png")], ""),
        ([*cats, "--with", str(work / "pictures" / "0.png")], "prompts only, or images only"),
        ([*cats, "--method", "difference"], "needs negative references"),
        ([*cats, "--layer", "nope"], "no layer named 'nope'"),
        ([*cats, "--embedder", "nope"], "no embedder named 'nope'"),
        (["--with", str(work / "gone.txt")], "no such file"),
    ):
        assert run([*build, *more]) == 2, more
        assert message in capsys.readouterr().err
    assert steer("apply", "pictures/0.png") == 2
    assert "only prompts can be steered" in capsys.readouterr().err
    assert steer("measure", "cats.txt") == 2
    assert "has no group" in capsys.readouterr().err
    for more, message in (
        (["--positive", "gone"], "fewer than two items are of the group gone"),
        (["--against", "verbatim"], "of the group verbatim"),
        (["--ground", "mauve"], "is no colour"),
        (["--ground", "1,2,300"], "is no colour"),
        (["--strength", "1,2"], "from strength 0 up"),
    ):
        assert steer("measure", "labelled.jsonl", *more) == 2
        assert message in capsys.readouterr().err
    assert not (work / "x.safetensors").exists()


def test_a_vector_without_an_embedder_needs_a_ground(steer, work, model_folder, capsys):
    model = load(str(model_folder), Loading(device="cpu"))
    made = header(model, lengths={"mid_block": 1.0})
    Vector(made, {"mid_block": torch.ones(16)}).save(work / "plain.safetensors")
    assert steer("measure", "labelled.jsonl", vector="plain.safetensors") == 2
    assert "nothing tells the edit's success" in capsys.readouterr().err
    other = made.model_copy(update={"embedder": {"name": "pixels", "fingerprint": "0"}})
    Vector(other, {"mid_block": torch.ones(16)}, torch.ones(3072)).save(work / "other.safetensors")
    assert steer("apply", "cats.txt", vector="other.safetensors") == 2
    assert "another pixels than the one found" in capsys.readouterr().err
    gone = made.model_copy(update={"embedder": {"name": "scenes", "fingerprint": "0"}})
    Vector(gone, {"mid_block": torch.ones(16)}, torch.ones(128)).save(work / "gone.safetensors")
    assert steer("apply", "cats.txt", "--out", str(work / "g.png"), vector="gone.safetensors") == 0
    assert "images are not compared by scenes" in capsys.readouterr().err
    assert steer("apply", "cats.txt", "--out", str(work / "g.nope"), vector="plain.safetensors") == 2
    assert "cannot write" in capsys.readouterr().err
