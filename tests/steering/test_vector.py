"""A vector comes back from its file as it was; a file that is anything else is refused in one line."""

import pytest
import torch
from safetensors.torch import save_file
from steered_pipes import header

from memdetect.adapters import load
from memdetect.errors import MemdetectError
from memdetect.steering import Vector, read_vector
from memdetect.steering.vector import MARK


def test_round_trip(vector, tmp_path):
    path = tmp_path / "new" / "v.safetensors"
    given = Vector(vector.header, vector.layers, torch.tensor([0.6, 0.8]))
    given.save(path)
    found = read_vector(path)
    assert found.header == given.header
    assert list(found.layers) == list(given.layers)
    assert all(torch.equal(found.layers[name], given.layers[name]) for name in given.layers)
    assert torch.equal(found.embedding, given.embedding)
    first = path.read_bytes()
    found.save(path)
    assert path.read_bytes() == first
    vector.save(path)
    assert read_vector(path).embedding is None


def test_layers_are_chosen_by_glob(vector):
    assert list(vector.only(["up_blocks.0.*"]).layers) == [n for n in vector.layers if n.startswith("up_blocks.0.")]
    assert vector.only(["*"]).layers.keys() == vector.layers.keys()
    with pytest.raises(MemdetectError, match=r"no layer 'down\*'; it has mid_block|no layer 'down\*'; it has up_"):
        vector.only(["mid_block", "down*"])


def test_a_vector_of_another_layer_is_refused(vector, pipe):
    lost = Vector(header(load(pipe)), {"up_blocks.9": torch.ones(4)})
    with pytest.raises(MemdetectError, match=r"no layer named 'up_blocks\.9'"):
        lost.points(load(pipe))
    assert {point.name for point in vector.points(load(pipe))} == vector.layers.keys()


def test_what_is_no_vector_is_refused(vector, tmp_path):
    path = tmp_path / "v.safetensors"
    with pytest.raises(MemdetectError, match="there is no vector"):
        read_vector(path)
    path.write_bytes(b"nothing")
    with pytest.raises(MemdetectError, match="no safetensors file"):
        read_vector(path)
    save_file({"a": torch.ones(2)}, path)
    with pytest.raises(MemdetectError, match="no steering vector"):
        read_vector(path)
    save_file({"a": torch.ones(2)}, path, {MARK: '{"schema_version": 9}'})
    with pytest.raises(MemdetectError, match="another version"):
        read_vector(path)
    made = vector.header.model_dump_json()
    save_file({"layer/a": torch.ones(2)}, path, {MARK: made})
    with pytest.raises(MemdetectError, match="other layers than its header"):
        read_vector(path)
    for wrong in (torch.tensor([float("nan")]), torch.ones(2, 2), torch.ones(2, dtype=torch.int64)):
        save_file({"layer/a": wrong}, path, {MARK: made})
        with pytest.raises(MemdetectError, match="no vector of finite numbers"):
            read_vector(path)
    with pytest.raises(MemdetectError, match="cannot write"):
        vector.save(path / "below" / "a-file.safetensors")
