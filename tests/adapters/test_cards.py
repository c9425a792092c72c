"""A card gives a scan its settings; one that does not parse is an error that names the file and the key."""

import pytest

from memdetect.adapters.cards import Card, read_card, set_default
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
        (b"steps = -5", "'steps': Input should be greater than or equal to 1"),
        (b"steps = 9999999999", "'steps': Input should be less than or equal to 10000"),
        (b"steps = true", "'steps': Input should be a valid integer"),
        (b"guidance_scale = nan", "'guidance_scale': Input should be a finite number"),
        (b"guidance_scale = inf", "'guidance_scale': Input should be a finite number"),
        (b"guidance_scale = 1e30", "'guidance_scale': Input should be less than or equal to 1000"),
        (b"num_seeds = 0", "'num_seeds': Input should be greater than or equal to 1"),
        (b"layers = []", "'layers': Tuple should have at least 1 item"),
        (b"timesteps = []", "'timesteps': Tuple should have at least 1 item"),
        (b"timesteps = [-1]", "'timesteps.0': Input should be greater than or equal to 0"),
        (b'dtype = "int8"', "'dtype': Input should be"),
        (b"name = " + b"[" * 5000, "is not valid TOML"),
        (b"name = 'a" + b"a" * 2**20 + b"'", "is no file of at most"),
    ],
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


def test_the_default_point_is_written_and_all_else_stays(tmp_path):
    text = '# a card\nname = "a"\nlayers = ["paper"]\nsteps = 20  # few\ntimesteps = [50]\n'
    (tmp_path / "card.toml").write_text(text, encoding="utf-8")
    set_default(tmp_path, ("up_blocks.0.*", "mid"), (400,), 'chosen "so"')
    expected = Card(name="a", steps=20, layers=("up_blocks.0.*", "mid"), timesteps=(400,), default='chosen "so"')
    assert read_card(tmp_path) == expected
    assert (tmp_path / "card.toml").read_text().startswith("# a card\n")
    assert "steps = 20  # few" in (tmp_path / "card.toml").read_text()


def test_a_default_is_written_where_there_is_no_card(tmp_path):
    set_default(tmp_path, ("mid",), (7,), "x")
    assert read_card(tmp_path) == Card(layers=("mid",), timesteps=(7,), default="x")


def test_a_card_that_spans_lines_is_not_mangled(tmp_path):
    text = "timesteps = [\n  50,\n]\n"
    (tmp_path / "card.toml").write_text(text, encoding="utf-8")
    with pytest.raises(MemdetectError, match="one line each"):
        set_default(tmp_path, ("mid",), (7,), "x")
    assert (tmp_path / "card.toml").read_text() == text
