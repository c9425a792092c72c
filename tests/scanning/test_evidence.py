"""A scan with an index of what the model makes: outcome copy, pairs, coverage, and a resume that notices a change."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from flat_options import calibrate, changed, scan, settings
from PIL import Image, ImageFont
from small_pictures import QUICK, fill

from memdetect.copies.embedders import load_embedder
from memdetect.copies.index import build_index, read_manifest
from memdetect.copies.matching import look_up_files, open_evidence
from memdetect.errors import MemdetectError
from memdetect.inputs.captions import captioned, prompts_of
from memdetect.inputs.images import IN_PART
from memdetect.inputs.options import Lookup
from memdetect.inputs.prompts import read
from memdetect.judging import judge
from memdetect.runs.folder import RunFolder
from memdetect.runs.policy import Policy
from memdetect.scanning import contact_sheet
from memdetect.scanning.contact_sheet import strongest_pairs, write_pairs
from memdetect.scanning.prepare import searched_index

PROMPTS = "a cat\na dog\na red cat\n"
WHOLE = replace(QUICK, planted=50)  # every picture is planted
FAST = {"steps": 2, "guidance_scale": 2.0, "num_seeds": 2, "timesteps": [50]}


@pytest.fixture(scope="module")
def first(pipe, tmp_path_factory):
    """A scan without an index; its first image is then planted among the training images of an index."""
    root = tmp_path_factory.mktemp("planted")
    (root / "prompts.txt").write_text(PROMPTS, encoding="utf-8")
    run = scan([root / "prompts.txt"], pipe, root / "plain", settings(**FAST))
    images = fill(root / "images", range(40))
    Image.open(run.folder / run.results[0].files[1]).save(images / "planted.png")
    build_index([images], load_embedder("pixels"), root / "train.index", WHOLE)
    return root


@pytest.fixture(scope="module")
def run(first, pipe):
    return scan([first / "prompts.txt"], pipe, first / "searched", settings(**FAST, index=first / "train.index"))


def test_the_planted_image_is_the_evidence_of_a_copy(run):
    row = run.results[0]
    assert row.outcome == "copy"
    assert row.reason == "image 1 is a copy of ../images/planted.png"
    best = next(match for match in row.matches if match.copy_found)
    assert (best.seed, best.rank, best.key) == (1, 1, "../images/planted.png")
    assert best.tile == pytest.approx(0, abs=1e-3)
    assert best.ssim == pytest.approx(1, abs=1e-3)
    assert best.p is not None
    assert run.verdict.counts["copy"] >= 1


def test_the_header_says_what_was_searched(run, first):
    held = RunFolder(first / "searched").header()
    assert (held.index["rows"], held.index["embedder"], held.index["coverage"]) == (41, "pixels", None)
    assert held.plan.index == held.index["digest"]
    assert (held.index["recall"], held.index["planted"], held.index["pictures"]) == (1.0, 41, 41)
    assert (held.index["stated_by"], held.index["as_trained"]) == ("", "")
    assert set(held.index["finds"]) == {"mirrored", "cropped", "shifted"}
    assert RunFolder(first / "plain").header().index == {}


def test_matches_are_the_same_without_saved_images(run, first, pipe):
    options = settings(**FAST, index=first / "train.index", save_images=False)
    again = scan([first / "prompts.txt"], pipe, first / "unsaved", options)
    assert [row.matches for row in again.results] == [row.matches for row in run.results]
    assert not list((first / "unsaved" / "images").iterdir())
    assert not (first / "unsaved" / "pairs.png").exists()


def test_a_pair_shows_the_score_that_decides(run, first, pipe):
    """Of two detectors it is the score of the one that decides, of two seeds the lower and not their mean."""
    row = run.results[0]
    assert run.header.plan.deciding == ("agreement",)
    assert row.score == row.scores["agreement"].score
    assert f"{row.score:.4f}" != f"{row.scores['spikiness'].score:.4f}"
    assert f"score {row.score:.4f}" in contact_sheet.lines_of(row, row.matches[0])[-1]
    options = settings(**FAST, index=first / "train.index", detectors=("spikiness",))
    row = scan([first / "prompts.txt"], pipe, first / "spiky", options).results[0]
    lower = min(map(sum, zip(*(cells["50"] for cells in row.scores["spikiness"].cells.values()), strict=True)))
    assert row.score == pytest.approx(lower / len(row.scores["spikiness"].cells))
    assert f"score {row.score:.4f}" in contact_sheet.lines_of(row, row.matches[0])[-1]


def test_pairs_show_the_copy_first(run, first):
    pairs = strongest_pairs(run.results)
    assert pairs[0][0].id == run.results[0].id
    assert len(pairs) == 3
    with Image.open(first / "searched" / "pairs.png") as sheet:
        assert sheet.size[0] > 3 * 256
    assert write_pairs(first / "searched", []) is None


def test_given_images_are_looked_up_too(first, pipe):
    options = settings(**FAST, index=first / "train.index")
    found = scan([first / "images" / "planted.png"], pipe, first / "given", options)
    assert found.results[0].outcome == "copy"
    assert (first / "given" / "pairs.png").exists()


def test_where_the_training_images_are_gone_nothing_passes(run, first, pipe, tmp_path):
    """An index copied without its images finds what is similar and can compare nothing."""
    shutil.copytree(first / "train.index", tmp_path / "deep" / "alone.index")
    found = scan([first / "prompts.txt"], pipe, tmp_path / "run", settings(**FAST, index=tmp_path / "deep/alone.index"))
    row = found.results[0]
    assert run.results[0].outcome == "copy"
    assert row.outcome == "inconclusive"
    assert row.reason.startswith("image 1 may be a copy: the training image cannot be opened; it is similar to ")
    rules = {rule.name: rule for rule in judge(found.header, found.results, None, Policy(fail_on="copy"))[1].rules}
    assert rules["index"].outcome == "inconclusive"
    assert "not there to be compared" in rules["index"].reason


def test_a_scan_resumed_from_another_folder_still_finds_its_training_images(run, first, pipe, tmp_path, monkeypatch):
    """Paths are seen from the working folder: those measured before are told anew when the run is closed."""
    stopped = iter([False, True])
    options = {**FAST, "batch_size": 1, "shard_size": 1}
    monkeypatch.chdir(first)
    begun = scan(
        ["prompts.txt"],
        pipe,
        tmp_path / "run",
        settings(**options, index=Path("train.index")),
        stop=lambda: next(stopped),
    )
    assert begun.interrupted
    assert begun.results[0].matches[0].path == "images/planted.png"
    monkeypatch.chdir(tmp_path)
    there = Path(os.path.relpath(first))
    found = scan([there / "prompts.txt"], pipe, "run", settings(**options, index=there / "train.index"))
    assert all(Path(match.path).is_file() for row in found.results for match in row.matches)
    assert [row.outcome for row in found.results] == [row.outcome for row in run.results]


def test_how_many_are_recorded_belongs_to_the_plan(run, first, pipe):
    with pytest.raises(MemdetectError, match="another plan: top_k was 3, now 1"):
        scan([first / "prompts.txt"], pipe, first / "searched", settings(**FAST, index=first / "train.index", top_k=1))


def test_an_index_and_none_exclude_each_other(first, pipe, tmp_path):
    options = settings(**FAST, index=first / "train.index", search=False)
    with pytest.raises(MemdetectError, match="exclude each other"):
        scan([first / "prompts.txt"], pipe, tmp_path / "run", options)


def test_a_changed_index_is_another_plan(first, pipe, tmp_path):
    build_index([fill(tmp_path / "images", range(40))], load_embedder("pixels"), tmp_path / "other.index", QUICK)
    with pytest.raises(MemdetectError, match="another plan: index was"):
        scan([first / "prompts.txt"], pipe, first / "searched", settings(**FAST, index=tmp_path / "other.index"))


def test_a_damaged_index_is_refused_before_the_first_image(first, pipe, tmp_path):
    build_index([fill(tmp_path / "images", range(40))], load_embedder("pixels"), tmp_path / "bad.index", QUICK)
    vectors = tmp_path / "bad.index" / "vectors.f16"
    data = bytearray(vectors.read_bytes())
    data[100] ^= 1
    vectors.write_bytes(data)
    with pytest.raises(MemdetectError, match=r"vectors\.f16.* is damaged"):
        scan([first / "prompts.txt"], pipe, tmp_path / "run", settings(**FAST, index=tmp_path / "bad.index"))
    assert not (tmp_path / "run").exists()


class Corners(torch.nn.Module):
    """Some pixels of an image, 512 numbers, as an embedder in TorchScript."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :, ::16, ::16].flatten(1).repeat(1, 11)[:, :512]


def test_weights_that_can_run_code_are_opened_only_when_trusted(first, pipe, tmp_path):
    script = tmp_path / "script.pt"
    torch.jit.script(Corners()).save(str(script))
    embedder = load_embedder("sscd-320", weights=script, trust_torchscript=True)
    build_index([first / "images"], embedder, tmp_path / "train.index", QUICK)
    options = settings(**FAST, index=tmp_path / "train.index", weights=script)
    with pytest.raises(MemdetectError, match="TorchScript"):
        scan([first / "prompts.txt"], pipe, tmp_path / "refused", options)
    found = scan([first / "prompts.txt"], pipe, tmp_path / "run", changed(options, trust_torchscript=True))
    assert found.results[0].outcome == "copy"


def test_a_calibration_leaves_out_clean_prompts_that_come_back_as_copies(first, pipe, tmp_path):
    prompts = tmp_path / "clean.txt"
    prompts.write_text(PROMPTS, encoding="utf-8")
    options = settings(**FAST, index=first / "train.index")
    made = calibrate([prompts], pipe, tmp_path / "c.json", options)
    assert [removed.prompt for removed in made.removed] == ["a cat"]
    digest = read_manifest(first / "train.index").digest[:12]
    where = f"in index 'train.index' of digest {digest}, an unknown share of the training set"
    compared = "all 6 images could be compared"
    assert made.checked == f"the 3 strongest of 3 were searched for copies {where}, {compared}, 1 removed"
    assert len(made.items) == 2
    unchecked = calibrate([prompts], pipe, tmp_path / "u.json", settings(**FAST, search=False))
    assert (len(unchecked.items), unchecked.checked) == (3, "")
    assert unchecked.provenance["unchecked"] == "no index was searched"


def broken(first: Path, folder: Path, how: str) -> Path:
    """An index that can tell no copy: without a threshold, without its images, or blind to its own planted copies."""
    if how == "no threshold":
        build_index([fill(folder / "one", range(1))], load_embedder("pixels"), folder / "x.index", QUICK)
        return folder / "x.index"
    shutil.copytree(first / "train.index", folder / "x.index")
    if how == "no images":
        return folder / "x.index"
    held = read_manifest(folder / "x.index")
    worse = held.model_copy(update={"planted": held.planted.model_copy(update={"copies": 0.36})}).sealed()
    (folder / "x.index" / "manifest.json").write_text(worse.text(), encoding="utf-8")
    return folder / "x.index"


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("no threshold", "the index has no threshold"),
        ("no images", "an image could not be compared"),
        ("no recall", "the index calls 36% of 41 planted copies of its own images copies, expected at least 90%"),
    ],
)
def test_a_calibration_is_not_checked_where_no_copy_could_have_been_found(how, said, first, pipe, tmp_path):
    """By the rules of a scan: it said "searched, 0 removed", and an unconditional scan passed on that."""
    prompts = tmp_path / "clean.txt"
    prompts.write_text(PROMPTS, encoding="utf-8")
    made = calibrate([prompts], pipe, tmp_path / "c.json", settings(**FAST, index=broken(first, tmp_path / "in", how)))
    assert made.checked == ""
    assert made.provenance["unchecked"].startswith(said)


def test_a_calibration_is_checked_once_the_training_images_are_back(first, pipe, tmp_path):
    shutil.copytree(first / "images", tmp_path / "images")
    shutil.copytree(first / "train.index", tmp_path / "train.index")
    (tmp_path / "clean.txt").write_text(PROMPTS, encoding="utf-8")
    options = settings(**FAST, index=tmp_path / "train.index")
    (tmp_path / "images").rename(tmp_path / "away")
    assert calibrate([tmp_path / "clean.txt"], pipe, tmp_path / "c.json", options).provenance["unchecked"]
    (tmp_path / "away").rename(tmp_path / "images")
    found = calibrate([tmp_path / "clean.txt"], pipe, tmp_path / "c.json", options)
    assert "unchecked" not in found.provenance
    assert [one.prompt for one in found.removed] == ["a cat"]


def test_clean_scores_hold_the_memorized_prompts_that_their_sensitivity_is_measured_on(first, pipe, tmp_path):
    """Their scores are those of a scan of the same prompts; a second file without a kind, or with a clean prompt, is
    refused before the first image."""
    clean, known = tmp_path / "clean.txt", tmp_path / "known.jsonl"
    clean.write_text("a cat\na dog\n", encoding="utf-8")
    known.write_text('{"prompt": "a red cat", "kind": "pet"}\n', encoding="utf-8")
    made = calibrate([clean], pipe, tmp_path / "c.json", settings(**FAST, memorized=read([known])))
    scanned = scan([known], pipe, tmp_path / "run", settings(**FAST, search=False, calibration=tmp_path / "c.json"))
    assert [item.kind for item in made.known] == ["pet"]
    cells = scanned.results[0].scores["spikiness"].cells
    assert made.known_scores["spikiness"] == {
        layer: {t: [values] for t, values in times.items()} for layer, times in cells.items()
    }
    assert [known.kind for known in scanned.verdict.sensitivity] == ["pet"]
    for text, said in (('{"prompt": "x"}\n', "is of no kind"), ('{"prompt": "A CAT", "kind": "pet"}\n', "among the")):
        known.write_text(text, encoding="utf-8")
        with pytest.raises(MemdetectError, match=said):
            calibrate([clean], pipe, tmp_path / "other.json", settings(**FAST, memorized=read([known])))
    assert not (tmp_path / "other.run").exists()


def test_a_long_prompt_is_cut_to_a_pairs_width_at_once():
    font = ImageFont.load_default(size=11)
    shown = contact_sheet._fit("W" * 2**20, font)
    assert shown == contact_sheet._fit("W" * 300, font)
    assert font.getlength(shown) <= 2 * contact_sheet.SIDE + contact_sheet.GAP


def test_an_index_and_a_folder_of_training_pictures_exclude_each_other(first, pipe, tmp_path):
    """One of the two would silently never be searched."""
    options = settings(**FAST, index=first / "train.index", train_images=first / "images")
    with pytest.raises(MemdetectError, match="exclude each other: one index is searched"):
        scan([first / "prompts.txt"], pipe, tmp_path / "run", options)


def test_the_index_of_a_run_is_of_the_pictures_that_are_named(first, pipe, tmp_path):
    """Another folder, or other pictures in it, were never searched, and 100 % of the training set was claimed."""
    options = settings(**FAST, train_images=first / "images")
    assert scan([first / "prompts.txt"], pipe, tmp_path / "run", options).results[0].outcome == "copy"
    other = fill(tmp_path / "other", range(50, 60))
    with pytest.raises(MemdetectError, match="is an index of other pictures than those of"):
        scan([first / "prompts.txt"], pipe, tmp_path / "run", changed(options, train_images=other))
    shutil.copytree(first / "images", tmp_path / "images")
    scan([first / "prompts.txt"], pipe, tmp_path / "mine", changed(options, train_images=tmp_path / "images"))
    fill(tmp_path / "images", range(70, 71))
    with pytest.raises(MemdetectError, match="is not in it; choose another --out"):
        scan([first / "prompts.txt"], pipe, tmp_path / "mine", changed(options, train_images=tmp_path / "images"))


def test_what_ships_with_a_base_is_not_searched_for_its_fine_tune(tmp_path):
    shipped = tmp_path / "train.index"
    shipped.mkdir()
    assert searched_index(tmp_path, Lookup()) == shipped
    assert searched_index(tmp_path, Lookup(), tuned=True) is None
    assert searched_index(tmp_path, Lookup(index=shipped), tuned=True) == shipped
    assert searched_index(tmp_path, Lookup(search=False)) is None


def test_frames_behind_the_first_are_not_taken_for_seen(first, pipe, tmp_path):
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue", "green")]
    frames[0].paste("white", (4, 4, 20, 12))
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    options = settings(**FAST, index=first / "train.index", policy=Policy(fail_on="copy"))
    found = scan([tmp_path / "moving.gif"], pipe, tmp_path / "run", options)
    assert found.results[0].outcome == "inconclusive"
    assert "only the first of several frames was looked up" in found.results[0].reason
    assert found.verdict.exit == 3
    evidence = open_evidence(first / "train.index")
    (looked,) = look_up_files([tmp_path / "moving.gif"], evidence.index, evidence.embedder)
    assert (looked.outcome, looked.reason) == ("inconclusive", IN_PART)


def trained_folder(root: Path) -> Path:
    """Pictures in kohya's folders, one of them cut in half, one of another suffix, and an untrained one on top."""
    for number, name in enumerate(("10_sks dog/a.png", "10_sks dog/b.jfif", "2_cat/c", "2_cat/d.png", "top.png")):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        fill(root / "made", [number])
        (root / "made" / f"{number:04d}.png").rename(path)
    (root / "made").rmdir()
    (root / "top.txt").write_text("a house", encoding="utf-8")
    return root


def test_a_training_folder_is_searched_whole(pipe, tmp_path):
    """Every picture at any depth is in the index and its caption is scanned; one that cannot be read is missed."""
    folder = trained_folder(tmp_path / "train")
    requests = prompts_of(captioned(folder))
    assert [item.prompt for item in requests.items] == ["a house", "sks dog", "cat"]
    options = settings(**FAST, train_images=folder, policy=Policy(fail_on="copy"))
    whole = scan(requests, pipe, tmp_path / "whole", options)
    assert (whole.header.index["pictures"], whole.header.index["coverage"], whole.header.index["left_out"]) == (5, 1, 0)
    assert not [rule for rule in whole.verdict.rules if rule.name in ("left-out", "min-coverage")]
    (folder / "10_sks dog" / "a.png").write_bytes((folder / "10_sks dog" / "a.png").read_bytes()[:100])
    with pytest.raises(MemdetectError, match="is an index of other pictures"):
        scan(requests, pipe, tmp_path / "whole", options)
    part = scan(requests, pipe, tmp_path / "part", options)
    assert (part.header.index["pictures"], part.header.index["coverage"], part.header.index["left_out"]) == (4, 0.8, 1)
    rule = next(rule for rule in part.verdict.rules if rule.name == "left-out")
    assert (rule.outcome, part.verdict.verdict) == ("inconclusive", "inconclusive")
    assert "1 training images could not be taken into the index" in rule.reason
    for limit, outcome in ((0.5, "pass"), (0.9, "inconclusive")):
        judged = judge(part.header, part.results, None, Policy(fail_on="copy", min_coverage=limit))[1]
        assert {r.name: r.outcome for r in judged.rules if r.name in ("left-out", "min-coverage")} == {
            "min-coverage": outcome
        }


def test_an_index_without_a_threshold_makes_a_run_inconclusive(pipe, tmp_path):
    """A single picture has no other to be compared with: the run ends, and says that nothing can be called a copy."""
    build_index([fill(tmp_path / "images", [0])], load_embedder("pixels"), tmp_path / "i", WHOLE)
    (tmp_path / "p.txt").write_text("a cat\n")
    options = settings(**FAST, index=tmp_path / "i", policy=Policy(fail_on="copy"))
    found = scan([tmp_path / "p.txt"], pipe, tmp_path / "run", options)
    held = RunFolder(tmp_path / "run").header().index
    assert (held["similarity"], held["level"]) == (None, None)
    assert [row.outcome for row in found.results] == ["inconclusive"]
    rules = {rule.name: rule for rule in found.verdict.rules}
    assert rules["index"].outcome == "inconclusive"
    assert rules["index"].reason.startswith("the index has no threshold")


def test_given_images_hidden_by_transparency_are_copies(first, pipe, tmp_path):
    """Looked up by every decoding, and a note that says so; without an index nothing is said."""
    hidden = Image.open(first / "images" / "planted.png").convert("RGBA")
    hidden.putalpha(Image.new("L", hidden.size, 8))
    hidden.save(tmp_path / "hidden.png")
    found = scan([tmp_path / "hidden.png"], pipe, tmp_path / "run", settings(**FAST, index=first / "train.index"))
    assert found.results[0].outcome == "copy"
    assert found.results[0].notes == ["alpha composited on white", "looked up on white, on black and as stored"]
    found = scan([tmp_path / "hidden.png"], pipe, tmp_path / "plain", settings(**FAST))
    assert found.results[0].notes == ["alpha composited on white"]


def test_an_argument_that_the_pipeline_cannot_take_is_one_line(pipe, tmp_path, monkeypatch):
    """`--call clip_skip=1` is in the signature, and fails in the text encoder of some pipelines."""
    (tmp_path / "p.txt").write_text("a cat\n")

    whole = pipe.encode_prompt

    def broken(*args, **given):
        if given.get("clip_skip"):
            raise AttributeError("'Output' object has no attribute 'text_model'")
        return whole(*args, **given)

    monkeypatch.setattr(pipe, "encode_prompt", broken)
    with pytest.raises(
        MemdetectError, match=r"fails with the arguments clip_skip of --call \(AttributeError: 'Output'"
    ):
        scan([tmp_path / "p.txt"], pipe, tmp_path / "run", settings(**FAST, call={"clip_skip": 1}))
