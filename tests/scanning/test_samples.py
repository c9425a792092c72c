"""Pictures from elsewhere, several of each prompt: read, compared, looked up and judged without a model."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from small_pictures import Tiny, picture

from memdetect.cli import run
from memdetect.copies.embedders import load_embedder
from memdetect.copies.index import BuildOptions, build_index
from memdetect.detectors.pictures import by_embedder, by_pixels
from memdetect.errors import MemdetectError
from memdetect.inputs.samples import read_samples, usual_count
from memdetect.judging.run import judge, read_run
from memdetect.runs.folder import RunFolder
from memdetect.scanning import soundness

SIDE = 64
TUNING, CLEAN, EACH = 12, 40, 2
THINGS = ["cat", "dog", "lamp", "boat", "tree", "house", "cup", "moon", "fish", "road"]
PLACES = ["red", "blue", "green", "pink", "black", "grey", "gold", "white"]


def noisy(image: Image.Image, seed: int) -> Image.Image:
    noise = np.random.default_rng(seed).normal(0, 6, (image.height, image.width, 3))
    return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))


def listed(
    folder: Path, name: str, prompts: dict[str, list[Image.Image]], parts: Sequence[str] = (), **columns: str
) -> Path:
    """A list with a row for each picture of each prompt."""
    (folder / name).mkdir(parents=True)
    rows: list[dict[str, str]] = []
    for number, (prompt, images) in enumerate(prompts.items()):
        more = {"part": parts[number]} if parts else {}
        for k, image in enumerate(images):
            image.save(folder / name / f"{number}-{k}.png")
            rows.append({"prompt": prompt, "image": f"{name}/{number}-{k}.png", **columns, **more})
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lists: clean prompts of which every picture is another; scanned ones, of which `a coin N` give one picture."""
    folder = tmp_path_factory.mktemp("api")
    seeds = iter(range(10_000))
    words = [f"a {thing} on {place}" for thing in THINGS for place in PLACES][: TUNING + CLEAN]
    parts = ["tuning"] * TUNING + ["calibration"] * CLEAN
    rows = listed(folder, "clean", {word: [picture(next(seeds)) for _ in range(EACH)] for word in words}, parts)
    some = rows.read_text(encoding="utf-8").splitlines(keepends=True)[: EACH * (TUNING + 3)]  # three are ranked among
    (folder / "few.jsonl").write_text("".join(some), encoding="utf-8")
    free = {f"a {thing} by a wall": [picture(next(seeds)) for _ in range(EACH)] for thing in THINGS[:3]}
    held = {f"a coin {n}": [noisy(picture(20_000 + n), 100 * n + k) for k in range(EACH)] for n in range(5)}
    listed(folder, "asked", {**free, **held}, kind="title")
    (folder / "training").mkdir()
    for n in range(12):
        picture(20_000 + n).save(folder / "training" / f"{n}.png")
    build_index([folder / "training"], load_embedder("pdq-tiles"), folder / "i", BuildOptions(level=0.05, planted=12))
    return folder


def judged(home: Path, out: Path, *more: str, clean: str = "clean.jsonl") -> int:
    given = ["samples", str(home / "asked.jsonl"), "--clean-pictures", str(home / clean), "--from", "an API, version 1"]
    return run([*given, "--out", str(out), *more])


def test_prompts_that_give_one_picture_are_found_and_others_are_clear(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert judged(home, tmp_path / "run") == 0
    shown = capsys.readouterr().out
    assert "an API, version 1: 2 images a prompt, made elsewhere." in shown
    results = read_run(tmp_path / "run").results
    outcomes = {row.prompt: row.outcome for row in results}
    assert {p for p, outcome in outcomes.items() if outcome == "suspicious"} == {f"a coin {n}" for n in range(5)}
    assert {outcome for p, outcome in outcomes.items() if "coin" not in (p or "")} == {"clear"}
    assert judge(tmp_path / "run").verdict == "fail"
    first = results[0]
    assert [(tmp_path / "run" / file).is_file() for file in first.files] == [True] * EACH
    assert (tmp_path / "run" / first.files[0]).read_bytes() == (home / "asked" / "0-0.png").read_bytes()


def test_what_lies_in_the_index_is_a_copy_and_the_same_call_measures_nothing_again(home: Path, tmp_path: Path) -> None:
    assert judged(home, tmp_path / "run", "--index", str(home / "i"), clean="few.jsonl") == 0
    rows = read_run(tmp_path / "run").results
    assert {row.prompt for row in rows if row.outcome == "copy"} == {f"a coin {n}" for n in range(5)}
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*.png")}
    assert judged(home, tmp_path / "run", "--index", str(home / "i"), clean="few.jsonl") == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*.png")} == {
        **before,
        tmp_path / "run" / "pairs.png": (tmp_path / "run" / "pairs.png").stat().st_mtime_ns,
    }
    assert run(["gate", str(tmp_path / "run")]) == 1
    assert run(["explain", str(tmp_path / "run"), rows[-1].id]) == 0


def test_clean_prompts_whose_pictures_are_training_images_are_left_out(home: Path, tmp_path: Path) -> None:
    for name in ("clean", "asked"):
        shutil.copytree(home / name, tmp_path / name)
        shutil.copy(home / f"{name}.jsonl", tmp_path)
    shutil.copy(home / "few.jsonl", tmp_path)
    for k in range(EACH):
        noisy(picture(20_007), k).save(tmp_path / "clean" / f"4-{k}.png")
    shutil.copytree(home / "training", tmp_path / "training")
    build_index(
        [tmp_path / "training"], load_embedder("pdq-tiles"), tmp_path / "i", BuildOptions(level=0.05, planted=12)
    )
    assert judged(tmp_path, tmp_path / "run", "--index", str(tmp_path / "i"), clean="few.jsonl") == 0
    found = json.loads((tmp_path / "run" / "calibration.json").read_bytes())
    assert len(found["items"]) == TUNING + 3 - 1
    assert "1 removed" in found["checked"]


def test_other_pictures_are_another_run(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("clean", "asked"):
        shutil.copytree(home / name, tmp_path / name)
        shutil.copy(home / f"{name}.jsonl", tmp_path)
    shutil.copy(home / "few.jsonl", tmp_path)
    assert judged(tmp_path, tmp_path / "run", clean="few.jsonl") == 0
    picture(77_777).save(tmp_path / "asked" / "0-1.png")
    assert judged(tmp_path, tmp_path / "run", clean="few.jsonl") == 2
    assert "another plan: inputs" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("missing", "1 different pictures could be opened, expected 2"),
        ("broken", "expected 2"),
        ("repeated", "1 of 2 pictures are the very file of another"),
        ("none", "0 different pictures could be opened, expected 2"),
        ("blank", "scores are not finite"),
    ],
)
def test_a_prompt_without_enough_pictures_is_inconclusive(home: Path, tmp_path: Path, change: str, reason: str) -> None:
    for name in ("clean", "asked"):
        shutil.copytree(home / name, tmp_path / name)
        shutil.copy(home / f"{name}.jsonl", tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "asked.jsonl").read_text("utf-8").splitlines()]
    first = tmp_path / "asked" / "0-0.png"
    if change == "missing":
        rows = rows[1:]
    elif change == "none":
        rows = [{"prompt": rows[0]["prompt"], "image": ""}, *rows[2:]]
    elif change == "broken":
        first.write_bytes(first.read_bytes()[:200])
    elif change == "repeated":
        shutil.copy(tmp_path / "asked" / "0-1.png", first)
    else:
        Image.new("RGB", (SIDE, SIDE)).save(first)
    (tmp_path / "asked.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    shutil.copy(home / "few.jsonl", tmp_path)
    assert judged(tmp_path, tmp_path / "run", clean="few.jsonl") == 0
    row = next(row for row in read_run(tmp_path / "run").results if row.prompt == rows[0]["prompt"])
    assert row.outcome == "inconclusive"
    assert reason in " ".join(row.notes)


@pytest.mark.parametrize("fault", ["blank", "unsearched"])
def test_a_picture_beyond_those_compared_that_tells_nothing_is_no_clear(
    home: Path, tmp_path: Path, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of its three pictures are compared; the third has one colour, or nothing was found of it in the index."""
    for name in ("clean", "asked"):
        shutil.copytree(home / name, tmp_path / name)
    third = picture(55_555) if fault == "unsearched" else Image.new("RGB", (SIDE, SIDE))
    third.save(tmp_path / "asked" / "0-2.png")
    rows = (home / "asked.jsonl").read_text("utf-8").splitlines()
    more = {**json.loads(rows[0]), "image": "asked/0-2.png"}
    (tmp_path / "asked.jsonl").write_text("\n".join([*rows, json.dumps(more)]), encoding="utf-8")
    shutil.copy(home / "few.jsonl", tmp_path)
    usual = soundness.search

    def blind(images: Any, sound: Any, *rest: Any) -> Any:
        found = usual(images, sound, *rest)
        kept = [match for match in found.matches if match.seed < 2]
        return replace(found, matches=kept, missed=[k for k in sound if k >= 2])

    if fault == "unsearched":
        monkeypatch.setattr(soundness, "search", blind)
    assert judged(tmp_path, tmp_path / "run", "--index", str(home / "i"), "--per-prompt", "2", clean="few.jsonl") == 0
    row = next(row for row in read_run(tmp_path / "run").results if len(row.files) == 3)
    assert row.outcome == "inconclusive"
    assert ("single colour" if fault == "blank" else "was not searched") in row.reason


def test_agreement_is_the_mean_over_all_pairs() -> None:
    images, tiny = [picture(seed) for seed in (1, 2, 3)] + [noisy(picture(1), 5)], Tiny()
    vectors = tiny.embed(images).astype(np.float64)
    expected = np.mean([a @ b for a, b in combinations(vectors, 2)])
    assert by_embedder(images, tiny) == pytest.approx(expected, abs=1e-6)
    small = [np.asarray(image.resize((32, 32), Image.Resampling.BOX), np.float64).reshape(-1, 3) for image in images]
    pairs = [np.corrcoef((a - a.mean(0)).ravel(), (b - b.mean(0)).ravel())[0, 1] for a, b in combinations(small, 2)]
    assert by_pixels(images, tiny) == pytest.approx(np.mean(pairs), abs=1e-9)
    assert by_pixels([images[0]] * 3, tiny) == pytest.approx(1)
    assert np.isnan(by_pixels([images[0], Image.new("RGB", (SIDE, SIDE), "red")], tiny))


@pytest.mark.parametrize("name", ["pdq-tiles", "pdq"])
def test_codes_agree_whichever_picture_is_asked_for_the_other(name: str) -> None:
    embedder, images = load_embedder(name), [picture(1), noisy(picture(1), 2), picture(9)]
    assert by_embedder(images, embedder) == pytest.approx(by_embedder(images[::-1], embedder))
    assert by_embedder(images[:2], embedder) > 0.6 > by_embedder(images[1:], embedder)


def test_a_folder_for_each_prompt(tmp_path: Path) -> None:
    for name, count in (("a red cat", 2), ("b", 3), ("refused", 0)):
        (tmp_path / "all" / name).mkdir(parents=True)
        for k in range(count):
            picture(k).save(tmp_path / "all" / name / f"{k}.png")
    (tmp_path / "all" / "b" / "prompt.txt").write_text("a dog, seen: from above\n", encoding="utf-8")
    found = read_samples([tmp_path / "all"])
    prompts = {item.prompt: len(found.pictures[item.id]) for item in found.requests.items}
    assert prompts == {"a red cat": 2, "a dog, seen: from above": 3, "refused": 0}
    assert usual_count([found]) == 3
    picture(5).save(tmp_path / "all" / "stray.png")
    with pytest.raises(MemdetectError, match=r"1 pictures of no prompt, such as 'stray.png'"):
        read_samples([tmp_path / "all"])


def test_rows_of_one_prompt_are_one_item_whatever_their_form(tmp_path: Path) -> None:
    for k in range(4):
        picture(k).save(tmp_path / f"{k}.png")
    table = tmp_path / "list.csv"
    table.write_text("id,prompt,image,family\nx,a cat,0.png,f\ny,a cat,1.png,f\nz,a cat,1.png,f\nw,a dog,2.png,g\n")
    nested = tmp_path / "more.json"
    nested.write_text(json.dumps([{"prompt": "a dog", "images": ["2.png", "3.png"]}]))
    found = read_samples([table, nested])
    by_prompt = {item.prompt: item for item in found.requests.items}
    assert [path.name for path in found.pictures[by_prompt["a cat"].id]] == ["0.png", "1.png"]
    assert [path.name for path in found.pictures[by_prompt["a dog"].id]] == ["2.png", "3.png"]
    assert found.requests.repeated == 2
    assert dict(by_prompt["a cat"].meta) == {"family": "f"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"prompt": "a", "image": "gone.png"}', "there is no picture"),
        ('{"prompt": "a", "images": "x.png"}', "expected a list of paths"),
        ('{"prompt": "a", "images": [7]}', "not text"),
        ('{"image": "here.png"}', "an image without a prompt"),
    ],
)
def test_rows_that_cannot_be_used_are_refused_with_their_line(tmp_path: Path, text: str, said: str) -> None:
    picture(1).save(tmp_path / "here.png")
    (tmp_path / "x.jsonl").write_text(text + "\n", encoding="utf-8")
    with pytest.raises(MemdetectError, match=said) as refused:
        read_samples([tmp_path / "x.jsonl"])
    assert "line 1" in str(refused.value)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--per-prompt", "1"], "per-prompt"),
        (["--combine", "spikiness"], "no detector of pictures named 'spikiness'"),
        (["--index", "nowhere"], "nowhere"),
        (["--embedder", "pdq", "--index", "INDEX"], "made with the embedder 'pdq-tiles'"),
    ],
)
def test_settings_are_checked_before_the_folder_is_made(
    home: Path, tmp_path: Path, more: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert judged(home, tmp_path / "run", *(str(home / "i") if word == "INDEX" else word for word in more)) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_single_pictures_and_clean_prompts_of_the_tuning_split_alone_are_refused(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = listed(
        tmp_path, "alone", {f"a {thing}": [picture(n)] for n, thing in enumerate(THINGS)}, part="calibration"
    )
    given = ["samples", str(alone), "--from", "x", "--out", str(tmp_path / "run")]
    assert run([*given, "--clean-pictures", str(alone)]) == 2
    assert "1 pictures a prompt cannot be compared" in capsys.readouterr().err
    few = listed(tmp_path, "few", {f"a {thing}": [picture(n), picture(50 + n)] for n, thing in enumerate(THINGS)})
    assert run([*given, "--clean-pictures", str(few)]) == 2
    assert "all 10 clean prompts are of the tuning split" in capsys.readouterr().err


def test_known_memorized_prompts_say_what_the_scores_notice(home: Path, tmp_path: Path) -> None:
    held = {
        f"a stamp of a {thing}": [noisy(picture(30_000 + n), n * 10 + k) for k in range(EACH)]
        for n, thing in enumerate(THINGS[:6])
    }
    known = listed(tmp_path, "known", held, kind="title")
    assert judged(home, tmp_path / "run", "--memorized-pictures", str(known)) == 0
    verdict = read_run(tmp_path / "run").verdict
    assert [(each.noticed, each.known) for each in verdict.sensitivity] == [(6, 6)]
    assert len(list(RunFolder(tmp_path / "run" / "memorized").measurements())) == 6
