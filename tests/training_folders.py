"""Training folders as trainers and tools write them, made by code, each with what was trained on.

What the forms mean is taken from what the projects say of themselves; nothing is read by the code under test.
"""

import csv
import io
import json
import random
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

Trained = list[tuple[str, str]]  # pictures, as seen from the folder, with a caption each

WORDS = ("red", "caf\u00e9", "dog", "two bears", 'a "sign"', "1girl", "\u732b", "on top; of it", "5|6", "a, b")


@dataclass(frozen=True)
class Refused:
    """A folder that one line refuses; said: what it says, as a pattern. instance: given as --instance-prompt."""

    said: str
    instance: str | None = None


@dataclass(frozen=True)
class With:
    """What was trained on with an instance prompt."""

    trained: Trained
    instance: str


@dataclass(frozen=True)
class Form:
    """A kind of folder: which row of the page tells of it, and what makes it."""

    row: str
    make: Callable[["Folder"], Trained | Refused | With]


class Folder:
    """A folder that is filled: pictures of a colour each, texts, captions of random words."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.random = random.Random(7)
        self.count = 0

    def file(self, name: str) -> Path:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def picture(self, name: str) -> str:
        self.count += 1
        format = "JPEG" if name.endswith((".jpg", ".jpeg")) else "PNG"
        Image.new("RGB", (8, 8), (self.count * 5, 255 - self.count * 5, 90)).save(self.file(name), format=format)
        return name

    def text(self, name: str, text: str, encoding: str = "utf-8") -> None:
        self.file(name).write_bytes(text.encode(encoding))

    def caption(self) -> str:
        return " ".join(self.random.sample(WORDS, 3))

    def pairs(self, names: Sequence[str], suffix: str = ".txt", encoding: str = "utf-8") -> Trained:
        """Pictures with a caption each in a file beside them."""
        made = [(self.picture(name), self.caption().replace("\u732b", "cat")) for name in names]
        for name, caption in made:
            self.text(str(Path(name).with_suffix(suffix)), caption, encoding)
        return sorted(made)


FOLDERS: dict[str, Form] = {}


def form(row: str) -> Callable[[Callable[[Folder], Trained | Refused | With]], None]:
    def add(make: Callable[[Folder], Trained | Refused | With]) -> None:
        FOLDERS[make.__name__] = Form(row, make)

    return add


# ai-toolkit


@form("ai-toolkit")
def ai_toolkit_texts(folder: Folder) -> Trained:
    return folder.pairs(["a.jpg", "b.png", "c.jpeg"])


@form("ai-toolkit")
def ai_toolkit_json(folder: Folder) -> Trained:
    folder.picture("a.jpg")
    folder.text("a.json", json.dumps({"caption": "a red dog", "points_of_interest": [[0, 1]]}))
    return [("a.jpg", "a red dog")]


@form("ai-toolkit")
def ai_toolkit_structured_captions(folder: Folder) -> Refused:
    """The whole of the file is the caption then."""
    folder.picture("10_x/a.jpg")
    folder.text("10_x/a.json", json.dumps({"scene": {"subject": "a dog"}, "style": "photo"}))
    return Refused(r"a\.json' may hold captions of 'a\.jpg', which were not found in it", "sks")


@form("ai-toolkit")
def ai_toolkit_trigger_in_captions(folder: Folder) -> Refused:
    folder.picture("a.jpg")
    folder.text("a.txt", "[trigger] on a beach")
    return Refused(r"a\.jpg': the caption .* holds \[trigger\], in the place of which training put a word; write that")


@form("ai-toolkit")
def ai_toolkit_trigger_in_settings(folder: Folder) -> Refused:
    folder.pairs(["a.jpg", "b.jpg"])
    folder.text("lora.yaml", 'job: extension\nconfig:\n  process:\n    - trigger_word: "p3r5on"\n')
    return Refused("lora.yaml' says trigger_word, which changes captions in training; write the captions as they were")


@form("ai-toolkit")
def ai_toolkit_without_a_trigger(folder: Folder) -> Trained:
    folder.text("lora.yaml", '    - type: sd_trainer\n#     trigger_word: "p3r5on"\n      trigger_word: ""\n')
    return folder.pairs(["a.jpg", "b.jpg"])


@form("ai-toolkit")
def ai_toolkit_default_caption(folder: Folder) -> Refused:
    folder.pairs(["a.jpg"])
    folder.picture("10_x/b.jpg")
    folder.text("config.yaml", "datasets:\n  - folder_path: /x\n    default_caption: a red dog\n")
    return Refused("says default_caption, the caption of pictures that have none; give it as --instance-prompt: a red")


@form("ai-toolkit")
def ai_toolkit_default_caption_given(folder: Folder) -> With:
    trained = folder.pairs(["a.jpg"])
    folder.picture("b.jpg")
    folder.text("config.yaml", "datasets:\n  - folder_path: /x\n    default_caption: a red dog\n")
    return With([*trained, ("b.jpg", "a red dog")], "a red dog")


# kohya sd-scripts


@form("kohya sd-scripts, DreamBooth")
def kohya_class_tokens_in_names(folder: Folder) -> Trained:
    names = ["10_sks dog/a.png", "10_sks dog/b.png", "1_dog/c.png"]
    return [(folder.picture(name), name.partition("/")[0].partition("_")[2]) for name in names]


@form("kohya sd-scripts, DreamBooth")
def kohya_caption_files(folder: Folder) -> Trained:
    trained = folder.pairs(["10_sks dog/a.png", "10_sks dog/b.webp"], ".caption")
    return [*trained, (folder.picture("10_sks dog/c.png"), "sks dog")]


@form("kohya sd-scripts, DreamBooth")
def kohya_texts_and_caches(folder: Folder) -> Trained:
    """Without --caption_extension .txt the texts are not read, and the names are trained on."""
    trained = [*folder.pairs(["10_sks dog/a.png"]), ("10_sks dog/a.png", "sks dog")]
    folder.file("10_sks dog/a_0512x0512_sd.npz").write_bytes(b"PK\x03\x04")
    folder.file("10_sks dog/a.npz").write_bytes(b"PK\x03\x04")
    folder.text("sample.log", "loss 0.1\n")
    return trained


@form("kohya sd-scripts, DreamBooth")
def kohya_images_below_the_second_level(folder: Folder) -> Refused:
    """A folder without a number has no caption, whatever lies above it."""
    folder.picture("10_sks dog/more/a.png")
    return Refused(r"a\.png' has no caption; write it into a\.txt")


@form("kohya sd-scripts, fine-tuning")
def kohya_meta_captions(folder: Folder) -> Trained:
    trained = [(folder.picture(name), folder.caption()) for name in ("a.png", "b.png")]
    folder.text("meta_cap.json", json.dumps({Path(name).stem: {"caption": caption} for name, caption in trained}))
    return trained


@form("kohya sd-scripts, fine-tuning")
def kohya_meta_with_full_paths_and_tags(folder: Folder) -> Trained:
    folder.picture("img/a.png")
    folder.picture("img/b.png")
    held = {
        str(folder.path / "img" / "a.png"): {"caption": "a dog", "tags": "outdoors, grass", "train_resolution": [8, 8]},
        str(folder.path / "img" / "b.png"): {"tags": "indoors"},
    }
    folder.text("meta_lat.json", json.dumps(held))
    every = ["a dog, outdoors, grass", "a dog", "outdoors, grass"]
    return [*(("img/a.png", text) for text in every), ("img/b.png", "indoors")]


@form("kohya sd-scripts, fine-tuning")
def kohya_meta_of_several_lines(folder: Folder) -> Trained:
    folder.picture("a.png")
    folder.text("meta_cap.json", json.dumps({"a.png": {"caption": "a frog\na cartoon", "tags": "green"}}))
    lines = ["a frog", "a cartoon", "a frog a cartoon"]
    return [*(("a.png", f"{line}, green") for line in lines), *(("a.png", line) for line in (*lines, "green"))]


@form("kohya sd-scripts, fine-tuning")
def kohya_meta_of_some_pictures(folder: Folder) -> Refused:
    folder.picture("10_x/a.png")
    folder.picture("10_x/b.png")
    folder.text("meta_cap.json", json.dumps({"a": {"caption": "a dog"}}))
    return Refused(r"meta_cap\.json' has captions of pictures, and none of '.*b\.png'; add it, give --instance-prompt")


@form("kohya sd-scripts, fine-tuning")
def kohya_meta_of_none(folder: Folder) -> Refused:
    folder.picture("10_x/a.png")
    folder.text("meta_cap.json", json.dumps({"c": {"caption": "a dog"}}))
    return Refused(r"meta_cap\.json' may hold captions of 'a\.png', which were not found in it")


@form("kohya's signs in captions")
def kohya_lines_of_wildcards(folder: Folder) -> Trained:
    folder.picture("a.png")
    folder.text("a.txt", "1girl, {simple|white} background, {{retro}}\n")
    caption = "1girl, {simple|white} background, {{retro}}"
    ways = [f"1girl, {way} background, {{retro}}" for way in ("simple", "white")]
    return [("a.png", text) for text in (caption, *ways)]


@form("kohya's signs in captions")
def kohya_separators(folder: Folder) -> Trained:
    folder.picture("a.png")
    folder.text("a.txt", "1girl, miku ||| stage, sky;;;cloud ||| best quality")
    folder.picture("b.png")
    folder.text("b.txt", "plain {tag}")
    every = ["1girl, miku ||| stage, sky;;;cloud ||| best quality", "1girl, miku, stage, sky,cloud, best quality"]
    return [*(("a.png", text) for text in every), ("b.png", "plain {tag}")]


@form("kohya's signs in captions")
def kohya_wildcards_without_end(folder: Folder) -> Refused:
    folder.picture("a.png")
    folder.text("a.txt", " ".join(["{a|b|c}"] * 4))
    return Refused(r"a\.png': the caption .* stands for 81 captions, at most 32 are scanned; write those that matter")


@form("kohya's dataset config")
def kohya_config_that_says_nothing_of_captions(folder: Folder) -> Trained:
    config = (
        '[general]\ncaption_extension = ".txt"\n[[datasets]]\nresolution = 512\n[[datasets.subsets]]\nnum_repeats = 2\n'
    )
    folder.text("dataset.toml", config)
    return folder.pairs(["a.png", "b.png"])


@form("kohya's dataset config")
def kohya_config_with_a_prefix(folder: Folder) -> Refused:
    folder.pairs(["a.png"])
    folder.text("dataset.toml", '[[datasets.subsets]]\n  caption_prefix = "masterpiece, "\n')
    return Refused("dataset.toml' says caption_prefix, which changes captions in training")


@form("kohya's dataset config")
def kohya_config_with_class_tokens(folder: Folder) -> Refused:
    """Where a config is given, sd-scripts do not read the names of folders."""
    folder.picture("10_sks dog/a.png")
    folder.text("dataset.toml", "[[datasets.subsets]]\nimage_dir = 'x'\nclass_tokens = 'hoge girl'\n")
    return Refused(
        "says class_tokens, the caption of pictures that have none; give it as --instance-prompt: 'hoge girl'"
    )


# OneTrainer


@form("OneTrainer")
def onetrainer_lines(folder: Folder) -> Trained:
    folder.picture("more/a.png")
    folder.text("more/a.txt", "a dog\na red dog\n")
    return [("more/a.png", text) for text in ("a dog", "a red dog", "a dog a red dog")]


@form("OneTrainer")
def onetrainer_masks(folder: Folder) -> Trained:
    trained = folder.pairs(["a.png", "b.png"])
    folder.picture("a-masklabel.png")
    folder.picture("b-condlabel.png")
    return trained


@form("OneTrainer")
def onetrainer_beside_what_a_mac_leaves(folder: Folder) -> Trained:
    trained = folder.pairs(["1.jpg", "2.JPG"])
    for name in ("._1.jpg", "._1.txt", ".DS_Store", "__MACOSX/._1.jpg"):
        folder.file(name).write_bytes(b"\0\x05\x16\x07")
    return trained


@form("OneTrainer")
def onetrainer_names_of_pictures(folder: Folder) -> Refused:
    folder.picture("a red dog.png")
    return Refused(r"a red dog\.png' has no caption; write it into a red dog\.txt")


@form("OneTrainer")
def onetrainer_one_text_for_all(folder: Folder) -> Refused:
    folder.picture("a.png")
    folder.text("prompts.txt", "a dog\na red dog\n")
    return Refused(r"prompts\.txt' may hold captions of 'a\.png', which were not found in it", "a dog")


# SimpleTuner


@form("SimpleTuner")
def simpletuner_texts(folder: Folder) -> Trained:
    return folder.pairs(["deep/down/a.png", "b.jpg"])


@form("SimpleTuner")
def simpletuner_instance_prompt(folder: Folder) -> With:
    names = [folder.picture(name) for name in ("a.png", "b/c.png")]
    backend = [{"instance_prompt": "a sks dog", "caption_strategy": "instanceprompt"}]
    folder.text("multidatabackend.json", json.dumps(backend, indent=2))
    return With([(name, "a sks dog") for name in names], "a sks dog")


@form("SimpleTuner")
def simpletuner_instance_prompt_in_settings(folder: Folder) -> Refused:
    folder.picture("10_x/a.png")
    folder.text(
        "multidatabackend.json", json.dumps([{"caption_strategy": "instanceprompt", "instance_prompt": "a sks"}])
    )
    return Refused(
        'says instance_prompt, the caption of pictures that have none; give it as --instance-prompt: "a sks"'
    )


@form("SimpleTuner")
def simpletuner_prompt_before_captions(folder: Folder) -> Refused:
    folder.pairs(["a.png"])
    folder.text("multidatabackend.json", json.dumps([{"prepend_instance_prompt": True, "instance_prompt": "sks"}]))
    return Refused("says prepend_instance_prompt, which changes captions in training")


@form("SimpleTuner")
def simpletuner_names_of_pictures(folder: Folder) -> Refused:
    folder.picture("a-red-dog.png")
    return Refused(r"a-red-dog\.png' has no caption")


@form("SimpleTuner")
def simpletuner_parquet(folder: Folder) -> Refused:
    folder.picture("a.png")
    folder.file("captions.parquet").write_bytes(b"PAR1")
    return Refused(r"captions\.parquet' is a table that may hold pictures, in which nothing is looked at")


# diffusers and datasets


def rows(*made: tuple[str, object], column: str = "text") -> str:
    return "".join(json.dumps({"file_name": name, column: text}, ensure_ascii=False) + "\n" for name, text in made)


@form("diffusers scripts, with metadata")
def diffusers_metadata(folder: Folder) -> Trained:
    trained = [(folder.picture(f"train/{name}"), folder.caption()) for name in ("0001.png", "0002.png")]
    folder.text("train/metadata.jsonl", rows(*((Path(name).name, caption) for name, caption in trained)))
    return trained


@form("diffusers scripts, with metadata")
def diffusers_metadata_of_several_captions(folder: Folder) -> Trained:
    folder.picture("a.png")
    folder.picture("b.png")
    folder.text("metadata.jsonl", rows(("a.png", ["a dog", "a red dog"]), ("./b.png", "x"), ("b.png", "y")))
    return [("a.png", "a dog"), ("a.png", "a red dog"), ("b.png", "x"), ("b.png", "y")]


@form("DiffSynth-Studio, musubi-tuner")
def diffsynth_table(folder: Folder) -> Trained:
    trained = [(folder.picture(name), folder.caption()) for name in ("a.png", "b.png")]
    text = io.StringIO()
    csv.writer(text).writerows([("image", "prompt"), *trained])
    folder.text("metadata.csv", text.getvalue())
    return trained


@form("DiffSynth-Studio, musubi-tuner")
def musubi_list_of_full_paths(folder: Folder) -> Trained:
    folder.picture("img/a.png")
    row = {"image_path": str(folder.path / "img" / "a.png"), "caption": "a dog"}
    folder.text("metadata.jsonl", json.dumps(row) + "\n")
    return [("img/a.png", "a dog")]


@form("DiffSynth-Studio, musubi-tuner")
def musubi_list_by_another_name(folder: Folder) -> Refused:
    folder.picture("10_x/a.png")
    folder.text("images.jsonl", json.dumps({"image_path": "10_x/a.png", "caption": "a dog"}))
    return Refused(r"images\.jsonl' may hold captions of 'a\.png', which were not found in it", "sks")


@form("diffusers scripts, with metadata")
def diffusers_metadata_of_another_column(folder: Folder) -> Refused:
    folder.picture("a.png")
    folder.text("metadata.jsonl", rows(("a.png", "a dog"), column="blip_caption"))
    return Refused("line 1: expected an object with file_name and prompt, caption or text")


@form("diffusers scripts, with metadata")
def diffusers_metadata_of_a_picture_that_is_gone(folder: Folder) -> Refused:
    folder.picture("a.png")
    folder.text("metadata.jsonl", rows(("a.png", "a dog"), ("b.png", "a cat")))
    return Refused(r"line 2: names '.*b\.png', which is not there; remove the row")


@form("diffusers scripts, with metadata")
def diffusers_metadata_seen_from_another_folder(folder: Folder) -> Refused:
    folder.picture("train/a.png")
    folder.text("train/metadata.jsonl", rows(("train/a.png", "a dog")))
    return Refused(r"which is not there; '.*train/a\.png' is: correct file_name, seen from the folder of the list")


@form("diffusers scripts, with metadata")
def diffusers_metadata_of_a_misspelt_suffix(folder: Folder) -> Refused:
    folder.picture("10_x/a.png")
    folder.text("metadata.json1", rows(("10_x/a.png", "a dog")))
    return Refused(r"metadata\.json1' may hold captions of 'a\.png', which were not found in it", "sks")


@form("diffusers scripts, with metadata")
def diffusers_metadata_of_some_pictures(folder: Folder) -> Refused:
    folder.picture("a.png")
    folder.picture("b.png")
    folder.text("metadata.jsonl", rows(("a.png", "a dog")))
    return Refused(r"metadata\.jsonl' has captions of pictures, and none of '.*b\.png'; add it, give --instance-prompt")


@form("diffusers scripts, with metadata")
def metadata_by_another_name_and_columns(folder: Folder) -> Refused:
    folder.picture("images/212734.png")
    folder.text("metadata1000.jsonl", json.dumps({"caption": "a shirt", "image": "images/212734.png"}))
    return Refused(r"metadata1000\.jsonl' may hold captions of '212734\.png', which were not found in it", "sks")


@form("diffusers scripts, DreamBooth")
def diffusers_dreambooth(folder: Folder) -> With:
    return With([(folder.picture(name), "a photo of sks dog") for name in ("a.jpg", "b.jpg")], "a photo of sks dog")


@form("diffusers scripts, DreamBooth")
def diffusers_dreambooth_without_its_prompt(folder: Folder) -> Refused:
    folder.picture("a.jpg")
    return Refused(r"a\.jpg' has no caption; .* or give --instance-prompt")


@form("diffusers scripts, DreamBooth")
def diffusers_dreambooth_beside_captions(folder: Folder) -> With:
    trained = folder.pairs(["a.jpg"])
    return With([*trained, (folder.picture("b.jpg"), "sks")], "sks")


@form("imagefolder")
def imagefolder_table(folder: Folder) -> Trained:
    trained = [(folder.picture(f"train/{name}"), folder.caption()) for name in ("a.png", "b.png")]
    text = io.StringIO()
    csv.writer(text).writerows([("file_name", "text"), *trained])
    folder.text("metadata.csv", text.getvalue())
    return trained


@form("imagefolder")
def imagefolder_spreadsheet(folder: Folder) -> Trained:
    """As spreadsheets save a table: a byte order mark, `;` and \\r\\n."""
    trained = [(folder.picture(name), caption) for name, caption in (("a.png", "a; b"), ("b.png", "caf\u00e9"))]
    text = io.StringIO()
    csv.writer(text, delimiter=";").writerows([("file_name", "text"), *trained])
    folder.text("metadata.csv", text.getvalue(), "utf-8-sig")
    return trained


@form("imagefolder")
def imagefolder_classes(folder: Folder) -> Refused:
    folder.picture("train/dog/a.png")
    return Refused(r"a\.png' has no caption")


@form("imagefolder")
def imagefolder_parquet(folder: Folder) -> Refused:
    folder.picture("train/a.png")
    folder.file("train/metadata.parquet").write_bytes(b"PAR1")
    return Refused(r"metadata\.parquet' is a table that may hold pictures", "sks")


@form("imagefolder")
def imagefolder_ndjson(folder: Folder) -> Refused:
    folder.picture("10_x/a.png")
    folder.text("metadata.ndjson", rows(("10_x/a.png", "a dog")))
    return Refused(r"metadata\.ndjson' may hold captions of 'a\.png'", "sks")


@form("imagefolder")
def imagefolder_zip(folder: Folder) -> Refused:
    folder.pairs(["a.png"])
    folder.file("train.zip").write_bytes(b"PK\x03\x04")
    return Refused(r"train\.zip' is an archive, in which nothing is looked at; unpack it")


# webdataset, img2dataset


def shard(folder: Folder, name: str) -> None:
    with tarfile.open(folder.file(name), "w") as tar:
        for member, data in (("000.jpg", b"\xff\xd8\xff"), ("000.txt", b"a dog")):
            info = tarfile.TarInfo(member)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


@form("webdataset")
def webdataset_shards(folder: Folder) -> Refused:
    shard(folder, "00000.tar")
    return Refused(r"00000\.tar' is an archive, in which nothing is looked at; unpack it")


@form("webdataset")
def webdataset_shards_by_another_name(folder: Folder) -> Refused:
    folder.pairs(["a.jpg"])
    shard(folder, "train-000000")
    return Refused("train-000000' is a container by its first bytes")


@form("webdataset")
def webdataset_unpacked(folder: Folder) -> Trained:
    trained = folder.pairs(["000000000.jpg", "000000001.jpg"])
    for name, _ in trained:
        folder.text(name.replace(".jpg", ".cls"), "3")
    return trained


@form("webdataset")
def webdataset_unpacked_with_long_suffixes(folder: Folder) -> Refused:
    folder.picture("sample0.input.jpg")
    folder.text("sample0.outputs.txt", "a dog")
    return Refused(r"sample0\.outputs\.txt' may hold captions of 'sample0\.input\.jpg'", "sks")


def downloaded(folder: Folder) -> Trained:
    """A shard of img2dataset as files; the caption is in the text and in the JSON."""
    trained = []
    for number in range(2):
        stem = f"00000/{number:09d}"
        trained.append((folder.picture(f"{stem}.jpg"), f"a dog, number {number}"))
        held = {"caption": trained[-1][1], "url": "http://x/a.jpg", "key": f"{number:09d}", "status": "success"}
        folder.text(f"{stem}.txt", trained[-1][1])
        folder.text(f"{stem}.json", json.dumps({**held, "error_message": None, "width": 8, "exif": "{}"}))
    folder.text("00000_stats.json", json.dumps({"count": 2, "successes": 2}))
    return trained


@form("img2dataset")
def img2dataset_files(folder: Folder) -> Trained:
    return downloaded(folder)


@form("img2dataset")
def img2dataset_without_captions(folder: Folder) -> Refused:
    downloaded(folder)
    folder.picture("00000/000000002.jpg")
    folder.text("00000/000000002.json", json.dumps({"caption": None, "url": "http://x/c.jpg", "status": "success"}))
    return Refused(r"000000002\.json' may hold captions of '000000002\.jpg', which were not found in it", "sks")


@form("img2dataset")
def img2dataset_parquet_beside(folder: Folder) -> Refused:
    downloaded(folder)
    folder.file("00000.parquet").write_bytes(b"PAR1")
    return Refused(
        r"00000\.parquet' is a table that may hold pictures, in which nothing is looked at; .* or move it away"
    )


# taggers and encodings


@form("taggers")
def tagger_texts(folder: Folder) -> Trained:
    folder.picture("a.png")
    folder.text("a.wd14.txt", "1girl, solo")
    folder.text("a.txt", "a girl")
    folder.picture("b.png")
    folder.text("b.png.caption", "a boy")
    return [("a.png", "a girl"), ("a.png", "1girl, solo"), ("b.png", "a boy")]


@form("taggers")
def tagger_texts_of_neighbours(folder: Folder) -> Trained:
    """a.b.txt is the caption of a.b.png alone."""
    return folder.pairs(["a.b.png", "a.png", "v1.5 dog.png", "v1.png"])


@form("taggers")
def tagger_lists(folder: Folder) -> Refused:
    folder.picture("10_x/a.png")
    folder.text("10_x/a.yaml", "caption: a dog\n")
    return Refused(r"a\.yaml' may hold captions of 'a\.png', which were not found in it", "sks")


@form("taggers")
def tagger_lists_for_all(folder: Folder) -> Refused:
    folder.picture("10_x/a.png")
    folder.text("tags.ndjson", '{"id": "a", "tags": "1girl"}\n')
    return Refused(r"tags\.ndjson' may hold captions of 'a\.png'", "sks")


@form("taggers")
def tagger_captions_of_no_picture(folder: Folder) -> Refused:
    folder.picture("10_x/a.png")
    folder.text("captions/a.caption", "a dog")
    return Refused(r"a\.caption' may hold captions of 'a\.png'", "sks")


@form("texts in other encodings")
def captions_in_utf_16(folder: Folder) -> Trained:
    return folder.pairs(["a.png", "b.png", "c.png"], encoding="utf-16")


@form("texts in other encodings")
def captions_with_a_byte_order_mark(folder: Folder) -> Trained:
    return folder.pairs(["a.png", "b.png", "c.png"], encoding="utf-8-sig")


@form("texts in other encodings")
def captions_with_other_ends_of_lines(folder: Folder) -> Trained:
    for name, end in (("a", "\r\n"), ("b", "\r")):
        folder.picture(f"{name}.png")
        folder.text(f"{name}.txt", f"a dog{end}a cat{end}")
    return [(f"{name}.png", text) for name in "ab" for text in ("a dog", "a cat", "a dog a cat")]


@form("texts in other encodings")
def captions_in_cp1252(folder: Folder) -> Refused:
    folder.picture("a.png")
    folder.text("a.txt", "caf\u00e9", "cp1252")
    return Refused(r"a\.txt cannot be read as UTF-8 text .*; correct the file")


@form("texts in other encodings")
def metadata_in_latin_1(folder: Folder) -> Refused:
    folder.picture("a.png")
    folder.text("metadata.csv", "file_name,text\na.png,caf\u00e9\n", "latin-1")
    return Refused(r"metadata\.csv cannot be read as UTF-8 text")


@form("texts in other encodings")
def metadata_as_unicode_text_of_a_spreadsheet(folder: Folder) -> Trained:
    folder.picture("a.png")
    folder.text("metadata.csv", 'file_name\ttext\r\na.png\t"a dog, ""red"""\r\n', "utf-16")
    return [("a.png", 'a dog, "red"')]


# containers and pictures that are not opened


@form("videos, archives, tables, arrays")
def videos(folder: Folder) -> Refused:
    folder.pairs(["a.png"])
    folder.file("clip.wmv").write_bytes(b"0&\xb2u\x8ef\xcf\x11")
    return Refused(r"clip\.wmv' is a video, in which nothing is looked at; save its frames as images")


@form("videos, archives, tables, arrays")
def arrays(folder: Folder) -> Refused:
    folder.pairs(["a.png"])
    folder.file("set.zarr/0.0").write_bytes(b"\0" * 64)
    return Refused(r"set\.zarr' is a container of arrays, in which nothing is looked at; write them out")


@form("videos, archives, tables, arrays")
def arrays_by_another_name(folder: Folder) -> Refused:
    folder.pairs(["a.png"])
    folder.text("set/zarr.json", "{}")
    return Refused("set' is a container of arrays")
