"""A card gives a scan its settings; one that does not parse is an error that names the file and the key."""

import pytest

from memdetect.adapters.cards import Card, read_card
from memdetect.errors import Exit, MemdetectError


def test_a_model_without_a_card_has_the_papers_settings(tmp_path):
    for card in (read_card(None), read_card(tmp_path)):
        assert (card.layers, card.timesteps, card.default) == (("paper",), (50,), "paper default, untuned")


def test_a_card_is_read_and_keeps_the_defaults_that_it_does_not_name(tmp_path):
    (tmp_path / "card.toml").write_text(
        'name = "émoji"\nsteps = 20\nguidance_scale = 3\nlayers = ["mid_block", "up_blocks.1"]\ntimesteps = [10, 90]\n',
        encoding="utf-8",
    )
    assert read_card(tmp_path) == Card(
        name="émoji", steps=20, guidance_scale=3.0, layers=("mid_block", "up_blocks.1"), timesteps=(10, 90)
    )


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"steps = = 3", "is not valid TOML"),
        (b'name = "\xff"', "is not valid TOML"),
        (b"stesp = 3", "'stesp': Extra inputs are not permitted"),
        (b'steps = "many"', "'steps': Input should be a valid integer"),
        (b'timesteps = [50, "late"]', "'timesteps.1': Input should be a valid integer"),
    ],
    ids=["syntax", "encoding", "unknown-key", "type", "nested"],
)
def test_a_broken_card_is_an_error_of_one_line(tmp_path, content, complaint):
    path = tmp_path / "card.toml"
    path.write_bytes(content)
    with pytest.raises(MemdetectError) as caught:
        read_card(tmp_path)
    assert str(path) in str(caught.value)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit is Exit.USAGE
