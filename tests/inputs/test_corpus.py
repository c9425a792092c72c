"""A row a form: what is scanned is what was trained on, or one line refuses; every row of the pages has its forms."""

import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_files import PICTURES
from lora_files import LAYERS, LORAS, factors, magnitude, tensors
from prompt_files import WRITTEN
from safetensors.torch import save_file
from training_folders import FOLDERS, Folder, Refused, With

from memdetect.adapters.loras import add_loras, check_lora
from memdetect.cli import run
from memdetect.errors import Exit, MemdetectError
from memdetect.inputs.captions import captioned, training_pictures
from memdetect.inputs.given import training_requests
from memdetect.inputs.images import open_ways
from memdetect.inputs.options import Lookup
from memdetect.inputs.prompts import read


@pytest.mark.parametrize("name", FOLDERS)
def test_a_training_folder_is_scanned_as_it_was_trained_on_or_refused(tmp_path: Path, name: str):
    told = FOLDERS[name].make(Folder(tmp_path))
    if isinstance(told, Refused):
        with pytest.raises(MemdetectError, match=told.said) as caught:
            captioned(tmp_path, told.instance)
        assert caught.value.exit is Exit.USAGE
        assert "\n" not in str(caught.value)
        return
    trained, instance = (told.trained, told.instance) if isinstance(told, With) else (told, None)
    found = [(str(path.relative_to(tmp_path)), caption) for path, caption in captioned(tmp_path, instance)]
    assert sorted(found) == sorted(trained)
    assert {str(path.relative_to(tmp_path)) for path in training_pictures(tmp_path)} == {name for name, _ in trained}
    requests = training_requests(Lookup(train_images=tmp_path, instance_prompt=instance), given=False)
    assert requests
    assert sorted(item.prompt or "" for item in requests.items) == sorted({caption for _, caption in trained})


@pytest.mark.parametrize("name", WRITTEN)
def test_a_prompt_file_is_read_as_it_was_written_or_refused(tmp_path: Path, name: str):
    told = WRITTEN[name]
    path = tmp_path / told.name
    path.write_bytes(told.data)
    if told.refused:
        with pytest.raises(MemdetectError, match=told.refused) as caught:
            read([path], column=told.column)
        assert caught.value.exit is Exit.USAGE
        assert "\n" not in str(caught.value)
        return
    found = read([path], column=told.column)
    assert [item.prompt for item in found.items] == list(told.prompts)
    assert (found.further, found.beside, found.repeated) == (told.further, told.beside, 0)


@pytest.mark.parametrize("name", LORAS)
def test_a_lora_file_is_taken_whole_or_refused_by_its_name(tmp_path: Path, name: str, pipe: Any):
    told, path = LORAS[name], tmp_path / "lora.safetensors"
    layers = {layer: pipe.unet.get_submodule(layer) for layer in LAYERS}
    widths = {layer: (module.in_features, module.out_features) for layer, module in layers.items()}
    save_file(tensors(told, widths), path)
    path.write_bytes(told.data(path.read_bytes()))
    if told.refused:
        with pytest.raises(MemdetectError, match=told.refused) as caught:
            add_loras(deepcopy(pipe), (str(path),)) if told.opened else check_lora(str(path))
        assert caught.value.exit is Exit.USAGE
        assert "\n" not in str(caught.value)
        return
    tuned = deepcopy(pipe)
    add_loras(tuned, (f"{path}@0.5",))
    for layer, module in layers.items():
        given = torch.randn(3, widths[layer][0])
        down, up = factors(layer, widths[layer])
        whole = module.weight.detach() + 0.5 * told.scale * up @ down
        if told.row == "`lora_magnitude_vector`":  # each row at its own length
            whole *= (magnitude(up) / whole.norm(dim=1))[:, None]
        with torch.no_grad():
            expected = torch.nn.functional.linear(given, whole, module.bias)
            torch.testing.assert_close(tuned.unet.get_submodule(layer)(given), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_seen_as_viewers_and_trainers_see_it_or_counted(tmp_path: Path, name: str, capsys: Any):
    """What cannot be opened is a picture nevertheless: named and counted, never passed over."""
    told = PICTURES[name]
    path = tmp_path / told.name
    told.write(path)
    assert training_pictures(tmp_path) == [path]
    if told.refused:
        with pytest.raises(MemdetectError, match=told.refused) as caught:
            open_ways(path)
        assert "\n" not in str(caught.value)
        assert run(["doctor", "--train-images", str(tmp_path), "--instance-prompt", "x"]) == Exit.INCONCLUSIVE
        assert f"left out: 1 ('{told.name}') cannot be opened (" in capsys.readouterr().out
        return
    found = {opened.way: np.asarray(opened.image).astype(int) for opened in open_ways(path)}
    assert set(found) >= set(told.ways)
    assert next(iter(found)) == "white"
    for way, expected in told.ways.items():
        assert np.abs(found[way] - expected).max() <= told.within, way


def page(name: str) -> list[list[str]]:
    """The first cells of each table of a page, without its head."""
    text = (Path(__file__).parents[2] / "docs" / name).read_text(encoding="utf-8")
    tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    return [[line.split(" | ")[0].strip("| ") for line in table.splitlines()[2:]] for table in tables]


def test_every_row_of_the_page_of_inputs_has_its_forms_and_every_form_its_row():
    rows = {told.row for told in (*FOLDERS.values(), *WRITTEN.values(), *LORAS.values(), *PICTURES.values())}
    cells = [cell for table in page("reference/inputs.md") for cell in table]
    assert len(cells) == len(set(cells))
    held = {row: [cell for cell in cells if cell.startswith(row)] for row in rows}
    assert {row: found for row, found in held.items() if len(found) != 1} == {}
    assert set(cells) - {cell for found in held.values() for cell in found} == set()


CAPTIONS = {
    "`NAME.txt` beside": ("ai_toolkit_texts", "onetrainer_lines"),
    "`NAME.caption`": ("kohya_caption_files", "tagger_texts"),
    "`NAME.json`": ("ai_toolkit_json", "img2dataset_files"),
    "`metadata.jsonl`": ("diffusers_metadata", "diffusers_metadata_of_several_captions", "imagefolder_table"),
    "`meta_cap.json`": ("kohya_meta_captions", "kohya_meta_with_full_paths_and_tags"),
    "a folder named": ("kohya_class_tokens_in_names",),
    "`--instance-prompt": ("diffusers_dreambooth", "diffusers_dreambooth_beside_captions"),
}


def test_every_row_of_the_page_of_loras_has_its_forms():
    rows = page("reference/captions.md")[0]
    assert [sum(cell.startswith(start) for start in CAPTIONS) for cell in rows] == [1] * len(CAPTIONS)
    assert {name for names in CAPTIONS.values() for name in names} <= FOLDERS.keys()
