"""A scan that screens: two phases through one loop, resumed, refused, planned, and judged by what the screen keeps."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from flat_options import changed, scan, settings

from memdetect.adapters import load
from memdetect.errors import MemdetectError
from memdetect.inputs.prompts import read
from memdetect.probing import probe_prompts
from memdetect.probing.texts import texts_once
from memdetect.runs.folder import RunFolder
from memdetect.scanning import prepare
from memdetect.scanning.dry_run import dry_run_lines

PROMPTS = [f"a {colour} {animal}" for colour in ("red", "blue", "photo", "of") for animal in ("cat", "dog", "and")]
OPTIONS = settings(steps=3, num_seeds=2, batch_size=4, search=False, screen=0.25, detectors=("sharpness",))


@pytest.fixture
def prompts(tmp_path: Path) -> list[Path]:
    path = tmp_path / "prompts.txt"
    path.write_text("".join(f"{p}\n" for p in PROMPTS), encoding="utf-8")
    return [path]


@pytest.fixture(scope="module")
def finished(pipe: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the prompts and a finished run of them."""
    home = tmp_path_factory.mktemp("finished")
    (home / "prompts.txt").write_text("".join(f"{p}\n" for p in PROMPTS), encoding="utf-8")
    scan([home / "prompts.txt"], pipe, home / "run", OPTIONS)
    return home


@contextmanager
def counted(pipe: Any, name: str) -> Iterator[list[int]]:
    """How many rows go through a network, call by call."""
    calls: list[int] = []

    def count(_module: Any, args: Any, kwargs: Any, _output: Any) -> None:
        calls.append(len(args[0] if args else kwargs["input_ids"]))

    handle = getattr(pipe, name).register_forward_hook(count, with_kwargs=True)
    try:
        yield calls
    finally:
        handle.remove()


def content(folder: Path) -> dict[str, bytes]:
    """Everything of a run but what has a time in it."""
    kept = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.parent.name != "journal"]
    files = {str(path.relative_to(folder)): path.read_bytes() for path in kept}
    for name in ("run.json", "screen/run.json"):
        held = {**json.loads(files[name]), "created": "", "seal": ""}
        files[name] = json.dumps(held).encode()
    return files


# Two phases


def test_all_are_screened_and_the_strongest_are_scanned_as_in_a_plain_scan(
    prompts: list[Path], pipe: Any, tmp_path: Path
) -> None:
    """The rows of the chosen are, byte for byte, those of a scan that was given these prompts alone."""
    run = scan(prompts, pipe, tmp_path / "run", OPTIONS)
    held = list(RunFolder(tmp_path / "run" / "screen").measurements())
    scores = [row.scores["sharpness"].score or 0.0 for row in held]
    best = sorted(sorted(range(12), key=lambda i: -scores[i])[:3])
    assert [row.prompt for row in held] == PROMPTS
    assert not any(row.files or row.matches for row in held)
    assert [row.index for row in run.results if row.status == "ok"] == best
    assert run.verdict.usable == "3 of 12 items measured, 9 screened only"
    alone = tmp_path / "alone.txt"
    alone.write_text("".join(f"{PROMPTS[i]}\n" for i in best), encoding="utf-8")
    plain = scan([alone], pipe, tmp_path / "plain", changed(OPTIONS, screen=None))
    ours = [run.results[i] for i in best]
    for one, other in zip(ours, plain.results, strict=True):
        same = {"source", "line", "index", "reason", "outcome"}
        assert one.model_dump(exclude=same) == other.model_dump(exclude=same)
        pictures = [(tmp_path / name / one.files[0]).read_bytes() for name in ("run", "plain")]
        assert pictures[0] == pictures[1]


def test_a_screen_makes_its_first_steps_alone(prompts: list[Path], pipe: Any, tmp_path: Path) -> None:
    """One step of 12 prompts, two seeds, two branches; each text, and the empty one, once in each batch of 4 images."""
    with counted(pipe, "text_encoder") as texts, counted(pipe, "unet") as passes:
        stopped = scan(prompts, pipe, tmp_path / "run", OPTIONS, stop=iter([False, True]).__next__)
    assert stopped.interrupted
    assert passes == [8] * 6
    assert texts == [1, 1] * 2 + [2, 1] * 6  # two checks of settings before the first image


def test_texts_that_are_encoded_once_give_the_same_scores(pipe: Any) -> None:
    """Of each image as if every text was encoded for itself, up to rounding; and no hook is left."""
    model, given = load(pipe), ["a red cat", "a dog", "a red cat"]
    bench = prepare(model, OPTIONS)
    made = []
    for once in (False, True):
        kept = texts_once(model) if once else counted(pipe, "unet")
        with kept:
            trace = probe_prompts(
                model, given, ids=["0", "1", "2"], sampler=bench.sampler, probe=bench.probe, images=False
            )
        made.append(bench.detectors[0].score(trace))
    torch.testing.assert_close(made[0], made[1], rtol=1e-4, atol=1e-5)
    assert not pipe.text_encoder._forward_hooks
    assert not pipe.text_encoder._forward_pre_hooks


def test_what_an_encoder_gives_is_repeated_where_its_text_was(pipe: Any) -> None:
    ids = torch.tensor([[1, 2, 3], [4, 5, 6], [1, 2, 3], [7, 8, 9], [4, 5, 6]])
    with torch.inference_mode():
        plain = pipe.text_encoder(ids, attention_mask=None)
        with counted(pipe, "text_encoder") as rows, texts_once(load(pipe)):
            once = pipe.text_encoder(ids, attention_mask=None)
    assert rows == [3]
    torch.testing.assert_close(once.last_hidden_state, plain.last_hidden_state)
    torch.testing.assert_close(once[1], plain[1])


@pytest.mark.parametrize("after", [1, 3])
def test_an_interrupted_run_ends_as_one_that_was_not(
    prompts: list[Path], pipe: Any, tmp_path: Path, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in the screen, between both phases, and in the full scan: the same prompts, records and bytes."""
    monkeypatch.setattr("memdetect.scanning.screening.SHARD", 4)
    whole = scan(prompts, pipe, tmp_path / "whole", OPTIONS)
    asked = iter([*([False] * after), *([True] * 10)])
    first = scan(prompts, pipe, tmp_path / "run", OPTIONS, stop=lambda: next(asked))
    assert first.interrupted
    again = scan(prompts, pipe, tmp_path / "run", OPTIONS)
    assert [r.model_dump() for r in again.results] == [r.model_dump() for r in whole.results]
    assert content(tmp_path / "run") == content(tmp_path / "whole")


def test_ranks_share_both_phases_and_choose_alike(prompts: list[Path], pipe: Any, tmp_path: Path) -> None:
    """The first of two screens the first of three shards and stops; the other does all that is left, and samples."""
    apart = changed(OPTIONS, shard_size=4, world=2)
    whole = scan(prompts, pipe, tmp_path / "whole", changed(OPTIONS, shard_size=4))
    asked = iter([False, *([True] * 10)])
    first = scan(prompts, pipe, tmp_path / "run", changed(apart, rank=0), stop=lambda: next(asked))
    assert first.interrupted
    assert not (tmp_path / "run" / "run.json").exists()
    assert [path.stem for path in RunFolder(tmp_path / "run" / "screen").shards()] == ["0000000000"]
    scan(prompts, pipe, tmp_path / "run", changed(apart, rank=1))
    late = scan(prompts, pipe, tmp_path / "run", changed(apart, rank=0))
    assert [r.model_dump() for r in late.results] == [r.model_dump() for r in whole.results]
    assert content(tmp_path / "run") == content(tmp_path / "whole")


def test_the_choice_that_was_written_first_counts(finished: Path, pipe: Any, tmp_path: Path) -> None:
    """A process that would choose others samples those of the header that is there; a gate makes the choice anew."""
    shutil.copytree(finished / "run", tmp_path / "run")
    held = RunFolder(tmp_path / "run").header()
    assert held.screen
    other = held.screen.model_copy(update={"chosen": "0-2"})
    (tmp_path / "run" / "run.json").write_text(
        held.model_copy(update={"screen": other}).sealed().model_dump_json(indent=1), encoding="utf-8"
    )
    shutil.rmtree(tmp_path / "run" / "shards")
    again = scan([finished / "prompts.txt"], pipe, tmp_path / "run", OPTIONS)
    assert [row.index for row in again.results if row.status == "ok"] == [0, 1, 2]
    assert any("not those that the screen chooses" in reason for reason in again.verdict.reasons)


def test_a_finished_run_is_read_and_not_made_again(finished: Path, pipe: Any) -> None:
    before = content(finished / "run")
    with counted(pipe, "unet") as passes:
        scan([finished / "prompts.txt"], pipe, finished / "run", OPTIONS)
    assert sum(passes) <= 4  # of the checks before the first image
    assert content(finished / "run") == before


# Refused


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"screen": 0.0}, "--screen is 0, expected a share above 0 and below 1"),
        ({"screen": 1.0}, "--screen is 1, expected a share above 0 and below 1"),
        ({"screen": float("nan")}, "--screen is nan, expected a share above 0 and below 1"),
        ({"screen_p": 0.1}, "--screen and --screen-p both choose prompts; give one of the two"),
        ({"screen": None, "screen_detectors": ("dcs",)}, "--screen-detector is of a screen, and none is asked for"),
        ({"screen": None, "screen_recall": "x"}, "--screen-recall is of a screen, and none is asked for"),
        (
            {"screen_detectors": ("spikiness",)},
            "'spikiness' needs more than the first steps of a run, and",
        ),
        ({"screen_detectors": ("agreement-final",)}, "and cannot screen; choose among agreement, "),
        ({"screen_detectors": ("specificity",)}, "'specificity' needs more than the first steps of a run"),
        ({"screen_detectors": ("dcs",), "guidance_scale": 1.0}, "'dcs' needs the unconditional branch, and guidance 1"),
        ({"screen_detectors": ("agreement",), "num_seeds": 1}, "'agreement' compares the images of a prompt"),
        ({"screen": None, "screen_p": 0.1}, "--screen-p ranks sharpness of 3 steps among clean scores: there are no"),
        ({"base": "some/base"}, "--screen and --base exclude each other"),
        ({"screen_recall": "nowhere.json"}, "there is no nowhere.json; measure it with `memdetect screen-recall`"),
    ],
)
def test_what_cannot_screen_is_refused_in_one_line_before_the_first_image(
    prompts: list[Path], pipe: Any, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    with counted(pipe, "vae") as decoded, pytest.raises(MemdetectError) as refused:
        scan(prompts, pipe, tmp_path / "run", changed(OPTIONS, **change))
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not decoded
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"screen": 0.5}, "holds a run with another screen: it was 0.25, now 0.5"),
        ({"screen": None}, "holds a run with another screen: it was 0.25, now none"),
        ({"screen_detectors": ("dcs",)}, "holds a run with another plan: detectors was"),
        ({"screen_steps": 2}, "holds a run with another plan: steps was 3, now 2"),
        ({"steps": 4}, "holds a run with another plan: steps was 3, now 4"),
    ],
)
def test_a_run_goes_on_with_the_same_screen_alone(finished: Path, pipe: Any, change: dict[str, Any], said: str) -> None:
    before = content(finished / "run")
    with pytest.raises(MemdetectError, match=said):
        scan([finished / "prompts.txt"], pipe, finished / "run", changed(OPTIONS, **change))
    assert content(finished / "run") == before


# Planned


def test_a_dry_run_says_what_both_phases_cost(tmp_path: Path) -> None:
    """Of 40 prompts with 50 steps: one step of two seeds and branches each, and two prompts in full."""
    path = tmp_path / "p.txt"
    path.write_text("".join(f"prompt {'x' * i}\n" for i in range(1, 41)), encoding="utf-8")
    options = settings(steps=50, screen=0.05, detectors=("sharpness",), search=False)
    said = "\n".join(dry_run_lines(read([path]), "emoji-scenes", changed(options, save_images=True)))
    assert "screened by sharpness at the first of 10 steps, the strongest 0.05: 40 prompts, 2 runs begun" in said
    assert "of each, 160 passes of the denoiser" in said
    assert "then 2 of 40 prompts are sampled in full:\n4 images, 400 passes of the denoiser" in said
    assert "screen: what the screen misses is not stated for 38 prompts" in said
