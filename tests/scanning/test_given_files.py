"""What is known from the command line and the files is refused before anything is loaded, by every way in."""

from dataclasses import replace

import pytest

import memdetect
from memdetect.adapters import load
from memdetect.errors import Exit, MemdetectError
from memdetect.inputs.labels import label_requests
from memdetect.inputs.options import Judging, Loading, Probing
from memdetect.inputs.prompts import Request, Requests
from memdetect.scanning import Options, run_calibration, run_scan
from memdetect.scanning.dry_run import dry_run_lines
from memdetect.scanning.given_files import check_labels

WAYS = {
    "scan": lambda requests, model, out: run_scan(requests, model, out),
    "calibrate": lambda requests, model, out: run_calibration(requests, model, out / "calibration.json"),
    "dry run": lambda requests, model, out: list(dry_run_lines(requests, model, Options())),
}


@pytest.fixture
def unopened(monkeypatch):
    for place in ("flow", "calibrating"):
        monkeypatch.setattr(f"memdetect.scanning.{place}.load", lambda *_: pytest.fail("opened"))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("labels", ["0,1", "file"])
def test_labels_are_refused_by_a_model_of_prompts_before_it_is_opened(way, labels, model_folder, tmp_path, unopened):
    if labels == "file":
        labels = str(tmp_path / "labels.txt")
        (tmp_path / "labels.txt").write_text("0\n1\n")
    with pytest.raises(
        MemdetectError, match="--labels names classes, and the StableDiffusionPipeline takes prompts"
    ) as e:
        WAYS[way](label_requests(labels), str(model_folder), tmp_path)
    assert e.value.exit is Exit.USAGE


def test_labels_are_refused_in_python_and_by_a_live_pipeline(pipe, tmp_path):
    with pytest.raises(MemdetectError, match="takes prompts: give them as files"):
        memdetect.scan(pipe, labels=[0, 1], out=tmp_path / "run")


def test_labels_fit_a_model_of_classes_and_no_other(adapter_pipe):
    model, requests = load(adapter_pipe), label_requests("0")
    if model.adapter.condition == "label":
        check_labels(requests, model)
    else:
        told = {"prompt": "takes prompts", "none": "takes no condition: use --unconditional"}[model.adapter.condition]
        with pytest.raises(MemdetectError, match=told):
            check_labels(requests, model)
    check_labels(replace(requests, labels=False), model)


def test_a_dry_run_tells_of_a_neighbour_of_what_is_taken_for_a_hub_id(model_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "base").symlink_to(model_folder)
    asked = Requests((Request("a", "a cat", None, "-", 1, {}),), 0, 0)
    near = "models/bass is taken for a hub id; did you mean 'models/base'?"
    options = Options(loading=Loading(device="cpu"), judging=Judging(base="models/bass"))
    assert near in list(dry_run_lines(asked, "emoji-scenes", options))
    assert near in list(dry_run_lines(asked, "models/bass", Options()))
    assert not any("hub id" in line for line in dry_run_lines(asked, "emoji-scenes", Options()))


def test_a_dry_run_against_a_base_counts_what_several_detectors_rank_among(model_folder):
    """Half of the rounds tell how to combine them: the base draws twice as often, and as many are ranked among."""
    asked = Requests(tuple(Request(f"{i}", f"a {'very ' * i}old cat", None, "-", 1, {}) for i in range(12)), 0, 0)
    two = Probing(detectors=("spikiness", "agreement"), combine=("spikiness", "agreement"))
    for probing, rounds in ((Probing(), 20), (two, 40)):
        options = Options(loading=Loading(device="cpu"), judging=Judging(base=str(model_folder)), probing=probing)
        lines = list(dry_run_lines(asked, "emoji-scenes", options))
        assert f"the base {model_folder} draws each prompt {rounds} times; its scores are the reference" in lines
        assert "plan: 12 items of 12 families against 240 clean prompts" in lines
        assert not any("calibration: " in line for line in lines)
