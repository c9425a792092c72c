"""A full scan of every adapter's tiny pipeline, prompts, labels or nothing, and given images."""

import numpy as np
import pytest
from flat_options import scan, settings
from PIL import Image

from memdetect.adapters import load
from memdetect.cli import run as command
from memdetect.errors import MemdetectError
from memdetect.inputs.labels import label_requests, requests_of, unconditional_requests
from memdetect.inputs.prompts import read


def requests_for(model, folder):
    if model.adapter.condition == "label":
        return label_requests("207, 1,207")
    if model.adapter.condition == "none":
        return unconditional_requests(2)
    (folder / "prompts.txt").write_text("a cat\na red dog\n", encoding="utf-8")
    return read([folder / "prompts.txt"])


def test_a_scan_measures_every_item_and_keeps_its_images(adapter_pipe, tmp_path):
    model = load(adapter_pipe)
    found = scan(requests_for(model, tmp_path), adapter_pipe, tmp_path / "run", settings(steps=2, num_seeds=2))
    assert [row.status for row in found.results] == ["ok", "ok"]
    scores = [row.scores["spikiness"].score for row in found.results]
    assert len({round(score, 6) for score in scores if score is not None}) == 2
    files = [file for row in found.results for file in row.files]
    assert len(files) == 4
    assert all(Image.open(found.folder / file).size for file in files)
    assert {row.outcome for row in found.results} == {"inconclusive"}  # nobody has calibrated it


def test_given_images_are_scanned_without_a_prompt(adapter_pipe, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 48, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "one.png")
    found = scan([tmp_path / "one.png"], adapter_pipe, tmp_path / "run", settings(num_seeds=2))
    (row,) = found.results
    assert row.status == "ok"
    assert row.scores["spikiness"].score is not None


@pytest.mark.parametrize("adapter_pipe", ["dit"], indirect=True)
def test_a_model_of_classes_knows_names_and_refuses_what_it_lacks(tmp_path, adapter_pipe):
    model = load(adapter_pipe)
    assert model.adapter.condition == "label"
    from memdetect.adapters.conditions import arguments

    assert arguments(model, ["207", "goldfish", ""]) == {"class_labels": [207, 1, 1000]}
    for wrong in ("1000", "-1", "hamster", "\u0661"):
        with pytest.raises(MemdetectError, match="expected a label from 0 to 999, or the name of one"):
            arguments(model, [wrong])
    with pytest.raises(MemdetectError, match="no class '1000'"):
        scan(label_requests("3,1000"), adapter_pipe, tmp_path / "run", settings(steps=1))
    assert not (tmp_path / "run" / "run.json").exists()


@pytest.mark.parametrize("adapter_pipe", ["ddpm", "ddim"], indirect=True)
def test_a_prompt_to_a_model_without_a_condition_is_refused_before_the_first_image(adapter_pipe, tmp_path):
    assert load(adapter_pipe).adapter.condition == "none"
    (tmp_path / "prompts.txt").write_text("a cat\n", encoding="utf-8")
    with pytest.raises(MemdetectError, match="takes no prompt, found 'a cat'; scan it with --unconditional N"):
        scan([tmp_path / "prompts.txt"], adapter_pipe, tmp_path / "run")
    assert not (tmp_path / "run" / "run.json").exists()


def test_labels_come_as_numbers_or_a_file_each_a_family_of_its_own(tmp_path):
    (tmp_path / "labels.txt").write_text("207\n\ngoldfish\n207\n", encoding="utf-8")
    listed, filed = label_requests("207,1,207,01"), label_requests(str(tmp_path / "labels.txt"))
    assert [item.prompt for item in listed.items] == ["207", "1"]
    assert listed.repeated == 2
    assert ([item.prompt for item in filed.items], filed.blank, filed.repeated) == (["207", "goldfish"], 1, 1)
    assert len({item.meta["family"] for item in listed.items}) == 2


@pytest.mark.parametrize("given", ["", "a", "1,,2", "1;2", "-1", "nowhere.txt"])
def test_labels_that_are_neither_numbers_nor_a_file_are_refused(given):
    with pytest.raises(MemdetectError, match="neither numbers as in 0,1,2 nor a file"):
        label_requests(given)


def test_unconditional_images_are_items_of_their_own():
    found = unconditional_requests(3).items
    assert {item.prompt for item in found} == {""}
    assert len({item.id for item in found}) == len({item.meta["family"] for item in found}) == 3
    with pytest.raises(MemdetectError, match="--unconditional is 0, expected 1 to"):
        unconditional_requests(0)


def test_inputs_labels_and_a_number_exclude_each_other():
    assert requests_of(["x.txt"], None, None) is None
    with pytest.raises(MemdetectError, match="INPUT and --labels exclude each other"):
        requests_of(["x.txt"], "1", None)
    with pytest.raises(MemdetectError, match="--labels and --unconditional exclude each other"):
        requests_of([], "1", 3)


def test_the_command_takes_labels_and_numbers(tmp_path, model_folder, capsys):
    common = ["--model", str(model_folder), "--steps", "1", "--device", "cpu", "--dtype", "auto", "--format", "json"]
    assert command(["scan", "--unconditional", "2", "--out", str(tmp_path / "two"), *common]) == 0
    lines = (tmp_path / "two" / "results.jsonl").read_text(encoding="utf-8").splitlines()
    assert [line.count('"seeds":[') for line in lines] == [1, 1]
    assert len(list((tmp_path / "two" / "images").glob("*/*.png"))) == 2
    assert command(["scan", "--labels", "x", "--out", str(tmp_path / "no"), *common]) == 2
    assert "neither numbers" in capsys.readouterr().err
