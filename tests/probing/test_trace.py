"""A trace hands out its arrays by capture and can be cut without losing an axis."""

from dataclasses import replace

import pytest
import torch

from memdetect.errors import Exit, MemdetectError
from memdetect.probing.hooks import CHANNEL_MAX, MEAN
from memdetect.probing.needs import FIRST, Need, Window
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


def whole_run() -> Trace:
    """Two timesteps of finished images at a layer, three steps of the run, attention of one of its layers."""
    ways, maps = Need(place, Window("until", 4.0)), Need(place, FIRST, "attention")
    arrays = {
        (CHANNEL_MAX, "up"): numbered(STEPS, ITEMS, SEEDS, CHANNELS),
        (ways, ""): 1000 + numbered(3, ITEMS, SEEDS, 2),
        (maps, "attn2"): 2000 + numbered(1, ITEMS, SEEDS, 2),
    }
    latents = numbered(ITEMS, SEEDS, 1, 2, 2)
    return Trace(arrays, (50.0, 200.0), (0.1, 0.5), latents, (9.0, 5.0, 3.0), ("a", "b", "a"))


def place(step: object) -> torch.Tensor:
    raise AssertionError(step)


def test_layers_are_those_of_finished_images():
    assert whole_run().layers == ("up",)


def test_a_step_of_finished_images_leaves_the_run_as_it_is():
    trace = whole_run()
    part = trace.select(step=1, layer="up", item=2)
    ways, maps = (need for need, _ in trace.arrays if need.when is not None)
    assert torch.equal(part.output(ways), trace.output(ways)[:, 2:])
    assert part.need(CHANNEL_MAX)["up"].shape == (1, 1, SEEDS, CHANNELS)
    assert (part.families, part.run_sigmas) == (("a",), (9.0, 5.0, 3.0))
    assert (maps, "attn2") not in part.arrays
    assert (maps, "attn2") in trace.select(step=1).arrays


def test_groups_of_seeds_are_items_of_their_own_item_by_item():
    trace = whole_run()
    pairs = trace.grouped(2)
    assert (pairs.shape, trace.shape) == ((ITEMS * 2, 2), (ITEMS, SEEDS))
    assert pairs.families == ("a", "a", "b", "b", "a", "a")
    for i in range(ITEMS):
        for group in range(2):
            seeds = slice(2 * group, 2 * group + 2)
            assert torch.equal(pairs.latents[2 * i + group], trace.latents[i, seeds])
            for key, array in trace.arrays.items():
                assert torch.equal(pairs.arrays[key][:, 2 * i + group], array[:, i, seeds])


def test_a_run_that_was_ended_has_a_shape_but_no_latents():
    trace = replace(whole_run(), latents=None)
    assert (trace.shape, trace.grouped(2).shape) == ((ITEMS, SEEDS), (6, 2))
    with pytest.raises(
        MemdetectError, match="needs the finished latents, but the run was ended before; sample it whole"
    ):
        trace.finished()
    assert whole_run().finished().shape == (ITEMS, SEEDS, 1, 2, 2)
