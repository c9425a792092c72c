"""Captions in the forms that trainers read: every caption of every picture is scanned, or one line refuses."""

import json
import os
import unicodedata
from pathlib import Path

import pytest
from PIL import Image

from memdetect.errors import MemdetectError
from memdetect.inputs.captions import captioned, prompts_of


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
    "repeats and text": (
        {"10_sks dog/a.png": None, "10_sks dog/a.txt": "it"},
        [("10_sks dog/a.png", "it"), ("10_sks dog/a.png", "sks dog")],
    ),
    "repeats and captions": ({"10_sks dog/a.png": None, "10_sks dog/a.caption": "it"}, [("10_sks dog/a.png", "it")]),
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
    "a list, of which diffusers picks one": (
        {"a.png": None, "metadata.jsonl": '{"file_name": "a.png", "text": ["a cat", "a dog"]}'},
        [("a.png", "a cat"), ("a.png", "a dog")],
    ),
    "three columns": (
        {"a.png": None, "metadata.jsonl": '{"file_name": "a.png", "text": "x", "Prompt": "y", "caption": null}'},
        [("a.png", "x"), ("a.png", "y")],
    ),
    "three columns of a table": (
        {"a.png": None, "metadata.csv": "file_name,prompt,text\na.png,x,y\n"},
        [("a.png", "x"), ("a.png", "y")],
    ),
    "blanks in a table": (
        {"a.png": None, "a.txt": "x", "metadata.csv": 'file_name,text\na.png," "\n'},
        [("a.png", "x")],
    ),
    "lines": ({"a.png": None, "a.txt": "x\n\n y  z \n"}, [("a.png", "x"), ("a.png", "y z"), ("a.png", "x y z")]),
    "capitals": ({"s/a.png": None, "s/a.TXT": "x"}, [("s/a.png", "x")]),
    "after the suffix": ({"s/a.png": None, "s/a.png.txt": "x"}, [("s/a.png", "x")]),
    "cap": ({"10_s/a.png": None, "10_s/a.cap": "x"}, [("10_s/a.png", "x")]),
    "json beside": (
        {"10_s/a.png": None, "10_s/a.json": '{"caption": "x", "tags": "y, z", "width": 8}'},
        [("10_s/a.png", "x, y, z"), ("10_s/a.png", "x"), ("10_s/a.png", "y, z")],
    ),
    "kohya's meta": (
        {"10_s/a.png": None, "10_s/b.png": None, "meta_cap.json": '{"10_s/a": {"caption": "x"}, "b": {"tags": "y"}}'},
        [("10_s/a.png", "x"), ("10_s/b.png", "y")],
    ),
    "caches and settings": ({"dataset.toml": "", "10_s/a.png": None, "10_s/a.npz": ""}, [("10_s/a.png", "s")]),
    "dots": ({"v1.5 x": None, "v1.5 x.txt": "x"}, [("v1.5 x", "x")]),
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
        (
            {"a.png": None, "metadata.csv": "file_name,label\na.png,3\n"},
            "metadata.csv', line 2: expected an object with",
        ),
        ({"a.png": None, "metadata.csv": 'file_name,text\n"a.png'}, "metadata.csv', line 2: broken table"),
        ({"a.png": None, "metadata.jsonl": '{"file_name": "b/../c.png", "text": "x"}'}, "c.png', which is not there"),
        ({"a.png": None, "a.txt": "x", "old.zip": ""}, "old.zip' is an archive"),
        (
            {"a.png": None, "metadata.csv": "file_name,text\na.png,a cat, a dog\n"},
            "line 2: broken table .3 cells under",
        ),
        (
            {"a.png": None, "metadata.csv": "file_name,text,text\na.png,x,y\n"},
            "line 2: broken table .a name is there twice",
        ),
        *(
            ({"a.png": None, "metadata.jsonl": f'{{"file_name": "a.png", "text": {text}}}'}, f"line 1: {said}")
            for text, said in {
                '{"en": "x"}': "text is .*, expected a text or a list",
                "5": "text is 5, expected a text",
                "true": "text is True, expected a text",
                '["x", 5]': "text is .*, expected a text or a list",
                "NaN": ".*not finite",
                '"\\ud800"': "a lone surrogate",
            }.items()
        ),
        ({"a.png": None, "a.txt": "a\0b"}, "a.png': the caption holds a NUL character"),
        ({"a.png": None, "a.txt": "x" * (2**20 + 1)}, "the caption has 1,048,577 characters, more than 1,048,576"),
    ],
)
def test_what_cannot_be_told_is_refused(tmp_path, files, said):
    with pytest.raises(MemdetectError, match=said):
        found(put(tmp_path, files))


UNREAD = {
    "10_s/a.tags": "x",
    "10_s/a.json": '{"shapes": []}',
    "meta_lat.json": '{"other": {"caption": "x"}}',
    "metadata.json": '[{"file_name": "a.png", "text": "x"}]',
    "metadata.tsv": "file_name\ttext\n",
    "Metadata.jsonl": "{}",
    "10_s/captions.csv": "file_name,text\n",
    "captions.txt": "a.png: x",
    "metadata.csv": "file_name,text\n",
    "captions.json": "{}",
}


@pytest.mark.parametrize("name", UNREAD)
@pytest.mark.parametrize("instance", [None, "sks"])
def test_no_fallback_where_captions_may_lie_that_are_not_read(tmp_path, name, instance):
    """A folder's name, or an instance prompt, is not what a picture was trained on if it has captions of its own."""
    put(tmp_path, {"10_s/a.png": None, name: UNREAD[name]})
    with pytest.raises(
        MemdetectError, match=f"{name}' may hold captions of 'a.png', which were not found in it; write"
    ):
        found(tmp_path, instance)
    put(tmp_path, {"10_s/a.txt": "a cat"})
    assert found(tmp_path, instance) == [("10_s/a.png", "a cat"), ("10_s/a.png", "s")]


def test_a_caption_that_is_a_link_to_nowhere_is_refused(tmp_path):
    put(tmp_path, {"10_s/a.png": None})
    (tmp_path / "10_s" / "a.txt").symlink_to("/nowhere/a.txt")
    with pytest.raises(MemdetectError, match=r"a\.txt cannot be read as UTF-8 text"):
        found(tmp_path)


def test_a_folder_of_two_names_has_both_captions(tmp_path):
    put(tmp_path, {"10_x/a.png": None, "1_z/b.png": None})
    (tmp_path / "5_y").symlink_to("10_x")
    assert found(tmp_path) == [("10_x/a.png", "x"), ("10_x/a.png", "y"), ("1_z/b.png", "z")]


def test_one_caption_in_two_unicode_forms_is_one_request(tmp_path):
    forms = [unicodedata.normalize(form, "caf\u00e9") for form in ("NFC", "NFD")]
    put(tmp_path, {"a.png": None, "a.txt": forms[0], "b.png": None, "b.txt": forms[1]})
    requests = prompts_of(captioned(tmp_path))
    assert [(r.prompt, r.source) for r in requests.items] == [(forms[0], str(tmp_path / "a.png"))]
    assert requests.repeated == 1


def test_a_name_that_is_not_utf8_is_one_line(tmp_path):
    put(tmp_path, {"a.png": None})
    (tmp_path / "a.png").rename(os.fsdecode(bytes(tmp_path) + b"/\xff.png"))
    with pytest.raises(MemdetectError, match="a name that is not UTF-8 cannot be written to the records; rename"):
        found(tmp_path, "sks")


@pytest.mark.parametrize("name", ["train.jsonl", "data.csv", "captions/a.txt", "labels.json", "dataset.tsv"])
def test_no_fallback_where_texts_lie_that_go_with_no_picture(tmp_path, name):
    put(tmp_path, {"10_sks dog/a.png": None, name: "a red cat"})
    with pytest.raises(MemdetectError, match=r"may hold captions of 'a\.png', which were not found in it"):
        found(tmp_path, "sks")
    put(tmp_path, {"10_sks dog/a.txt": "a red cat"})
    assert found(tmp_path, "sks") == [("10_sks dog/a.png", "a red cat"), ("10_sks dog/a.png", "sks dog")]


def test_a_readme_holds_no_captions(tmp_path):
    put(tmp_path, {"a.png": None, "README.txt": "about", "LICENSE.txt": "MIT", "train_config.json": "{}"})
    assert found(tmp_path, "sks") == [("a.png", "sks")]


def test_a_caption_of_signs_that_show_nothing_is_none(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("\u3164 \u2800\n\u200b\n", encoding="utf-8")
    with pytest.raises(MemdetectError, match=r"a\.png' has no caption"):
        captioned(tmp_path)
    assert captioned(tmp_path, "a sks") == [(tmp_path / "a.png", "a sks")]


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_accents_may_be_written_apart_in_one_name_and_together_in_the_other(tmp_path, forms):
    picture, other = (unicodedata.normalize(form, "caf\u00e9") for form in forms)
    Image.new("RGB", (8, 8)).save(tmp_path / f"{picture}.png")
    (tmp_path / f"{other}.txt").write_text("a cup", encoding="utf-8")
    row = {"file_name": f"{other}.png", "text": "a table"}
    (tmp_path / "metadata.jsonl").write_text(json.dumps(row), encoding="utf-8")
    assert {caption for _, caption in captioned(tmp_path)} == {"a cup", "a table"}


@pytest.mark.parametrize("list_name", ["metadata.jsonl", "metadata.csv", "meta_cap.json"])
@pytest.mark.parametrize("named", ["a.png", "ABSOLUTE"])
@pytest.mark.parametrize("given", ["x/../photos", "photos/../x/../photos", "./photos", "photos/"])
def test_a_folder_is_found_by_whatever_path_it_is_given(list_name, named, given, tmp_path, monkeypatch):
    """A list is compared by paths, which can be spelt in many ways."""
    (tmp_path / "x").mkdir()
    put(tmp_path, {"photos/a.png": None})
    name = str(tmp_path / "photos" / "a.png") if named == "ABSOLUTE" else named
    texts = {
        "metadata.jsonl": json.dumps({"file_name": name, "text": "a cat"}) + "\n",
        "metadata.csv": f"file_name,text\n{name},a cat\n",
        "meta_cap.json": json.dumps({name: {"caption": "a cat"}}),
    }
    put(tmp_path, {f"photos/{list_name}": texts[list_name]})
    monkeypatch.chdir(tmp_path)
    for folder in (Path(given), Path(f"{tmp_path}/{given}")):
        assert found(folder) == [("a.png", "a cat")]
