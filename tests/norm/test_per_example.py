"""Layer, group and instance normalization against PyTorch's, and against their definition."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from norm.layers import drawn
from torch import Tensor, nn

from bn_repro import norm

Make = Callable[..., norm.GroupNorm]
TWINS = [
    pytest.param(lambda **kw: norm.LayerNorm(6, **kw), nn.LayerNorm(6), (4, 6), id="layer, fc"),
    pytest.param(
        lambda **kw: norm.LayerNorm(6, **kw), nn.GroupNorm(1, 6), (4, 6, 3, 2), id="layer, maps"
    ),
    pytest.param(
        lambda **kw: norm.LayerNorm(6, 3, 2, **kw),
        nn.LayerNorm([6, 3, 2]),
        (4, 6, 3, 2),
        id="layer, activations",
    ),
    pytest.param(
        lambda **kw: norm.GroupNorm(3, 6, **kw), nn.GroupNorm(3, 6), (4, 6), id="group, fc"
    ),
    pytest.param(
        lambda **kw: norm.GroupNorm(3, 6, **kw), nn.GroupNorm(3, 6), (4, 6, 3, 2), id="group, maps"
    ),
    pytest.param(
        lambda **kw: norm.InstanceNorm(6, **kw),
        nn.InstanceNorm2d(6, affine=True),
        (4, 6, 3, 2),
        id="instance, maps",
    ),
]


def results(layer: nn.Module, x: Tensor, dy: Tensor) -> list[Tensor]:
    """The output of training, its gradients, and the output of inference."""
    leaf = x.clone().requires_grad_()
    y = layer.train()(leaf)
    return [y, *torch.autograd.grad(y, (leaf, *layer.parameters()), dy), layer.eval()(x)]


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize(("make", "twin", "shape"), TWINS)
def test_is_pytorchs(make: Make, twin: nn.Module, shape: tuple[int, ...], fused: bool):
    ours, theirs = make(fused=fused).double(), copy.deepcopy(twin).double()
    for parameter in theirs.parameters():
        nn.init.normal_(parameter)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x, dy = drawn(shape), torch.randn(shape, dtype=torch.float64)
    torch.testing.assert_close(results(ours, x, dy), results(theirs, x, dy), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_activations_of_a_group_share_a_statistic_and_no_others(groups: int):
    """For the form that PyTorch lacks: gamma and beta of each activation, over any groups."""
    layer = norm.GroupNorm(groups, 6, 3, 2, eps=1e-14).double()
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    x = drawn((4, 6, 3, 2))
    xhat = ((layer(x) - layer.bias) / layer.weight).view(4, groups, -1)
    torch.testing.assert_close(xhat.mean(2), torch.zeros_like(xhat[:, :, 0]))
    torch.testing.assert_close(xhat.std(2, unbiased=False), torch.ones_like(xhat[:, :, 0]))
    values = x.view(4, groups, -1)
    torch.testing.assert_close(xhat, (values - values.mean(2, True)) / values.std(2, False, True))


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_16_bits_are_normalized_in_32(dtype: torch.dtype, fused: bool):
    layer = norm.GroupNorm(2, 6, fused=fused)
    x = (100 + torch.randn(4, 6, 3, 2)).to(dtype)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    assert y.dtype == dtype
    torch.testing.assert_close(y.double(), layer.double()(x.double()), rtol=2**-7, atol=2**-7)


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: norm.InstanceNorm(3), (4, 3, 1, 1)),
        (lambda: norm.GroupNorm(3, 3), (4, 3)),
        (lambda: norm.LayerNorm(1), (4, 1)),
    ],
)
def test_one_value_per_statistic_is_refused(make: Make, shape: tuple[int, ...]):
    for mode in (True, False):  # inference is no other function
        with pytest.raises(ValueError, match="fewer than 2 values per statistic"):
            make().train(mode)(torch.zeros(shape))


def test_shapes_and_groups_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"expected an input \(N, 3, \.\.\.\), got \(4, 5\)"):
        norm.LayerNorm(3)(torch.zeros(4, 5))
    with pytest.raises(ValueError, match="^GroupNorm: 4 groups do not divide 6$"):
        norm.GroupNorm(4, 6)
