"""A trace hands out its arrays by capture and can be cut without losing an axis."""

import pytest
import torch

from memdetect.errors import Exit, MemdetectError
from memdetect.probing.hooks import CHANNEL_MAX, MEAN
from memdetect.probing.needs import FIRST, Need
from memdetect.probing.trace import Trace

STEPS, ITEMS, SEEDS, CHANNELS = 2, 3, 4, 5


def numbered(*shape: int) -> torch.Tensor:
    """An array in which every entry is another number."""
    return torch.arange(torch.Size(shape).numel(), dtype=torch.float32).reshape(shape)


@pytest.fixture
def trace() -> Trace:
    shape = (STEPS, ITEMS, SEEDS, CHANNELS)
    return Trace(
        arrays={
            (CHANNEL_MAX, "up"): numbered(*shape),
            (MEAN, "up"): -numbered(*shape),
            (CHANNEL_MAX, "down"): 2 * numbered(*shape),
        },
        timesteps=(50.0, 200.0),
        sigmas=(0.1, 0.5),
        latents=numbered(ITEMS, SEEDS, 1, 2, 2),
        notes={"halved": []},
    )


def test_layers_come_once_and_in_the_order_of_the_arrays(trace):
    assert trace.layers == ("up", "down")


def test_need_gives_the_arrays_of_one_capture_by_layer(trace):
    found = trace.need(CHANNEL_MAX)
    assert list(found) == ["up", "down"]
    assert found["up"] is trace.arrays[CHANNEL_MAX, "up"]
    assert found["down"] is trace.arrays[CHANNEL_MAX, "down"]


def test_a_missing_capture_is_an_error_that_names_what_is_there(trace):
    def gap_norm(step: object) -> torch.Tensor:
        raise AssertionError(step)

    with pytest.raises(MemdetectError, match=r"needs 'gap_norm'.*\['average', 'channel_max'\]") as caught:
        trace.need(Need(gap_norm, FIRST))
    assert caught.value.exit is Exit.USAGE


def test_select_cuts_every_axis_and_keeps_it(trace):
    part = trace.select(layer="up", step=1, item=2, seed=3)
    assert set(part.arrays) == {(CHANNEL_MAX, "up"), (MEAN, "up")}
    for key, array in part.arrays.items():
        assert array.shape == (1, 1, 1, CHANNELS)
        assert torch.equal(array[0, 0, 0], trace.arrays[key][1, 2, 3])
    assert (part.timesteps, part.sigmas) == ((200.0,), (0.5,))
    assert part.latents is not None
    assert torch.equal(part.latents, numbered(ITEMS, SEEDS, 1, 2, 2)[2:3, 3:4])
    assert part.notes == trace.notes


def test_select_without_arguments_is_the_whole_trace(trace):
    whole = trace.select()
    assert (whole.timesteps, whole.sigmas) == (trace.timesteps, trace.sigmas)
    assert all(torch.equal(whole.arrays[key], array) for key, array in trace.arrays.items())


def test_the_cells_of_a_trace_tile_it(trace):
    rows = [
        torch.cat([trace.select(step=s, item=i, seed=k).arrays[CHANNEL_MAX, "up"] for k in range(SEEDS)], dim=2)
        for s in range(STEPS)
        for i in range(ITEMS)
    ]
    assert torch.equal(torch.cat(rows).reshape(STEPS, ITEMS, SEEDS, CHANNELS), trace.arrays[CHANNEL_MAX, "up"])


def test_a_trace_without_images_can_be_cut():
    bare = Trace({(CHANNEL_MAX, "up"): numbered(1, 2, 1, 3)}, timesteps=(50.0,), sigmas=(0.1,))
    assert bare.select(item=1).latents is None
