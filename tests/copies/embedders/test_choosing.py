"""`auto`: the index's, else the card's, else SSCD where it is found, else PDQ of crops with a warning."""

import pytest
import torch
from embedder_packages import stand_in

from memdetect.copies.embedders import Source, choose_embedder
from memdetect.copies.embedders.choosing import WEAK
from memdetect.errors import MemdetectError


@pytest.mark.parametrize(
    ("wanted", "index", "card", "expected"),
    [
        ("auto", "pixels", "pdq", "pixels"),
        ("auto", None, "pixels", "pixels"),
        ("auto", "pdq", None, "pdq"),
        ("pixels", None, "pdq", "pixels"),
        ("pixels", "pixels", "pdq", "pixels"),
        ("auto", None, "", "pdq-tiles"),
        ("auto", None, None, "pdq-tiles"),
    ],
)
def test_who_decides(wanted, index, card, expected, no_weights):
    embedder, line = choose_embedder(wanted, index=index, card=card)
    assert embedder.name == expected
    assert line == (WEAK if not (index or card or wanted != "auto") else "")


def test_the_warning_is_one_line_that_says_what_is_missed():
    assert "\n" not in WEAK
    assert "rotated, redrawn and largely replaced" in WEAK


def test_sscd_is_taken_where_its_weights_are_found(no_weights, sscd_state):
    folder = no_weights / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(sscd_state, folder / "sscd_disc_mixup.torchvision.pt")
    embedder, line = choose_embedder()
    assert (embedder.name, line) == ("sscd-288", "")


def test_the_model_brings_its_own(scenes_folder):
    embedder, _ = choose_embedder(card="scenes", source=Source(folder=scenes_folder))
    assert embedder.name == "scenes"


def test_an_index_of_another_embedder_is_refused():
    with pytest.raises(MemdetectError, match="made with the embedder 'pdq', not 'pixels'"):
        choose_embedder("pixels", index="pdq")


def test_the_packages_of_the_extra_come_before_the_fallback(no_weights, tmp_path, monkeypatch):
    stand_in(tmp_path, monkeypatch)
    embedder, line = choose_embedder()
    assert (embedder.name, embedder.dim, line) == ("sscd-int8", 512, "")
    with pytest.raises(MemdetectError, match="'sscd-int8' takes no --weights"):
        choose_embedder("sscd-int8", source=Source(weights=tmp_path / "sscd.onnx"))


def test_what_is_wrong_with_the_packages_is_said(no_weights, tmp_path, monkeypatch):
    with pytest.raises(MemdetectError, match="needs the extra `sscd`; on Python"):
        choose_embedder("sscd-int8")
    stand_in(tmp_path, monkeypatch)
    (tmp_path / "sscd.onnx").unlink()
    with pytest.raises(MemdetectError, match=r"holds no network that can be run: .*; install it anew"):
        choose_embedder("sscd-int8")
