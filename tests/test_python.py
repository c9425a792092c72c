"""The ten public names: README's Python as it stands there, every kind of input, and one line for wrong use."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diffusers import StableDiffusionPipeline
from PIL import Image
from ready import Ready
from small_pictures import fill

import memdetect
from memdetect.adapters import ADAPTERS, Card, Model
from memdetect.detectors import SPIKINESS
from memdetect.errors import MemdetectError
from memdetect.inputs.options import Indexing
from memdetect.inputs.prompts import item_id
from memdetect.scanning import Judging, Loading, Lookup, Options, Probing, Run, Sampling, Sharing, flow

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
HOW_TO = (ROOT / "docs" / "how-to" / "use-from-python.md").read_text(encoding="utf-8")
QUICK = Sampling(num_seeds=2, steps=1)
PROMPTS = ["a cat", "a red dog"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", [README.split("## Python\n")[1].split("\n## ")[0], HOW_TO], ids=["README", "how-to"])
def test_the_python_of_a_page_runs_as_it_stands(
    page: str, pipe: Any, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    blocks = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    assert blocks
    monkeypatch.setattr(StableDiffusionPipeline, "from_pretrained", lambda _name: pipe)
    fill(here / "photos", range(12), (32, 32))
    (here / "made").mkdir()
    Image.open(here / "photos" / "0003.png").save(here / "made" / "one.png")
    (here / "clean-prompts.txt").write_text("a blue lake\nan old tree\ntwo boats\n", encoding="utf-8")
    names: dict[str, Any] = {}
    with pytest.warns(UserWarning, match="no SSCD weights"):
        exec("\n".join(blocks), names)
    assert isinstance(names["run"], Run)
    assert names["scores"]["spikiness"].shape == (2, 4)
    assert Path(names["found"][0].matches[0].path).name == "0003.png"
    assert names["run"].header.index["name"] == "train.index"
    assert names["run"].header.policy["fail_on"] == ("copy" if "Judging(fail_on" in page else "suspicious")
    assert (here / "calibration.json").is_file()
    listed = re.search(r"en names: ((?:`\w+`(?:, )?)+)", page)
    assert listed
    assert sorted(re.findall(r"`(\w+)`", listed[1])) == sorted(memdetect.__all__)


def test_a_run_is_read_as_scan_gave_it(pipe: Any) -> None:
    run = memdetect.scan(pipe, prompts=PROMPTS, out="run", sampling=QUICK)
    assert memdetect.read_run("run") == run
    assert [row.prompt for row in run.results] == PROMPTS
    rows = run.rows()
    assert [row["prompt"] for row in rows] == PROMPTS
    assert rows[0]["score"] == run.results[0].score
    assert rows[0]["spikiness"] == run.results[0].scores["spikiness"].score
    assert memdetect.judge(run).verdict == memdetect.judge(["run"]).verdict == "inconclusive"
    assert memdetect.scan(pipe, prompts=PROMPTS, out="run", sampling=QUICK) == run


def test_the_score_is_what_is_ranked(pipe: Any) -> None:
    """Of two seeds the lower one is the upper quartile; where seeds are compared, both have the prompt's value."""
    run = memdetect.scan(pipe, prompts=PROMPTS, out="run", sampling=QUICK)
    found = memdetect.score(pipe, PROMPTS, sampling=QUICK)
    assert list(found) == list(run.header.plan.detectors) == ["agreement", "spikiness"]
    for item, row in enumerate(run.results):
        for name, own in found.items():
            assert row.scores[name].score == pytest.approx(min(own[item]), rel=1e-6)
        assert row.score == row.scores["agreement"].score
        assert found["agreement"][item][0] == found["agreement"][item][1]
    alone = memdetect.scan(pipe, prompts=PROMPTS, out="alone", sampling=QUICK, probing=Probing(detectors=["spikiness"]))
    assert [row.score for row in alone.results] == pytest.approx([min(own) for own in found["spikiness"]], rel=1e-6)
    assert "score" not in run.results[0].model_dump()


def test_a_name_a_folder_and_a_pipeline_are_one(pipe: Any, model_folder: Path) -> None:
    live, saved = (memdetect.score(model, PROMPTS, sampling=QUICK) for model in (pipe, str(model_folder)))
    for name in live:
        np.testing.assert_allclose(live[name], saved[name], rtol=1e-5)
    ready = memdetect.load(model_folder, Loading(device="cpu", dtype="fp32"))
    np.testing.assert_array_equal(memdetect.score(ready, PROMPTS, sampling=QUICK)["spikiness"], saved["spikiness"])


LOADED = "the model is loaded already, and takes no Loading"
ASKED: dict[str, Any] = {
    "scan": lambda model, loading: memdetect.scan(model, prompts=["a cat"], out="run", loading=loading),
    "calibrate": lambda model, loading: memdetect.calibrate(model, clean=["a cat"], out="c.json", loading=loading),
    "score": lambda model, loading: memdetect.score(model, ["a cat"], loading=loading),
}


@pytest.mark.parametrize("way", ASKED)
def test_what_is_loaded_takes_no_other_loading(way: str, pipe: Any, here: Path) -> None:
    """The base would be audited as the LoRA."""
    ready = replace(memdetect.load(pipe), loading=Loading(device="cpu"))
    for model in (pipe, ready):
        for asked in (Loading(loras=("mine.safetensors",)), Loading(dtype="bf16"), Loading(vae_tiling=True)):
            with pytest.raises(MemdetectError, match=LOADED) as caught:
                ASKED[way](model, asked)
            assert "load the LoRA into it, or give the model's name" in str(caught.value)
    assert not list(here.iterdir())


def test_a_loading_that_says_nothing_or_is_that_of_the_model_is_taken(pipe: Any) -> None:
    ready = replace(memdetect.load(pipe), loading=Loading(device="cpu", loras=("a.safetensors",)))
    same = Loading(device="cpu", dtype="auto", loras=["a.safetensors"])
    for model, asked in ((pipe, Loading()), (pipe, Loading(dtype="auto", loras=[])), (ready, Loading()), (ready, same)):
        assert memdetect.score(model, ["a cat"], loading=asked, sampling=Sampling(num_seeds=1, steps=1))


def test_the_base_of_a_loaded_fine_tune_is_opened_without_its_loras() -> None:
    """Of one that is loaded, its name: it would be compared with itself."""
    tuned, opened = Loading(device="cpu", loras=("a.safetensors",)), list[Any]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flow, "load", lambda *given: opened.append(given))
        model = Model("mine", None, ADAPTERS["StableDiffusionPipeline"], Card(), "", "cpu", "fp32", loading=tuned)
        flow.with_base(model, Options(lookup=Lookup(train_images="photos")))
        flow.with_base("mine", Options(loading=tuned, lookup=Lookup(train_images="photos")))
    assert opened == [("mine", Loading(device="cpu"))] * 2


def test_the_bundled_model_by_its_name() -> None:
    run = memdetect.scan(
        "emoji-scenes", prompts=["a red apple"], out="run", sampling=Sampling(num_seeds=1, steps=2), save_images=False
    )
    assert run.header.model == "emoji-scenes"
    assert run.verdict.measured == 1


def test_every_prompt_given_has_a_row_of_scores_in_order(pipe: Any) -> None:
    given = ["a cat", {"prompt": "a cat"}, "a red dog", "a cat"]
    found = memdetect.score(pipe, given, sampling=QUICK)
    once = memdetect.score(pipe, PROMPTS, sampling=QUICK)
    for name, scores in found.items():
        np.testing.assert_array_equal(scores, once[name][[0, 0, 1, 0]])


def test_a_detector_of_ones_own_scores(pipe: Any) -> None:
    mine = memdetect.Detector(
        name="mine",
        needs=SPIKINESS.needs,
        score=lambda trace: 2 * SPIKINESS.score(trace),
        unit="that of spikiness, twice",
        reference="this test",
        alias="",
    )
    found = memdetect.score(pipe, PROMPTS, detectors=["spikiness", mine], sampling=QUICK)
    np.testing.assert_allclose(found["mine"], 2 * found["spikiness"], rtol=1e-6)


def test_images_are_paths_folders_and_pictures(pipe: Any, here: Path) -> None:
    folder = fill(here / "pictures", range(2), (32, 32))
    picture = Image.open(folder / "0000.png").copy()
    run = memdetect.scan(pipe, images=[folder / "0001.png", picture], out="run", sampling=QUICK)
    assert [Path(row.image or "").parent.name for row in run.results] == ["pictures", "given"]
    np.testing.assert_array_equal(np.asarray(Image.open(run.results[1].image or "")), np.asarray(picture))
    assert memdetect.scan(pipe, images=[folder / "0001.png", picture], out="run", sampling=QUICK) == run
    whole = memdetect.scan(pipe, images=[str(folder)], out="whole", sampling=QUICK)
    assert {row.id for row in whole.results} == {item_id(None, path) for path in folder.iterdir()}


def test_captions_of_training_pictures_are_scanned_where_nothing_else_is_given(pipe: Any, here: Path) -> None:
    folder = fill(here / "photos", range(3), (32, 32))
    lookup = Lookup(train_images=folder, instance_prompt="a photo of a cat")
    run = memdetect.scan(pipe, out="run", sampling=QUICK, lookup=lookup)
    assert [row.prompt for row in run.results] == ["a photo of a cat"]
    assert run.header.index["pictures"] == 3


def test_clean_scores_judge_a_scan(pipe: Any) -> None:
    clean = [f"a {colour} {thing}" for colour in ("red", "blue", "odd") for thing in ("cat", "dog", "photo", "of")]
    told: list[int] = []
    made = memdetect.calibrate(
        pipe,
        clean=[{"prompt": prompt, "kind": "k"} for prompt in clean],
        memorized=[{"prompt": "a very odd cat", "kind": "k"}],
        out="c.json",
        sampling=QUICK,
        progress=lambda done, _planned, _note: told.append(done),
    )
    assert made is not None
    assert (len(made.items), len(made.known)) == (12, 1)
    assert told
    scanned = ["a cat", "two dogs"]
    run = memdetect.scan(pipe, prompts=scanned, out="run", sampling=QUICK, judging=Judging(calibration="c.json"))
    assert run.verdict.calibrated == 12
    assert all(row.p["combined"] is not None for row in run.results)


def test_both_can_be_stopped_and_resumed(pipe: Any) -> None:
    asked: list[int] = []

    def once() -> bool:
        asked.append(1)
        return len(asked) > 1

    one = Sampling(num_seeds=1, steps=1, batch_size=1)
    run = memdetect.scan(pipe, prompts=PROMPTS, out="run", sampling=one, sharing=Sharing(shard_size=1), stop=once)
    assert (run.interrupted, len(run.results)) == (True, 1)
    assert memdetect.read_run("run") == run
    assert memdetect.calibrate(pipe, clean=PROMPTS, out="c.json", sampling=one, stop=lambda: True) is None
    assert not memdetect.scan(pipe, prompts=PROMPTS, out="run", sampling=one).interrupted


def test_images_are_looked_up(here: Path) -> None:
    folder = fill(here / "photos", range(12))
    index = memdetect.build_index([folder], "train.index", indexing=Indexing(embedder="pixels", planted=0, level=0.2))
    assert index.manifest.count == 12
    picture = Image.open(folder / "0005.png").copy()
    by_path, by_pixels = memdetect.look_up([str(folder / "0005.png"), picture], "train.index")
    assert (by_path.outcome, by_pixels.outcome) == ("copy", "copy")
    assert by_path.matches == by_pixels.matches
    assert (by_path.image, by_pixels.image) == (str(folder / "0005.png"), "image 1")
    assert len(by_path.matches) == 5


MODEL = object()
WRONG: dict[str, tuple[str, Any]] = {
    "nothing": ("nothing is given to examine; give one of", lambda: memdetect.scan(MODEL, out="run")),
    "two ways": (
        "prompts and files exclude each other",
        lambda: memdetect.scan(MODEL, prompts=["a"], files=["f"], out="r"),
    ),
    "one text": ("prompts is a str, expected a list", lambda: memdetect.scan(MODEL, prompts="a cat", out="run")),
    "no prompts": ("prompts is an empty list", lambda: memdetect.scan(MODEL, prompts=[], out="run")),
    "an empty prompt": ("the prompt is empty", lambda: memdetect.scan(MODEL, prompts=[" "], out="run")),
    "two of one id": (
        "the id 'x' is taken",
        lambda: memdetect.scan(MODEL, prompts=[{"id": "x", "prompt": p} for p in "ab"], out="run"),
    ),
    "no picture": ("an image is a int", lambda: memdetect.scan(MODEL, images=[3], out="run")),
    "no image": ("no such file", lambda: memdetect.scan(MODEL, images=["no.png"], out="run")),
    "keyword": ("did you mean 'sampling'?", lambda: memdetect.scan(MODEL, prompts=["a"], out="run", samplin=QUICK)),
    "record": (
        "sampling is a dict, expected Sampling(...)",
        lambda: memdetect.scan(MODEL, prompts=["a"], out="run", sampling={"num_seeds": 3}),
    ),
    "model": ("'object' is not supported", lambda: memdetect.scan(MODEL, prompts=["a"], out="run")),
    "name": ("neither a folder nor a bundled model", lambda: memdetect.score("nope", ["a"])),
    "clean": ("nothing is given to examine", lambda: memdetect.calibrate(MODEL, out="c.json")),
    "detector": ("no detector named 'nope'", lambda: memdetect.score(MODEL, ["a"], detectors=["nope"])),
    "no run": ("is not a run", lambda: memdetect.read_run("nowhere")),
    "no runs": ("no run is given", lambda: memdetect.judge([])),
    "one image": ("images is a str, expected a list", lambda: memdetect.look_up("a.png", "train.index")),
    "no sources": ("sources is empty", lambda: memdetect.build_index([], "train.index")),
    "one source": ("sources is a str", lambda: memdetect.build_index("photos", "train.index")),
    "options that exclude each other": (
        "--append and --replace exclude each other",
        lambda: memdetect.build_index(["photos"], "i", indexing=Indexing(append=True, replace=True)),
    ),
    "probing": (
        "no layer named 'nope'",
        lambda: memdetect.score(MODEL, ["a"], probing=Probing(layers=("nope",))),
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_use_is_one_line(name: str, pipe: Any, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said, call = WRONG[name]
    if name in ("detector", "probing"):
        monkeypatch.setattr("test_python.MODEL", pipe)
    with pytest.raises(MemdetectError, match=re.escape(said)) as caught:
        call()
    assert "\n" not in str(caught.value)
    assert not [path for path in here.iterdir() if path.name not in ("made",)]


UNTYPED = """
import memdetect, sys
from memdetect.errors import MemdetectError
for call in (
    lambda: memdetect.scan(object(), prompts=[3], out="run"),
    lambda: memdetect.scan(object(), prompts=[None], out="run"),
    lambda: memdetect.judge([3]),
    lambda: memdetect.look_up([3], "train.index"),
    lambda: memdetect.load("emoji-scenes", memdetect.inputs.options.Loading(device="cpu", dtype="int8")),
):
    try:
        call()
    except MemdetectError as problem:
        print(problem)
"""


def test_wrong_types_are_one_line_without_a_type_checker(ready: Ready, here: Path) -> None:
    """The suite checks types at every call; a user's program does not."""
    assert [line.partition(";")[0] for line in ready.run(UNTYPED, folder=here).splitlines()] == [
        "prompts holds a int (3), which it does not take",
        "prompts holds a NoneType (None), which it does not take",
        "a int is no run",
        "image 0 is a int, expected a path or a Pillow image",
        "no dtype named 'int8'",
    ]


def test_nothing_is_loaded_for_a_run_that_is_only_read() -> None:
    code = "import sys, memdetect; memdetect.read_run, memdetect.judge; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
