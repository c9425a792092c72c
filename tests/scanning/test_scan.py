"""A scan from end to end on a tiny model: order, resume, batches, memory, and input that cannot be used."""

import copy
import functools
import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flat_options import changed, scan, settings
from PIL import Image
from tiny_adapters import tiny_adapter
from tiny_stable import tiny_stable_diffusion

from memdetect.detectors.agreement import AGREEMENT
from memdetect.errors import Exit, MemdetectError
from memdetect.inputs.given import prompt_requests
from memdetect.judging.calibration import Calibration
from memdetect.runs.folder import RunFolder
from memdetect.runs.plan import RUN, Reading
from memdetect.scanning import Run

PROMPTS = ["a photo of a cat", "a red dog", "a blue cat and a dog", "dog", "a photo of a red cat"]
OPTIONS = settings(steps=1, num_seeds=2, batch_size=4, shard_size=2, save_images=False)  # two prompts a shard


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    path = tmp_path_factory.mktemp("input") / "prompts.txt"
    path.write_text("".join(f"{p}\n" for p in PROMPTS), encoding="utf-8")
    return [path]


@pytest.fixture(scope="module")
def whole(pipe: Any, prompts: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A scan that nothing happened to; to be read only."""
    return scan(prompts, pipe, tmp_path_factory.mktemp("whole"), OPTIONS)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A good PNG, a corrupt one, a CMYK JPEG and an animated GIF, in the order of their names."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    pixels = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 48, 3), dtype=np.uint8))
    pixels.save(folder / "a-good.png")
    (folder / "b-corrupt.png").write_bytes((folder / "a-good.png").read_bytes()[:500])
    pixels.convert("CMYK").save(folder / "c-cmyk.jpg")
    pixels.save(folder / "d-animated.gif", save_all=True, append_images=[pixels.rotate(90)])
    return folder


def scores(run: Run) -> dict[str, float | None]:
    return {row.id: row.scores["spikiness"].score for row in run.results if row.scores}


def values(run: Run) -> list[float]:
    """Every score and every cell of a run, in order."""
    found = [score for row in run.results for score in row.scores.values()]
    cells = [v for s in found for steps in s.cells.values() for seeds in steps.values() for v in seeds]
    return [v for v in [*(s.score for s in found), *cells] if v is not None]


def journal(run: Run) -> list[dict[str, Any]]:
    return list(RunFolder(run.folder).events())


def after(shards: int) -> Callable[[], bool]:
    """A `stop` that lets that many shards through."""
    asked = iter(range(10**6))
    return lambda: next(asked) >= shards


def kill_after(shards: int) -> Callable[[int, int, str], None]:
    """A `progress` that dies once that many shards are written; the first call comes before the first shard."""
    calls = iter(range(10**6))

    def progress(*_: Any) -> None:
        if next(calls) == shards:
            raise KeyboardInterrupt

    return progress


def copied(run: Run, folder: Path) -> Path:
    """The same run folder once more, to be written to."""
    return shutil.copytree(run.folder, folder / "run")


def test_results_come_in_the_order_of_the_plan(whole: Run) -> None:
    assert [row.prompt for row in whole.results] == PROMPTS
    assert [(row.index, row.line) for row in whole.results] == [(i, i + 1) for i in range(5)]
    held = [row.model_copy(update={"score": None}) for row in whole.results]  # what was ranked is in no file
    assert RunFolder(whole.folder).results() == held
    verdict = whole.verdict
    assert (verdict.planned, verdict.measured, verdict.scan_exit, whole.interrupted) == (5, 5, Exit.OK, False)
    assert all(score is not None and score > 0 for score in scores(whole).values())
    assert {len(row.seeds) for row in whole.results} == {2}


def test_a_score_is_of_its_seeds_and_a_seed_the_mean_of_its_cells(
    pipe: Any, prompts: list[Path], tmp_path: Path
) -> None:
    """Of two seeds the lower; where seeds are compared, each has the prompt's own value."""
    options = changed(OPTIONS, timesteps=[50, 400], layers=["up_blocks.*.resnets.*"], save_images=True)
    run = scan(prompts, pipe, tmp_path / "run", options)
    for row in run.results:
        cells = row.scores["spikiness"].cells
        assert {tuple(steps) for steps in cells.values()} == {("50", "400")}
        seeds = np.mean([seeds for steps in cells.values() for seeds in steps.values()], axis=0)
        assert row.scores["spikiness"].score == pytest.approx(seeds.min(), rel=1e-5)
        own = row.scores["agreement"]
        assert own.cells == {"run": {"all": [own.score, own.score]}}
    plan = run.header.plan
    own = plan.readings["agreement"]
    assert own == Reading(places=(RUN,), seeds="prompt", seen=AGREEMENT.seen)
    assert plan.readings["spikiness"].places == tuple((layer, t) for layer in plan.layers for t in ("50", "400"))
    assert run.results[3].files == [f"images/0000000001/0000000003-{k}.png" for k in (0, 1)]
    files = [run.folder / name for row in run.results for name in row.files]
    assert len(set(files)) == len(list((run.folder / "images").glob("*/*.png"))) == 10
    assert {Image.open(file).size for file in files} == {(32, 32)}


def test_a_killed_scan_ends_as_if_nothing_had_happened(
    whole: Run, pipe: Any, prompts: list[Path], tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        scan(prompts, pipe, tmp_path, OPTIONS, progress=kill_after(1))
    assert len(list((tmp_path / "shards").iterdir())) in (1, 2)  # of 3; the thread that keeps rows ends what it is at
    assert not (tmp_path / "results.jsonl").exists()
    again = scan(prompts, pipe, tmp_path, OPTIONS)
    assert (again.folder / "results.jsonl").read_bytes() == (whole.folder / "results.jsonl").read_bytes()
    assert [event["first"] for event in journal(again) if event["event"] == "shard"] == [0, 2, 4]


def test_a_finished_scan_is_not_measured_again(whole: Run, pipe: Any, prompts: list[Path], tmp_path: Path) -> None:
    again = scan(prompts, pipe, copied(whole, tmp_path), OPTIONS)
    assert again.results == whole.results
    made = ["start", *["shard"] * 3, "finished", "closed"]
    assert [event["event"] for event in journal(again)] == [*made, "start", "finished"], "and not written again"


@pytest.mark.parametrize("shards", [0, 1])
def test_a_stopped_scan_is_resumable_with_another_batch_size(
    shards: int, whole: Run, pipe: Any, prompts: list[Path], tmp_path: Path
) -> None:
    stopped = scan(prompts, pipe, tmp_path, OPTIONS, stop=after(shards))
    assert stopped.interrupted
    assert [row.prompt for row in stopped.results] == PROMPTS[: 2 * shards]
    assert not stopped.verdict.complete
    assert journal(stopped)[-1] == journal(stopped)[-1] | {"event": "interrupted", "done": 2 * shards}
    with pytest.raises(MemdetectError, match="not finished; run it again to resume, or join it by memdetect merge"):
        RunFolder(stopped.folder).results()
    again = scan(prompts, pipe, tmp_path, changed(OPTIONS, batch_size=2))
    assert (again.interrupted, again.verdict.complete) == (False, True)
    assert [row.id for row in again.results] == [row.id for row in whole.results]
    assert values(again) == pytest.approx(values(whole), rel=1e-5)


def test_a_stop_after_the_last_shard_is_too_late(whole: Run, pipe: Any, prompts: list[Path], tmp_path: Path) -> None:
    assert not scan(prompts, pipe, copied(whole, tmp_path), OPTIONS, stop=lambda: True).interrupted


@pytest.mark.parametrize("batch_size", [1, 64])
def test_scores_do_not_depend_on_the_batch(
    batch_size: int, whole: Run, pipe: Any, prompts: list[Path], tmp_path: Path
) -> None:
    other = scan(prompts, pipe, tmp_path, changed(OPTIONS, batch_size=batch_size))
    assert values(other) == pytest.approx(values(whole), rel=1e-5)


def test_scores_depend_on_prompt_and_seed(whole: Run, pipe: Any, prompts: list[Path], tmp_path: Path) -> None:
    """Else the comparisons above would hold for a constant."""
    other = scan(prompts, pipe, tmp_path, changed(OPTIONS, seed=1))
    assert len(set(scores(whole).values())) == 5
    assert all(abs(a / b - 1) > 1e-4 for a, b in zip(values(whole), values(other), strict=True))


def test_a_deleted_shard_is_made_again_in_its_place(whole: Run, pipe: Any, prompts: list[Path], tmp_path: Path) -> None:
    """What the message about a damaged shard asks for; the new shards must not run on behind the one in between."""
    folder = copied(whole, tmp_path)
    for number in (0, 2):
        RunFolder(folder).shard(number).unlink()
    again = scan(prompts, pipe, folder, changed(OPTIONS, batch_size=64))
    assert [row.index for row in again.results] == [0, 1, 2, 3, 4]
    assert values(again) == pytest.approx(values(whole), rel=1e-5)


@pytest.mark.parametrize(
    ("key", "changes"),
    [
        ("seed", {"seed": 1}),
        ("layers", {"layers": ["mid_block"]}),
        ("timesteps", {"timesteps": [100]}),
        ("steps", {"steps": 3}),
        ("guidance_scale", {"guidance_scale": 1.0}),
        ("num_seeds", {"num_seeds": 1}),
        ("detectors", {"detectors": ["spikiness"]}),
        ("call", {"call": {"eta": 0.5}}),
    ],
)
def test_another_setting_is_another_run(
    key: str, changes: dict[str, Any], whole: Run, pipe: Any, prompts: list[Path]
) -> None:
    before = (whole.folder / "results.jsonl").read_bytes()
    with pytest.raises(MemdetectError, match=f"holds a run with another plan: {key} was") as raised:
        scan(prompts, pipe, whole.folder, changed(OPTIONS, **changes))
    assert raised.value.exit == Exit.USAGE
    assert (whole.folder / "results.jsonl").read_bytes() == before


def test_other_inputs_are_another_run(whole: Run, pipe: Any, tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("\n".join(reversed(PROMPTS)), encoding="utf-8")
    with pytest.raises(MemdetectError, match="another plan: inputs was"):
        scan([tmp_path / "prompts.txt"], pipe, whole.folder, OPTIONS)


def test_a_changed_image_under_the_same_id_is_another_run(pipe: Any, images: Path, tmp_path: Path) -> None:
    listed = tmp_path / "images.jsonl"
    listed.write_text('{"id": "mine", "image": "pictures/a-good.png"}\n', encoding="utf-8")
    scan([listed], pipe, tmp_path / "run", OPTIONS, stop=after(0))
    Image.new("RGB", (32, 32), "red").save(images / "a-good.png")
    with pytest.raises(MemdetectError, match="another plan: inputs was"):
        scan([listed], pipe, tmp_path / "run", OPTIONS)


def test_another_model_is_another_run(whole: Run, pipe: Any, prompts: list[Path]) -> None:
    weight = next(pipe.unet.parameters())
    kept = weight.detach().clone()
    try:
        weight.data.mul_(1.001)
        with pytest.raises(MemdetectError, match="another plan: model was"):
            scan(prompts, pipe, whole.folder, OPTIONS)
    finally:
        weight.data.copy_(kept)


def test_repeated_prompts_are_measured_once_and_counted(pipe: Any, tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_text("a cat\n\na dog\na cat\n", encoding="utf-8")
    run = scan([path], pipe, tmp_path / "run", OPTIONS)
    assert [(row.prompt, row.line) for row in run.results] == [("a cat", 1), ("a dog", 3)]
    assert run.header.dropped == {"blank": 1, "repeated": 1, "beside": 0, "further": 0}


def test_one_prompt_under_two_ids_is_two_items_with_noise_of_their_own(pipe: Any, tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"id": 1, "prompt": "a cat"}\n{"id": 2, "prompt": "a cat"}\n', encoding="utf-8")
    run = scan([path], pipe, tmp_path / "run", OPTIONS)
    first, second = run.results
    assert not set(first.seeds) & set(second.seeds)
    assert scores(run)["1"] != scores(run)["2"]


def test_a_truncated_prompt_is_scored_and_marked(pipe: Any, tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_text("cat\n" + "a photo of a cat and a dog " * 20, encoding="utf-8")
    short, long = scan([path], pipe, tmp_path / "run", OPTIONS).results
    assert short.notes == []
    assert long.notes == ["prompt truncated to its first 12 tokens"]
    assert long.status == "ok"
    assert long.scores["spikiness"].score is not None


def test_a_folder_of_images_goes_on_past_a_corrupt_one(pipe: Any, images: Path, tmp_path: Path) -> None:
    run = scan([images], pipe, tmp_path / "run", OPTIONS)
    good, corrupt, cmyk, animated = run.results
    assert [row.status for row in run.results] == ["ok", "unreadable", "ok", "unreadable"]
    assert corrupt.outcome == "inconclusive"
    assert corrupt.reason.startswith("the input could not be read as a whole: ")
    assert corrupt.scores == {}
    assert "b-corrupt.png" in corrupt.notes[0]
    assert good.notes == []
    assert cmyk.notes == ["cmyk converted"]
    assert animated.notes[0] == "animated: first frame of 2 used"
    assert animated.notes[1].startswith("only the first of several frames was looked up")
    assert (run.verdict.measured, run.verdict.unusable, run.verdict.scan_exit) == (4, 2, Exit.OK)
    assert run.verdict.counts["inconclusive"] == 4
    alone = scan([images / "c-cmyk.jpg"], pipe, tmp_path / "alone", OPTIONS)
    assert scores(alone)[cmyk.id] == pytest.approx(scores(run)[cmyk.id], rel=1e-5)


def test_only_corrupt_images_are_inconclusive(pipe: Any, images: Path, tmp_path: Path) -> None:
    run = scan([images / "b-corrupt.png"], pipe, tmp_path / "run", OPTIONS)
    assert [row.outcome for row in run.results] == ["inconclusive"]
    assert run.verdict.scan_exit == Exit.INCONCLUSIVE


def test_prompts_and_images_of_one_run_keep_their_order(pipe: Any, images: Path, tmp_path: Path) -> None:
    path = tmp_path / "mixed.jsonl"
    rows = [{"prompt": "a cat"}, {"image": "pictures/a-good.png"}, {"prompt": "a dog"}, {"prompt": "a red cat"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    run = scan([path], pipe, tmp_path / "run", OPTIONS)
    assert [row.prompt for row in run.results] == ["a cat", None, "a dog", "a red cat"]
    assert [row.image is None for row in run.results] == [True, False, True, True]
    alone = scan([images / "a-good.png"], pipe, tmp_path / "alone", OPTIONS)
    assert scores(run)[alone.results[0].id] == pytest.approx(scores(alone)[alone.results[0].id], rel=1e-5)


def spoil(pipe: Any, monkeypatch: pytest.MonkeyPatch, change: Callable[[list[str], Any], None]) -> None:
    """Let `change` see the prompts and the result of every sampling call."""
    call = type(pipe).__call__

    @functools.wraps(call)
    def spoiled(self: Any, *args: Any, **kwargs: Any) -> Any:
        out = call(self, *args, **kwargs)
        if isinstance(kwargs["prompt"], list):
            change(kwargs["prompt"], out)
        return out

    monkeypatch.setattr(type(pipe), "__call__", spoiled)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_inconclusive_and_never_zero(
    value: float, whole: Run, pipe: Any, prompts: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One bad latent of one image; the prompts beside it in the batch are as they were."""

    def change(batch: list[str], out: Any) -> None:
        if PROMPTS[1] in batch:
            out.images[batch.index(PROMPTS[1]), 0, 0, 0] = value

    spoil(pipe, monkeypatch, change)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = scan(prompts, pipe, tmp_path / "run", changed(OPTIONS, save_images=True))
    bad = run.results[1]
    assert (bad.status, bad.outcome) == ("nonfinite", "inconclusive")
    assert bad.reason.startswith("the network gave values that are not finite: ")
    assert bad.scores["spikiness"].score is None
    assert '"score":null' in (run.folder / "results.jsonl").read_text(encoding="utf-8").splitlines()[1]
    first, second = next(iter(bad.scores["spikiness"].cells.values()))["50"]
    assert first is None
    assert second is not None
    others = [row for row in run.results if row is not bad]
    assert {row.status for row in others} == {"ok"}
    assert [scores(run)[row.id] for row in others] == pytest.approx([scores(whole)[row.id] for row in others])
    assert (run.verdict.unusable, run.verdict.scan_exit) == (1, Exit.OK)


def test_a_model_that_gives_nothing_finite_is_inconclusive(
    pipe: Any, prompts: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(pipe, monkeypatch, lambda _, out: out.images.fill_(float("nan")))
    run = scan(prompts, pipe, tmp_path / "run", OPTIONS)
    assert {row.outcome for row in run.results} == {"inconclusive"}
    assert run.verdict.scan_exit == Exit.INCONCLUSIVE


def test_out_of_memory_halves_the_batch_and_is_recorded(
    whole: Run, pipe: Any, prompts: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    def no_memory(batch: list[str], _out: Any) -> None:
        if len(batch) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")

    spoil(pipe, monkeypatch, no_memory)
    said: list[str] = []
    run = scan(prompts, pipe, tmp_path / "run", OPTIONS, progress=lambda _done, _planned, note: said.append(note))
    assert [event["halved"] for event in journal(run) if event["event"] == "shard"] == [[[4, 2]], [[4, 2]], []]
    assert [note for note in said if note] == ["out of memory: batch halved [(4, 2)]"] * 2
    assert values(run) == pytest.approx(values(whole), rel=1e-5)


def test_a_decoder_in_fp32_beside_fp16_is_no_change_between_two_shards(
    pipe: Any, prompts: list[Path], tmp_path: Path
) -> None:
    half = copy.deepcopy(pipe)
    half.vae.register_to_config(force_upcast=True)
    half.vae.to(torch.float16)
    run = scan(prompts, half, tmp_path / "run", changed(OPTIONS, save_images=True))
    assert [row.status for row in run.results] == ["ok"] * len(PROMPTS)
    assert half.vae.dtype == torch.float16
    again = scan(prompts, half, tmp_path / "run", changed(OPTIONS, save_images=True))
    assert again.header.plan.model == run.header.plan.model


def test_out_of_memory_while_decoding_is_recorded_too(
    pipe: Any, prompts: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = pipe.vae.decode

    def no_memory(latents: torch.Tensor, **options: Any) -> Any:
        if len(latents) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return decode(latents, **options)

    monkeypatch.setattr(pipe.vae, "decode", no_memory)
    run = scan(prompts, pipe, tmp_path / "run", changed(OPTIONS, save_images=True))
    assert [event["halved"] for event in journal(run) if event["event"] == "shard"] == [[[4, 2]], [[4, 2]], []]
    assert len(list((run.folder / "images").glob("*/*.png"))) == 10


def test_no_memory_for_a_single_image_is_an_error_that_keeps_the_run(
    pipe: Any, prompts: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(batch: list[str], _out: Any) -> None:
        if PROMPTS[4] in batch:
            raise torch.OutOfMemoryError("CUDA out of memory")

    spoil(pipe, monkeypatch, no_memory)
    with pytest.raises(MemdetectError, match="out of memory at batch size 1") as raised:
        scan(prompts, pipe, tmp_path / "run", OPTIONS)
    assert raised.value.exit == Exit.ERROR
    assert [row.prompt for row in RunFolder(tmp_path / "run").measurements()] == PROMPTS[:4]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"layers": ["up_block.0.resnets.0"]}, "no layer named 'up_block.0.resnets.0'; closest: up_blocks.0.resnets.0"),
        ({"timesteps": [1000]}, "timestep 1000 is outside the model's schedule; expected 0 to 999"),
        ({"detectors": ["spikines"]}, "did you mean 'spikiness'"),
        ({"call": {"num_inference_step": 1}}, "takes no argument 'num_inference_step'"),
        ({"call": {"output_type": "pil"}}, "'output_type' is set by memdetect itself"),
        ({"num_seeds": 0}, "num_seeds is 0, expected at least 1"),
        ({"steps": 0}, "steps is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"guidance_scale": float("nan")}, "guidance_scale is nan, expected a finite number"),
    ],
)
def test_settings_are_checked_before_the_folder_is_made(
    changes: dict[str, Any], said: str, pipe: Any, prompts: list[Path], tmp_path: Path
) -> None:
    with pytest.raises(MemdetectError) as raised:
        scan(prompts, pipe, tmp_path / "run", changed(OPTIONS, **changes))
    assert said in str(raised.value)
    assert raised.value.exit == Exit.USAGE
    assert not (tmp_path / "run").exists()


def test_clean_scores_beside_the_model_give_p_values(model_folder: Path, prompts: list[Path], tmp_path: Path) -> None:
    """Scores of the same settings judge; scores of other settings are refused by name."""
    plain = scan(prompts, str(model_folder), tmp_path / "plain", OPTIONS)
    assert plain.verdict.missing == "there are no clean scores for this model; run `memdetect calibrate`"
    settings = plain.header.plan.settings
    cells = {layer: {"50": [[-float(i), -1.0] for i in range(99)]} for layer in plain.header.plan.layers}
    items = [{"id": f"clean-{i}", "family": f"clean-{i}"} for i in range(99)]
    ours = {"run": {"all": [[-2.0 - i / 100] * 2 for i in range(99)]}}
    table = {"settings": settings, "items": items, "scores": {"agreement": ours, "spikiness": cells}}
    clean = Calibration.model_validate(table)
    path = model_folder / "calibration.json"
    try:
        path.write_text(clean.model_dump_json(), encoding="utf-8")
        with pytest.raises(MemdetectError, match="another calibration: its digest was none, now"):
            scan(prompts, str(model_folder), tmp_path / "plain", OPTIONS)
        assert not (plain.folder / "calibration.json").exists()
        judged = scan(prompts, str(model_folder), tmp_path / "judged", OPTIONS)
        for name in ("combined", "agreement", "spikiness"):
            assert {(row.outcome, row.p[name]) for row in judged.results} == {("suspicious", 0.01)}
        assert judged.verdict.fixed
        assert (judged.folder / "calibration.json").exists()
        other = scan(prompts, str(model_folder), tmp_path / "other", changed(OPTIONS, steps=3))
        assert other.verdict.missing == (
            "the clean scores were made with another steps (calibrated 1, scanned 3); calibrate again"
        )
        assert {row.outcome for row in other.results} == {"inconclusive"}
    finally:
        path.unlink()


def test_a_shard_that_was_edited_makes_the_scan_that_closes_it_inconclusive(
    whole: Run, pipe: Any, prompts: list[Path], tmp_path: Path
) -> None:
    assert not [rule for rule in whole.verdict.rules if rule.name == "integrity"]
    shutil.copytree(whole.folder, tmp_path / "run")
    shard = sorted((tmp_path / "run" / "shards").iterdir())[0]
    shard.write_text(shard.read_text(encoding="utf-8").replace("a photo of a cat", "a photo of a rat"), "utf-8")
    again = scan(prompts, pipe, tmp_path / "run", OPTIONS)
    (rule,) = [rule for rule in again.verdict.rules if rule.name == "integrity"]
    assert rule.reason == (
        "the items that were measured are not those that were planned; scan again; "
        "shards/0000000000.jsonl is not what the journal says was written; delete it and scan again"
    )


def test_another_base_is_refused_before_it_draws(whole: Run, pipe: Any, prompts: list[Path], tmp_path: Path) -> None:
    shutil.copytree(whole.folder, tmp_path / "run")
    with pytest.raises(MemdetectError, match='another plan: base was "", now '):
        scan(prompts, pipe, tmp_path / "run", changed(OPTIONS, base=tiny_stable_diffusion(tmp_path / "base", seed=1)))
    assert not (tmp_path / "run" / "base").exists()


def test_an_index_of_training_pictures_is_refused_before_it_is_built(
    whole: Run, pipe: Any, prompts: list[Path], images: Path, tmp_path: Path
) -> None:
    shutil.copytree(whole.folder, tmp_path / "run")
    with pytest.raises(MemdetectError, match="another plan: no index was searched, now that of "):
        scan(prompts, pipe, tmp_path / "run", changed(OPTIONS, train_images=images))
    assert not (tmp_path / "run" / "train.index").exists()


def test_broken_clean_scores_are_refused_before_the_first_image(
    model_folder: Path, prompts: list[Path], tmp_path: Path
) -> None:
    path = model_folder / "calibration.json"
    path.write_text("{", encoding="utf-8")
    try:
        with pytest.raises(MemdetectError, match=r"calibration\.json is no calibration"):
            scan(prompts, str(model_folder), tmp_path / "run", OPTIONS)
    finally:
        path.unlink()
    assert not (tmp_path / "run").exists()


def test_a_prompt_that_the_call_cuts_is_noted(tmp_path):
    call = {"max_sequence_length": 8}
    options = settings(num_seeds=1, steps=1, call=call, detectors=("spikiness",), save_images=False)
    requests = prompt_requests(["abcdefghijk", "abc"])
    run = scan(requests, tiny_adapter("pixart", tmp_path / "tokens"), tmp_path / "run", options)
    assert [row.notes for row in run.results] == [["prompt truncated to its first 8 tokens"], []]
