"""`auto`: the index's, else the card's, else SSCD where it is found, else PDQ with a warning."""

import pytest
import torch

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
        ("auto", None, "", "pdq"),
        ("auto", None, None, "pdq"),
    ],
)
def test_who_decides(wanted, index, card, expected, no_weights):
    embedder, line = choose_embedder(wanted, index=index, card=card)
    assert embedder.name == expected
    assert line == (WEAK if not (index or card or wanted != "auto") else "")


def test_the_warning_is_one_line_that_says_what_is_missed():
    assert "\n" not in WEAK
    assert "cropped, mirrored" in WEAK


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
