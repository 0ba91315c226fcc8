"""Weight normalization against PyTorch's, and against what its paper says of it."""

from __future__ import annotations

import copy

import pytest
import torch
from norm.layers import drawn
from torch import nn
from torch.nn.utils import parametrizations

from bn_repro import norm

LAYERS = [
    pytest.param(nn.Linear(5, 4), (7, 5), id="fc"),
    pytest.param(nn.Conv2d(3, 4, 3), (2, 3, 5, 5), id="conv"),
]


@pytest.mark.parametrize(("layer", "shape"), LAYERS)
def test_is_pytorchs(layer: nn.Module, shape: tuple[int, ...]):
    """Five steps of SGD from the same weights: outputs and state stay the same."""
    ours, theirs = (copy.deepcopy(layer).double() for _ in range(2))
    norm.weight_norm(ours)
    parametrizations.weight_norm(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for model in (ours, theirs):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        generator = torch.Generator().manual_seed(3)
        for _ in range(5):
            x = torch.randn(shape, generator=generator, dtype=torch.float64)
            optimizer.zero_grad()
            model(x).pow(2).mean().backward()
            optimizer.step()
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict(), rtol=1e-10, atol=1e-12)
    x = drawn(shape)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("layer", "shape"), LAYERS)
def test_equation_2(layer: nn.Module, shape: tuple[int, ...]):
    """It starts as the layer that it was; then the length of each w is g, whatever v's."""
    layer, x = copy.deepcopy(layer).double(), drawn(shape)
    before = layer(x)
    norm.weight_norm(layer)
    torch.testing.assert_close(layer(x), before, rtol=1e-12, atol=1e-12)
    g, v = (layer.get_parameter(f"parametrizations.weight.original{k}") for k in (0, 1))
    with torch.no_grad():
        g.copy_(torch.arange(1.0, 5).view(g.shape))
        v.mul_(3)
    weight = layer.weight
    assert isinstance(weight, torch.Tensor)
    torch.testing.assert_close(weight.flatten(1).norm(dim=1), torch.arange(1.0, 5).double())
    layer(x).pow(2).sum().backward()
    assert v.grad is not None
    along = (v.grad * v).flatten(1).sum(1)  # eq. 3: the gradient of v is orthogonal to w
    torch.testing.assert_close(along, torch.zeros_like(along), rtol=0, atol=1e-10)
