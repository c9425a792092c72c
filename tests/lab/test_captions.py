"""General captions: unique ideas, four styles, made again from the seed."""

import json
from collections import Counter

import numpy as np
import pytest

from memdetect.errors import MemdetectError
from memdetect.inputs.prompts import read
from memdetect.lab.world import captions


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    out = tmp_path_factory.mktemp("captions") / "general.jsonl"
    captions.write_captions(out, 2000, 0)
    return [json.loads(line) for line in out.read_text().splitlines()]


def test_styles_take_turns_and_no_caption_repeats(rows):
    assert Counter(row["style"] for row in rows) == dict.fromkeys(captions.STYLES, 500)
    for key in ("id", "prompt", "family"):
        assert len({row[key] for row in rows}) == 2000


def test_no_two_ideas_share_thing_shape_fellow_and_place():
    found = captions.ideas(np.random.default_rng(0), 3000)
    assert len({(i.thing, i.shape, i.fellow, i.place) for i in found}) == 3000


def test_each_word_is_used_and_listed_once(rows):
    text = "\n".join(row["prompt"] for row in rows).lower()
    for words in (captions.THINGS, captions.SHAPES, captions.STUFFS, captions.PLACES):
        assert len(set(words)) == len(words)
        assert [w for w in words if w.lower() not in text] == []


def test_a_caption_keeps_its_whole_idea_in_every_style():
    idea = captions.Idea("kettle", "owl", "cork", "a pile of turnips", "a salt mine")
    for style in captions.STYLES:
        text = captions.caption(np.random.default_rng(1), idea, style).lower()
        assert all(part in text for part in ("kettle", "owl", "cork", "pile of turnips", "a salt mine")), style
    assert "an owl" in captions.caption(np.random.default_rng(1), idea, "plain")


def test_equal_seeds_give_equal_files_which_scan_can_read(rows, tmp_path):
    captions.write_captions(tmp_path / "again.jsonl", 2000, 0)
    captions.write_captions(tmp_path / "other.jsonl", 2000, 1)
    again = read([str(tmp_path / "again.jsonl")])
    assert [r.prompt for r in again.items] == [row["prompt"] for row in rows]
    assert again.items[5].meta == {"style": "product", "family": "idea-00005"}
    assert {r.prompt for r in read([str(tmp_path / "other.jsonl")]).items}.isdisjoint({row["prompt"] for row in rows})


@pytest.mark.parametrize("count", [0, 10**9])
def test_counts_that_cannot_be_made_are_refused(count, tmp_path):
    with pytest.raises(MemdetectError, match="captions were asked for"):
        captions.write_captions(tmp_path / "x.jsonl", count, 0)
