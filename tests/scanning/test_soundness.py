"""Nothing that is no number, and no image that shows nothing, is taken for an answer: false passes of omission."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flat_options import calibrate, scan, settings
from PIL import Image
from small_pictures import QUICK, fill
from tiny_stable import tiny_stable_diffusion

from memdetect.copies.candidates import Opener, compared
from memdetect.copies.compared import plain
from memdetect.copies.embedders import load_embedder
from memdetect.copies.index import build_index, centre_square
from memdetect.copies.match import ONE_COLOUR, Match
from memdetect.copies.matching import Evidence, Seen, open_evidence
from memdetect.errors import MemdetectError
from memdetect.probing import Decoded
from memdetect.runs.folder import RunFolder
from memdetect.runs.policy import Policy
from memdetect.runs.records import Measurement, Score
from memdetect.scanning.soundness import checked, not_finite, search, single_colour

PROMPTS = "a cat\na dog\na red cat\n"
FAST: dict[str, Any] = {"steps": 2, "guidance_scale": 2.0, "num_seeds": 2, "timesteps": [50]}
NAN = float("nan")


@pytest.fixture(scope="module")
def place(pipe: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three prompts, and an index of other pictures."""
    root = tmp_path_factory.mktemp("sound")
    (root / "prompts.txt").write_text(PROMPTS, encoding="utf-8")
    build_index([fill(root / "images", range(40))], load_embedder("pixels"), root / "train.index", QUICK)
    return root


def spoil_decoder(pipe: Any, monkeypatch: pytest.MonkeyPatch, change: Callable[[torch.Tensor], Any]) -> None:
    """Let `change` see, and write into, the pixels of every decoded batch."""
    own = pipe.vae.decode

    def spoilt(latents: torch.Tensor, **options: Any) -> Any:
        (pixels,) = own(latents, **options)
        change(pixels)
        return (pixels,)

    monkeypatch.setattr(pipe.vae, "decode", spoilt)


def everything(pixels: torch.Tensor) -> None:
    pixels.fill_(NAN)


def white(pixels: torch.Tensor) -> None:
    pixels.fill_(7.0)


@pytest.mark.parametrize("value", [NAN, float("inf")])
def test_an_autoencoder_that_gives_no_numbers_cannot_pass_a_gate_on_copies(
    value: float, place: Path, pipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil_decoder(pipe, monkeypatch, lambda pixels: pixels.fill_(value))
    policy = Policy(fail_on="copy")
    options = settings(**FAST, index=place / "train.index", policy=policy)
    run = scan([place / "prompts.txt"], pipe, tmp_path / "run", options)
    assert [row.status for row in run.results] == ["nonfinite"] * 3
    assert {note for row in run.results for note in row.notes} == {"pixels of images 0, 1 are not finite"}
    assert {row.outcome for row in run.results} == {"inconclusive"}
    assert all(row.matches == [] and row.one_colour == [] for row in run.results)
    assert all(row.scores["spikiness"].score is not None for row in run.results)  # nothing measured is thrown away
    assert all((run.folder / name).is_file() for row in run.results for name in row.files)
    assert run.verdict.verdict != "pass"
    assert run.verdict.unusable == 3


def test_one_bad_pixel_of_one_image_is_named_and_its_siblings_are_looked_up(
    place: Path, pipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = scan([place / "prompts.txt"], pipe, tmp_path / "plain", settings(**FAST, index=place / "train.index"))

    def change(pixels: torch.Tensor) -> None:
        pixels[2, 0, 5, 5] = NAN  # the first image of the second prompt

    spoil_decoder(pipe, monkeypatch, change)
    run = scan([place / "prompts.txt"], pipe, tmp_path / "run", settings(**FAST, index=place / "train.index"))
    assert [row.status for row in run.results] == ["ok", "nonfinite", "ok"]
    assert run.results[1].notes == ["pixels of image 0 are not finite"]
    assert [m for m in plain.results[1].matches if m.seed == 1] == run.results[1].matches
    for k in (0, 2):
        assert run.results[k].matches == plain.results[k].matches
        assert {match.seed for match in run.results[k].matches} == {0, 1}


def test_a_decoder_that_saturates_to_one_colour_is_named(
    place: Path, pipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil_decoder(pipe, monkeypatch, white)
    run = scan([place / "prompts.txt"], pipe, tmp_path / "run", settings(**FAST, index=place / "train.index"))
    assert [row.one_colour for row in run.results] == [[0, 1]] * 3
    assert {note for row in run.results for note in row.notes} == {"images 0, 1 have a single colour"}
    assert {row.status for row in run.results} == {"ok"}


def hazy(pixels: torch.Tensor) -> None:
    """Grey, a level of 255 up or down."""
    pixels.copy_((torch.rand(pixels.shape, generator=torch.Generator().manual_seed(0)) - 0.5) * 4 / 255)


def test_a_decoder_that_gives_grey_but_for_noise_passes_no_gate_on_copies(
    place: Path, pipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No training image is compared with such an image, so that it is not clear."""
    spoil_decoder(pipe, monkeypatch, hazy)
    options = settings(**FAST, index=place / "train.index", policy=Policy(fail_on="copy", min_recall=0.0))
    run = scan([place / "prompts.txt"], pipe, tmp_path / "run", options)
    assert all(np.ptp(np.asarray(Image.open(run.folder / name))) > 0 for row in run.results for name in row.files)
    assert {match.note for row in run.results for match in row.matches} == {ONE_COLOUR}
    assert [row.one_colour for row in run.results] == [[0, 1]] * 3
    assert {(row.outcome, row.reason) for row in run.results} == {("inconclusive", "its images have a single colour")}
    assert [rule.outcome for rule in run.verdict.rules if rule.name == "one-colour"] == ["inconclusive"]
    monkeypatch.undo()
    given = scan([run.folder / name for row in run.results for name in row.files], pipe, tmp_path / "given", options)
    assert [row.one_colour for row in given.results] == [[0]] * 6
    assert {row.outcome for row in given.results} == {"inconclusive"}


def test_a_calibration_does_not_count_grey_images_as_compared(
    place: Path, pipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil_decoder(pipe, monkeypatch, hazy)
    options = settings(**FAST, index=place / "train.index", policy=Policy(min_recall=0.0))
    made = calibrate([place / "prompts.txt"], pipe, tmp_path / "c.json", options)
    assert made is not None
    assert made.checked == ""
    assert made.provenance["unchecked"].startswith("an image could not be compared or has a single colour")


def test_latents_that_are_no_numbers_are_named_and_not_called_pixels(
    place: Path, pipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change(pixels: torch.Tensor) -> None:
        pixels[1].fill_(NAN)

    from memdetect.scanning import measure

    own = measure.probe_prompts

    def spoilt(*args: Any, **options: Any) -> Any:
        trace = own(*args, **options)
        assert trace.latents is not None
        latents = trace.latents.clone()
        latents[0, 1, 0, 0, 0] = NAN
        return replace(trace, latents=latents)

    monkeypatch.setattr(measure, "probe_prompts", spoilt)
    spoil_decoder(pipe, monkeypatch, change)
    for name, save in (("saved", True), ("unsaved", False)):
        options = settings(**FAST, save_images=save)
        row = scan([place / "prompts.txt"], pipe, tmp_path / name, options).results[0]
        assert (row.status, row.notes) == ("nonfinite", ["latents of image 1 are not finite"])


def test_where_nothing_is_decoded_no_pixel_takes_part_in_the_answer(
    place: Path, pipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil_decoder(pipe, monkeypatch, everything)
    run = scan([place / "prompts.txt"], pipe, tmp_path / "run", settings(**FAST, save_images=False))
    assert [(row.status, row.matches, row.files) for row in run.results] == [("ok", [], [])] * 3


# Given images


def test_a_given_images_digest_is_that_of_its_file(place: Path, pipe: Any, tmp_path: Path) -> None:
    folder = tmp_path / "given"
    folder.mkdir()
    good = folder / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 48, 3), dtype=np.uint8)).save(good)
    (folder / "b.png").write_bytes(good.read_bytes()[:300])
    run = scan([folder], pipe, tmp_path / "run", settings(**FAST))
    assert [row.status for row in run.results] == ["ok", "unreadable"]
    for row, name in zip(run.results, ("a.png", "b.png"), strict=True):
        assert row.sha256 == hashlib.sha256((folder / name).read_bytes()).hexdigest()
    prompts = scan([place / "prompts.txt"], pipe, tmp_path / "prompts", settings(**FAST))
    assert {row.sha256 for row in prompts.results} == {""}


def test_the_plans_digest_of_inputs_follows_from_the_rows(place: Path, pipe: Any, tmp_path: Path) -> None:
    import json

    images = sorted((place / "images").iterdir())[:3]
    run = scan([*images, place / "prompts.txt"], pipe, tmp_path / "run", settings(**FAST))
    total = hashlib.sha256()
    for row in run.results:
        total.update(json.dumps([row.id, row.prompt, row.sha256 or None]).encode())
    assert total.hexdigest() == run.header.plan.inputs


def test_given_images_of_one_colour_are_named(place: Path, pipe: Any, tmp_path: Path) -> None:
    folder = tmp_path / "given"
    folder.mkdir()
    Image.new("RGB", (40, 40), "red").save(folder / "a.png")
    banner = Image.new("RGB", (400, 40), "white")
    banner.putpixel((3, 3), (0, 0, 0))
    banner.save(folder / "b.png")
    speck = Image.new("RGB", (32, 32), "white")
    speck.putpixel((3, 3), (255, 255, 0))
    speck.save(folder / "c.png")
    run = scan([folder], pipe, tmp_path / "run", settings(**FAST, index=place / "train.index"))
    assert [row.one_colour for row in run.results] == [[0], [0], []]
    assert [row.notes for row in run.results] == [
        ["image 0 has a single colour"],
        ["the part of image 0 that the network takes has a single colour"],
        [],
    ]
    assert {row.status for row in run.results} == {"ok"}


def test_an_encoder_that_gives_no_numbers_leaves_the_matches_of_a_given_image_out_of_doubt(
    place: Path, tmp_path: Path
) -> None:
    pipe = tiny_stable_diffusion(tmp_path / "tokenizer")
    next(pipe.vae.encoder.parameters()).data.fill_(NAN)
    run = scan([place / "images"], pipe, tmp_path / "run", settings(**FAST, index=place / "train.index"))
    assert {row.status for row in run.results} == {"nonfinite"}
    assert run.results[0].notes == [
        "latents of image 0 are not finite",
        "scores are not finite: spikiness",
    ]
    assert run.results[0].scores["spikiness"].score is None
    # Its own pixels are numbers: the training image itself is still found.
    assert {row.outcome for row in run.results} == {"copy"}


# The parts


class Counted(Evidence):
    """Evidence that finds one training image for each image but some; its embedder fails for `blind` greys."""

    def __init__(self, without: tuple[int, ...] = (), blind: tuple[int, ...] = ()) -> None:
        object.__setattr__(self, "index", without)
        object.__setattr__(self, "embedder", None)
        object.__setattr__(self, "top_k", blind)

    def look_up(self, images: Any, others: Any = None) -> Seen:
        values: list[int] = [grey(image) for image in images]
        without: Any = self.index
        blind: Any = self.top_k
        matches = [
            Match(seed=k, rank=1, key=str(value), similarity=0.5)
            for k, value in enumerate(values)
            if value not in without
        ]
        return Seen(matches, [value not in blind for value in values])


def grey(image: Any) -> int:
    return image.getpixel((0, 0))[0]


def greys(*values: int) -> list[Decoded]:
    return [Decoded(np.full((4, 4, 3), value, np.uint8), True) for value in values]


def test_matches_keep_the_numbers_of_their_images() -> None:
    found = search(greys(10, 20, 30, 40), [1, 3], Counted())
    assert [(match.seed, match.key) for match in found.matches] == [(1, "20"), (3, "40")]
    assert (found.blind, found.missed) == ([], [])


def test_an_image_without_a_match_is_named_with_the_reason() -> None:
    found = search(greys(10, 20, 30), [0, 1, 2], Counted(without=(10, 30), blind=(30,)))
    assert ([match.seed for match in found.matches], found.blind, found.missed) == ([1], [2], [0])
    row = checked(row_of(), torch.zeros(3, 4, 2, 2), greys(10, 20, 30), Counted((10, 30), (30,)))
    assert row.status == "nonfinite"
    assert row.notes == [
        "embedding of image 2 is not finite",
        "images 0, 1, 2 have a single colour",
        "image 0 was not searched",
    ]
    assert search(greys(10), [], Counted()).matches == []


def row_of(cell: float | None = 1.0, score: float | None = 1.0) -> Measurement:
    return Measurement(index=0, id="x", source="", scores={"s": Score(score=score, cells={"l": {"50": [1.0, cell]}})})


def test_a_score_that_is_a_number_over_cells_that_are_not_is_none() -> None:
    latents = torch.zeros(2, 4, 2, 2)
    assert checked(row_of(), latents, [], None).status == "ok"
    for row in (row_of(cell=None), row_of(score=None)):
        found = checked(row, latents, [], None)
        assert (found.status, found.notes) == ("nonfinite", ["scores are not finite: s"])


def test_latents_by_brute_force() -> None:
    latents = torch.zeros(3, 4, 2, 2)
    latents[0, 3, 1, 1], latents[2, 0, 0, 0] = NAN, -float("inf")
    assert not_finite(latents) == [0, 2]
    assert not_finite(torch.zeros(2, 4, 2, 2)) == []


@pytest.mark.parametrize("size", [(64, 64), (300, 40), (40, 300), (1, 1)])
@pytest.mark.parametrize("noise", [0, 1, 2, 6, 60])
def test_what_cannot_be_compared_has_one_colour(place: Path, size: tuple[int, int], noise: int) -> None:
    """By the comparison itself, with a training image that has many."""
    rng = np.random.default_rng(noise)
    grey = 128 + rng.integers(-noise, noise + 1, (size[1], size[0], 3))
    image = Image.fromarray(grey.astype(np.uint8))
    index = open_evidence(place / "train.index").index
    near = Match(rank=1, key="a", path=index.row(0).seen_from(str(index.folder)), similarity=0.9)
    (found,) = compared([image, *filter(None, [centre_square(image)])], [near], Opener(index))
    assert single_colour(image) == (found.note == ONE_COLOUR)


def test_a_small_thing_in_the_middle_of_a_long_picture_is_more_than_one_colour() -> None:
    banner = Image.new("RGB", (4000, 40), "white")
    banner.putpixel((2000, 20), (200, 0, 0))
    assert plain(banner)
    assert not single_colour(banner)


# Other rooms


def test_a_calibration_does_not_take_black_images_for_searched(
    place: Path, pipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil_decoder(pipe, monkeypatch, everything)
    options = settings(**FAST, index=place / "train.index", policy=Policy(min_recall=0.0))
    with pytest.raises(
        MemdetectError, match=r"cannot be searched for copies: pixels of images 0, 1 are not finite; use"
    ):
        calibrate([place / "prompts.txt"], pipe, tmp_path / "c.json", options)
    assert not (tmp_path / "c.json").exists()


def test_a_calibration_counts_what_it_left_out_and_refuses_when_nothing_is_left(place: Path, tmp_path: Path) -> None:
    pipe = tiny_stable_diffusion(tmp_path / "tokenizer")
    next(pipe.unet.parameters()).data.fill_(NAN)
    with pytest.raises(MemdetectError, match="none of 3 prompts has finite scores"):
        calibrate([place / "prompts.txt"], pipe, tmp_path / "c.json", settings(**FAST))


def test_prompts_that_are_not_finite_on_the_base_are_said_and_stay_inconclusive(
    place: Path, pipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, said = tiny_stable_diffusion(tmp_path / "base", seed=1), list[str]()

    def change(pixels: torch.Tensor) -> None:
        pixels[0].fill_(NAN)  # of the first prompt's first image

    spoil_decoder(base, monkeypatch, change)
    run = scan(
        [place / "prompts.txt"],
        pipe,
        tmp_path / "run",
        settings(**FAST, base=base, base_rounds=3, batch_size=32),
        progress=lambda _done, _planned, note: said.append(note),
    )
    assert "1 of 3 prompts are not finite on the base: they stay inconclusive" in said
    assert run.verdict.calibrated == 6
    assert run.results[0].outcome == "inconclusive"
    assert {row.p["combined"] is None for row in run.results[1:]} == {False}


def test_a_sweep_says_how_many_items_are_not_finite(
    model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from memdetect.cli import sweep as module
    from memdetect.evaluation import Question

    rows = [row_of().model_copy(update={"status": status}) for status in ("ok", "nonfinite", "ok")]
    monkeypatch.setattr(RunFolder, "measurements", lambda _self: iter(rows))
    with pytest.raises(MemdetectError, match="has no group"):
        module._report(tmp_path, Question("duplicated"), None)
    assert "1 of 3 items gave values that are not finite" in capsys.readouterr().err
