"""Captions in the forms that trainers read: every caption of every picture is scanned, or one line refuses."""

from pathlib import Path

import pytest
from PIL import Image

from memdetect.errors import MemdetectError
from memdetect.inputs.captions import captioned


def put(folder: Path, files: dict[str, str | None]) -> Path:
    """Files of a folder: text, or for None a picture of its own colour."""
    for number, (name, text) in enumerate(files.items()):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if text is None:
            Image.new("RGB", (8, 8), (number, 0, 0)).save(path, format="PNG")
        else:
            path.write_text(text, encoding="utf-8")
    return folder


def found(folder: Path, instance: str | None = None) -> list[tuple[str, str]]:
    return [(str(picture.relative_to(folder)), caption) for picture, caption in captioned(folder, instance)]


FORMS: dict[str, tuple[dict[str, str | None], list[tuple[str, str]]]] = {
    "text beside": ({"a.png": None, "a.txt": "a cat"}, [("a.png", "a cat")]),
    "kohya's default": ({"a.png": None, "a.caption": "a cat\n"}, [("a.png", "a cat")]),
    "both": ({"a.png": None, "a.txt": "a dog", "a.caption": "a cat"}, [("a.png", "a dog"), ("a.png", "a cat")]),
    "repeats": ({"10_sks dog/a.png": None, "1_x/b.png": None}, [("10_sks dog/a.png", "sks dog"), ("1_x/b.png", "x")]),
    "repeats and text": ({"10_sks dog/a.png": None, "10_sks dog/a.txt": "it"}, [("10_sks dog/a.png", "it")]),
    "above": (
        {"train/a.png": None, "metadata.jsonl": '{"file_name": "train/a.png", "text": "a cat"}'},
        [("train/a.png", "a cat")],
    ),
    "below": (
        {"train/a.png": None, "train/metadata.jsonl": '{"file_name": "./a.png", "prompt": "a cat"}'},
        [("train/a.png", "a cat")],
    ),
    "table": ({"a.png": None, "metadata.csv": 'file_name,text\na.png,"a cat, a dog"\n'}, [("a.png", "a cat, a dog")]),
    "two rows": (
        {"a.png": None, "metadata.jsonl": "".join(f'{{"file_name": "a.png", "text": "{t}"}}\n' for t in "xyx")},
        [("a.png", "x"), ("a.png", "y")],
    ),
    "masks": (
        {"a.png": None, "a-masklabel.png": None, "a-condlabel.png": None, "a.txt": "a cat"},
        [("a.png", "a cat")],
    ),
    "no suffix": ({"a": None, "a.txt": "a cat", "b.jfif": None, "b.txt": "x"}, [("a", "a cat"), ("b.jfif", "x")]),
}


@pytest.mark.parametrize("form", FORMS)
def test_captions_are_those_that_were_trained_on(tmp_path, form):
    files, expected = FORMS[form]
    assert found(put(tmp_path, files)) == expected


def test_the_instance_prompt_is_for_pictures_without_a_caption(tmp_path):
    put(tmp_path, {"a.png": None, "a.txt": " \n", "b.png": None, "b.caption": "a cat", "3_dog/c.png": None})
    assert sorted(found(tmp_path, "sks")) == [("3_dog/c.png", "sks"), ("a.png", "sks"), ("b.png", "a cat")]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"deep/a.png": None}, "a.png' has no caption; .*; if it was not trained on, move it away"),
        ({"a.png": None, "a.txt": ""}, "has no caption"),
        ({"a-masklabel.png": None}, "has no caption"),
        ({"a.png": None, "metadata.csv": "file_name,label\na.png,3\n"}, "metadata.csv:2: expected an object with"),
        ({"a.png": None, "metadata.csv": 'file_name,text\n"a.png'}, "metadata.csv:1: is no table"),
        ({"a.png": None, "metadata.jsonl": '{"file_name": "b/../c.png", "text": "x"}'}, "c.png', which is not there"),
        ({"a.png": None, "a.txt": "x", "old.zip": ""}, "old.zip' is an archive"),
    ],
)
def test_what_cannot_be_told_is_refused(tmp_path, files, said):
    with pytest.raises(MemdetectError, match=said):
        found(put(tmp_path, files))
