"""What is known from the command line and the files is refused before anything is loaded, by every way in."""

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

import memdetect
from memdetect.adapters import load
from memdetect.adapters.places import check_loading, loading_of_base
from memdetect.cli import run
from memdetect.cli.options import opened
from memdetect.errors import Exit, MemdetectError
from memdetect.inputs.labels import label_requests
from memdetect.inputs.options import Judging, Loading, Lookup, Probing, Screening
from memdetect.inputs.prompts import Request, Requests
from memdetect.scanning import Options, run_calibration, run_scan
from memdetect.scanning.dry_run import dry_run_lines
from memdetect.scanning.flow import with_base
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


# What would be ignored

ONE = Requests((Request("a", "a cat", None, "-", 1, {}),), 0, 0)
LORA = Loading(device="cpu", loras=("a.safetensors",))
TUNED = Options(loading=LORA, lookup=Lookup(train_images="photos"))
IGNORED: dict[str, tuple[str, Options, str]] = {
    "revision of a folder": (
        "FOLDER",
        Options(loading=Loading(revision="main")),
        "--revision is of a model on a hub, and 'FOLDER' is a folder; leave it out",
    ),
    "revision of a bundled model": (
        "emoji-scenes",
        Options(loading=Loading(revision="main")),
        "--revision is of a model on a hub, and 'emoji-scenes' is a bundled model; leave it out",
    ),
    "revision of a file": (
        "FILE",
        Options(loading=Loading(revision="main")),
        "--revision is of a model on a hub, and 'FILE' is a single file; leave it out",
    ),
    "variant of a file": (
        "FILE",
        Options(loading=Loading(variant="fp16")),
        "--variant names weight files of a folder or of a model on a hub, and 'FILE' is a single file; leave it out",
    ),
    "config of a folder": (
        "FOLDER",
        Options(loading=Loading(config="FOLDER")),
        "--config configures a model given as a single file, and 'FOLDER' is a folder; leave it out",
    ),
    "config of a hub id": (
        "some/model",
        Options(loading=Loading(config="FOLDER")),
        "--config configures a model given as a single file, and 'some/model' is a model on a hub; leave it out",
    ),
    "rounds of no base": (
        "FOLDER",
        Options(judging=Judging(base_rounds=3)),
        "--base-rounds says how often a base draws each prompt, and there is none; give --base, or leave it out",
    ),
    "rounds of a LoRA without pictures": (
        "FOLDER",
        Options(loading=LORA, judging=Judging(base_rounds=3)),
        "--base-rounds says how often a base draws each prompt, and there is none; give --base, or leave it out",
    ),
}
AGAINST_A_BASE: dict[str, tuple[Options, str]] = {
    "clean scores and a base": (
        Options(judging=Judging(base="some/base", calibration="c.json")),
        "a calibration and a base exclude each other; give one of the two",
    ),
    "clean scores and the base of a LoRA": (
        replace(TUNED, judging=Judging(calibration="c.json")),
        "a calibration and the LoRA's base, which --train-images asks for, exclude each other; leave out one of the "
        "two",
    ),
    "a screen and a base": (
        Options(judging=Judging(base="some/base"), screening=Screening(screen=0.1)),
        "--screen and --base exclude each other: a base draws every prompt many times over; leave out one of the two",
    ),
    "a screen and the base of a LoRA": (
        replace(TUNED, screening=Screening(screen_p=0.1)),
        "--screen and the LoRA's base, which --train-images asks for, exclude each other: a base draws every prompt "
        "many times over; leave out one of the two",
    ),
}
CHECKED = {
    "scan": lambda model, options, out: run_scan(ONE, model, out / "run", options),
    "dry run": lambda model, options, _out: list(dry_run_lines(ONE, model, options)),
}


def refused(way, model, options, out):
    with pytest.raises(MemdetectError) as caught:
        way(model, options, out)
    assert (caught.value.exit, "\n" in str(caught.value)) == (Exit.USAGE, False)
    assert not (out / "run").exists()
    return str(caught.value)


@pytest.fixture
def files_there(monkeypatch):
    monkeypatch.setattr("memdetect.scanning.given_files.check_files", lambda _: None)


@pytest.mark.parametrize("way", CHECKED)
@pytest.mark.parametrize("name", IGNORED)
def test_what_would_be_ignored_is_refused_before_the_model_is_opened(
    name, way, model_folder, tmp_path, unopened, files_there
):
    model, options, said = IGNORED[name]
    (tmp_path / "one.safetensors").write_bytes(b"")
    names = {"FOLDER": str(model_folder), "FILE": str(tmp_path / "one.safetensors")}
    found = refused(CHECKED[way], names.get(model, model), options, tmp_path)
    assert found == said.replace(repr(model), repr(names.get(model, model)))


@pytest.mark.parametrize("way", CHECKED)
@pytest.mark.parametrize("name", AGAINST_A_BASE)
def test_what_a_base_excludes_names_what_was_given(name, way, model_folder, tmp_path, unopened, files_there):
    options, said = AGAINST_A_BASE[name]
    assert refused(CHECKED[way], str(model_folder), options, tmp_path) == said


@pytest.mark.parametrize(
    "ask",
    [
        lambda folder, loading, out: run_calibration(ONE, folder, out / "c.json", Options(loading=loading)),
        lambda folder, loading, _out: memdetect.score(folder, ["a cat"], loading=loading),
        lambda folder, loading, _out: opened(folder, loading),
    ],
    ids=["calibrate", "score", "commands"],
)
def test_a_loading_that_would_be_ignored_is_refused_by_every_way_in(ask, model_folder, tmp_path, monkeypatch, unopened):
    for place in ("adapters", "scanning.python"):
        monkeypatch.setattr(f"memdetect.{place}.load", lambda *_: pytest.fail("opened"))
    with pytest.raises(MemdetectError, match="--revision is of a model on a hub"):
        ask(str(model_folder), Loading(device="cpu", revision="main"), tmp_path)


def test_a_loading_that_is_meant_is_taken(model_folder, tmp_path):
    (tmp_path / "one.safetensors").write_bytes(b"")
    check_loading("some/model", Loading(revision="main", variant="fp16"))
    check_loading("sd-v1-4", Loading(revision="main", variant="fp16"))  # its card alone is bundled
    check_loading(str(model_folder), Loading(variant="fp16"))
    check_loading(tmp_path / "one.safetensors", Loading(config="some/model"))
    check_loading(object(), Loading(revision="main"))


def test_another_base_is_opened_without_what_is_said_of_the_model_alone(monkeypatch):
    given, said = (
        list[object](),
        Loading(device="cpu", dtype="bf16", revision="r", variant="v", config="c", offline=True),
    )
    monkeypatch.setattr("memdetect.scanning.flow.load", lambda *each: given.append(each))
    with_base("some/model", Options(loading=said, judging=Judging(base="some/base")))
    with_base("some/model", Options(loading=said, judging=Judging(base="some/model")))
    with_base("some/model", replace(TUNED, loading=replace(said, loras=("a.safetensors",))))
    assert given == [
        ("some/base", Loading(device="cpu", dtype="bf16", variant="v", offline=True)),
        ("some/model", said),
        ("some/model", said),
    ]


def test_what_only_the_base_can_take_is_for_the_base(monkeypatch, tmp_path):
    """Else a base with fp16 files alone, beside a single file, could not be opened at all."""
    model, base, plain = tmp_path / "model.safetensors", tmp_path / "base", tmp_path / "plain"
    model.write_bytes(b"")
    for folder, name in ((base, "a.fp16.safetensors"), (plain, "a.safetensors")):
        (folder / "unet").mkdir(parents=True)
        (folder / "unet" / name).write_bytes(b"")
        (folder / "model_index.json").write_text("{}")
    said = Loading(revision="r", variant="fp16", config="c")
    for at in (base, "some/base", plain):
        check_loading(model, replace(said, revision=None, variant="fp16"), at)
    check_loading(model, said, "some/base")
    with pytest.raises(MemdetectError, match="--revision is of a model on a hub"):
        check_loading(model, said, base)
    assert loading_of_base(model, base, said) == Loading(variant="fp16")
    assert loading_of_base(model, plain, said) == Loading()
    assert loading_of_base(model, model, said) == Loading(config="c")
    assert loading_of_base(model, "some/base", said) == Loading(revision="r", variant="fp16")
    assert loading_of_base("some/model", "some/base", said) == Loading(variant="fp16")


def test_what_is_said_of_prompt_files_is_refused_for_captions(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    Image.new("RGB", (8, 8)).save("photos/a.png")
    Path("photos/a.txt").write_text("a cat\n")
    Path("p.txt").write_text("a dog\n")
    asked = ["scan", "--model", "emoji-scenes", "--train-images", "photos", "--dry-run"]
    for name, value in (("--prompt-column", "text"), ("--prompts-format", "txt")):
        assert run([*asked, name, value]) == 2
        said = f"{name} is of prompt files, and the captions of --train-images are given instead; leave it out"
        assert said in capsys.readouterr().err
    assert run([*asked, "--prompts-format", "txt", "p.txt"]) == 0
    assert run([*asked, "p.txt", "--instance-prompt", "sks"]) == 0  # the captions of the index
    capsys.readouterr()
    assert run([*asked, "p.txt", "--instance-prompt", "sks", "--no-index"]) == 2
    said = "--instance-prompt is a caption, and with these inputs and --no-index no caption is read; leave it out"
    assert said in capsys.readouterr().err


def test_memorized_prompts_beside_labels_are_read_as_told(tmp_path):
    """The options are of their files then."""
    path = tmp_path / "known.csv"
    path.write_text("words,kind\na cat,x\n")
    known = ["--memorized", str(path), "--prompt-column", "words", "--prompts-format", "csv"]
    with pytest.MonkeyPatch.context() as patch:
        given = []
        patch.setattr(
            "memdetect.scanning.run_calibration", lambda requests, *more, **_: given.append((requests, *more))
        )
        patch.setattr("memdetect.cli.calibrate._unfinished", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        assert run(["calibrate", "--model", "emoji-scenes", "--labels", "0,1", *known]) == 130
    ((requests, *_, options),) = given
    assert [item.prompt for item in requests.items] == ["0", "1"]
    assert [item.prompt for item in options.memorized.items] == ["a cat"]


def test_training_pictures_are_refused_by_a_calibration(model_folder, tmp_path, unopened):
    """Its strongest prompts would be looked up nowhere."""
    options = Options(lookup=Lookup(train_images=str(tmp_path), search=False))
    with pytest.raises(MemdetectError, match="a calibration looks up its prompts in an index, not among training pict"):
        run_calibration(ONE, str(model_folder), tmp_path / "c.json", options)


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
