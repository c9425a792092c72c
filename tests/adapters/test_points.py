"""Points by name, glob and alias; and what is read there is SiLU(norm2(.)), worked out by other means."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from memdetect.adapters import ADAPTERS, Point, list_points
from memdetect.adapters.points import resolve
from memdetect.errors import Exit, MemdetectError
from memdetect.probing import watch
from memdetect.probing.hooks import CHANNEL_MAX, MEAN

PAPER = "up_blocks.0.resnets.*"
ALIASES = {"paper": PAPER}
RESIDUAL = [f"{block}.resnets.{i}" for block in ("mid_block", "up_blocks.0", "up_blocks.1") for i in (0, 1)]
RESIDUAL += ["down_blocks.0.resnets.0", "down_blocks.1.resnets.0"]
ATTENTIONS = [
    "down_blocks.0.attentions.0",
    "mid_block.attentions.0",
    "up_blocks.1.attentions.0",
    "up_blocks.1.attentions.1",
]
BLOCKS = ["conv_in", "mid_block", "up_blocks.0", "up_blocks.1"]


def names(points: tuple[Point, ...]) -> list[str]:
    return [point.name for point in points]


def denoise(unet: nn.Module, rows: int = 2) -> Any:
    random = torch.Generator().manual_seed(1)
    x, text = torch.randn(rows, 4, 8, 8, generator=random), torch.randn(rows, 12, 16, generator=random)
    with torch.no_grad():
        return unet(x, torch.tensor(50), encoder_hidden_states=text)


def test_every_residual_block_feed_forward_and_block_is_listed(pipe):
    forwards = [f"{name}.transformer_blocks.0.ff.net.0" for name in ATTENTIONS]
    assert set(list_points(pipe.unet)) == {*RESIDUAL, *forwards, *BLOCKS}


def test_points_come_in_the_order_of_the_modules(pipe):
    modules = [name for name, _ in pipe.unet.named_modules()]
    listed = list(list_points(pipe.unet))
    assert listed == sorted(listed, key=modules.index)


def test_a_listed_point_names_a_module_that_exists(any_pipe):
    denoiser = getattr(any_pipe, ADAPTERS[type(any_pipe).__name__].denoiser)
    for name, point in list_points(denoiser).items():
        assert point.name == name
        assert isinstance(denoiser.get_submodule(point.module), nn.Module)


def test_a_name_a_glob_and_an_alias_mean_the_same_points(pipe):
    known = list_points(pipe.unet)
    expected = ["up_blocks.0.resnets.0", "up_blocks.0.resnets.1"]
    for asked in (["paper"], [PAPER], expected, expected[::-1], ["paper", expected[0]]):
        assert names(resolve(asked, known, ALIASES)) == expected


def test_a_glob_may_match_everything(pipe):
    known = list_points(pipe.unet)
    assert names(resolve(["*"], known, {})) == list(known)
    assert set(names(resolve(["*.resnets.?"], known, {}))) == set(RESIDUAL)


def test_the_order_of_asking_does_not_matter(pipe):
    known = list_points(pipe.unet)
    assert names(resolve(["mid_block", "conv_in"], known, {})) == ["conv_in", "mid_block"]


@pytest.mark.parametrize(
    ("asked", "closest"),
    [("up_blocks.0.resnet.0", "up_blocks.0.resnets.0"), ("papre", "paper"), ("midblock", "mid_block")],
)
def test_an_unknown_layer_is_answered_with_the_closest(pipe, asked, closest):
    with pytest.raises(MemdetectError, match=f"no layer named '{asked}'; closest: {closest}") as caught:
        resolve(["paper", asked], list_points(pipe.unet), ALIASES)
    assert caught.value.exit is Exit.USAGE
    assert "\n" not in str(caught.value)


def test_the_papers_point_is_silu_of_norm2(any_pipe):
    """Against a hook on norm2 itself, which the point does not use."""
    adapter = ADAPTERS[type(any_pipe).__name__]
    denoiser = getattr(any_pipe, adapter.denoiser)
    points = resolve(["paper"], list_points(denoiser), adapter.aliases)
    normed: dict[str, torch.Tensor] = {}
    handles = [
        denoiser.get_submodule(f"{p.name}.norm2").register_forward_hook(
            lambda _m, _a, out, p=p: normed.update({p.name: out})
        )
        for p in points
    ]
    with watch(denoiser, points, [CHANNEL_MAX], stop=False) as seen:
        denoise(denoiser)
    for handle in handles:
        handle.remove()
    assert len(points) == 2
    for point in points:
        expected = functional.silu(normed[point.name]).flatten(2).max(dim=2).values
        (found,) = seen.arrays[CHANNEL_MAX, point.name]
        torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_the_time_embedding_is_part_of_the_papers_point(pipe):
    """SiLU(norm2(conv1(.) + time)) from the outputs of conv1 and time_emb_proj and the weights of norm2 alone."""
    (point,) = resolve(["up_blocks.0.resnets.1"], list_points(pipe.unet), {})
    block = pipe.unet.get_submodule(point.name)
    parts: dict[str, torch.Tensor] = {}
    handles = [
        block.get_submodule(part).register_forward_hook(lambda _m, _a, out, part=part: parts.update({part: out}))
        for part in ("conv1", "time_emb_proj")
    ]
    with watch(pipe.unet, [point], [CHANNEL_MAX, MEAN], stop=False) as seen:
        denoise(pipe.unet)
    for handle in handles:
        handle.remove()
    norm = block.norm2
    total = parts["conv1"] + parts["time_emb_proj"][:, :, None, None]
    features = functional.silu(functional.group_norm(total, norm.num_groups, norm.weight, norm.bias, norm.eps))
    torch.testing.assert_close(seen.arrays[CHANNEL_MAX, point.name], [features.amax(dim=(2, 3))])
    torch.testing.assert_close(seen.arrays[MEAN, point.name], [features.mean(dim=(2, 3))])


def test_the_nonlinearity_of_a_block_is_the_wrong_place_and_refused(any_pipe):
    """It runs after norm1, on the time embedding and after norm2."""
    place = "up_blocks.0.resnets.0.nonlinearity"
    wrong = Point("nonlinearity", place, "output", "one of three tensors")
    ran: list[torch.Size] = []
    handle = any_pipe.unet.get_submodule(place).register_forward_hook(lambda _m, _a, out: ran.append(out.shape))
    denoise(any_pipe.unet)
    handle.remove()
    assert len(ran) == 3
    with (
        pytest.raises(MemdetectError, match="layer 'nonlinearity'"),
        watch(any_pipe.unet, [wrong], [CHANNEL_MAX], stop=False),
    ):
        denoise(any_pipe.unet)
