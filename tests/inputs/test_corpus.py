"""A row a form: what is scanned is what was trained on, or one line refuses; every row of the pages has its forms."""

import re
from pathlib import Path

import pytest
from training_folders import FOLDERS, Folder, Refused, With

from memdetect.errors import Exit, MemdetectError
from memdetect.inputs.captions import captioned, training_pictures
from memdetect.inputs.given import training_requests
from memdetect.inputs.options import Lookup


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
