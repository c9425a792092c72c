"""What signs in captions stand for, and which settings change captions."""

from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memdetect.errors import MemdetectError
from memdetect.inputs.spelling import MOST, spelled_out
from memdetect.inputs.trainer_settings import refuse_settings

WORDS = st.text(st.sampled_from("abc ,"), min_size=1, max_size=4)


@given(st.lists(st.one_of(WORDS, st.lists(WORDS, min_size=2, max_size=3)), min_size=1, max_size=5))
def test_choices_are_every_combination_and_the_caption_itself(parts: list[str | list[str]]):
    caption = "".join(part if isinstance(part, str) else "{" + "|".join(part) + "}" for part in parts)
    ways = [[part] if isinstance(part, str) else part for part in parts]
    every = {"".join(chosen) for chosen in product(*ways)} | {caption}
    if len(list(product(*ways))) > MOST:
        with pytest.raises(ValueError, match=f"at most {MOST} are scanned"):
            spelled_out(caption)
    else:
        assert spelled_out(caption)[0] == caption
        assert set(spelled_out(caption)) == every
        assert len(spelled_out(caption)) == len(every)


@pytest.mark.parametrize("caption", ["a dog", "{a}", "{{a}}", "a | b", "(a:1.2), [b]", "a; b;; c", "x || y"])
def test_other_signs_stand_for_themselves(caption: str):
    assert spelled_out(caption) == [caption]


def test_a_choice_may_be_of_nothing():
    assert spelled_out("{red |}dog") == ["{red |}dog", "red dog", "dog"]


SAYS = [
    ("a.toml", 'caption_prefix = "x, "', True),
    ("a.toml", "  caption_suffix='x'", True),
    ("a.toml", 'caption_prefix = ""', False),
    ("a.toml", '# caption_prefix = "x"', False),
    ("a.toml", 'my_caption_prefix = "x"', False),
    ("a.yaml", "    trigger_word: p3r5on", True),
    ("a.yml", '  - trigger_word: "x"', True),
    ("a.yaml", "trigger_word:\n  other: x", False),
    ("a.yaml", "trigger_word: null", False),
    ("a.json", '{"id": "a", "prepend_instance_prompt": true}', True),
    ("a.json", '[{"prepend_instance_prompt": false}]', False),
    ("a.txt", 'caption_prefix = "x, "', False),
    ("a.toml", "class_tokens = 'x'", None),
    ("a.json", '{"instance_prompt": "x"}', None),
    ("a.json", '{"instance_prompt": null}', False),
]


@pytest.mark.parametrize(("name", "text", "says"), SAYS)
@pytest.mark.parametrize("fallback", [False, True])
def test_settings_that_change_captions(tmp_path: Path, name: str, text: str, says: bool | None, fallback: bool):
    """None: only where pictures have no caption of their own."""
    (tmp_path / name).write_text(text)
    if says or (says is None and fallback):
        with pytest.raises(MemdetectError, match=f"{name}' says "):
            refuse_settings([tmp_path / name], [], fallback=fallback)
    else:
        refuse_settings([tmp_path / name], [], fallback=fallback)
    refuse_settings([tmp_path / name], [tmp_path / name], fallback=fallback)
