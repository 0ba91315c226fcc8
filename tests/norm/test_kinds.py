"""The functions that models take their normalization from."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from norm.layers import drawn
from torch import Tensor, nn

from bn_repro import norm
from bn_repro.models.figure_5 import Shape
from bn_repro.models.inception import Inception
from bn_repro.models.mlp import MLP


@pytest.mark.parametrize("make", [norm.batch, norm.sync_batch])
def test_batch_norms(make: Callable[..., norm.Norm]):
    chosen = make(eps=1e-3, momentum=0.2)
    assert not chosen.bias
    made = [chosen.fc(5), chosen.conv(3), chosen.per_activation(3, 2, 2)]
    shapes = [(4, 5), (4, 3, 6, 6), (4, 3, 2, 2)]
    for layer, shape in zip(made, shapes, strict=True):
        assert isinstance(layer, norm.BatchNorm)
        assert (layer.eps, layer.momentum) == (1e-3, 0.2)
        assert (layer.fused, layer.synchronized) == (True, make is norm.sync_batch)
        plain = type(layer)(*layer.weight.shape, eps=1e-3, momentum=0.2)
        x = drawn(shape, torch.float32)
        assert torch.equal(layer(x), plain(x))  # no process group: the same also if synchronized
        torch.testing.assert_close(layer.state_dict(), plain.state_dict(), rtol=0, atol=0)


def test_batch_written_out():
    written = norm.batch(fused=False).fc(5)
    assert isinstance(written, norm.BatchNorm)
    assert not written.fused


def test_none():
    chosen = norm.none(eps=1e-3, momentum=0.2)
    assert chosen.bias
    x = torch.randn(1, 3, 2, 2)
    for layer in (chosen.fc(5), chosen.conv(3), chosen.per_activation(3, 2, 2)):
        assert layer(x) is x
        assert not list(layer.state_dict())


KINDS = ("none", "batch", "layer", "group", "instance", "weight")


def networks(kind: norm.Norm) -> Iterator[tuple[nn.Module, Tensor]]:
    """Both networks with a norm, and an input of each; Inception has all the places of one."""
    generator = torch.Generator().manual_seed(0)
    yield MLP(norm=kind, generator=generator), torch.randn(6, 784)
    shape = Shape(classes=3, image_size=64, width=0.125, auxiliary=True, per_activation_modules=1)
    generator = torch.Generator().manual_seed(0)
    yield Inception(shape, norm=kind, generator=generator), torch.randn(6, 3, 64, 64)


@pytest.mark.parametrize("kind", KINDS)
def test_both_networks_train_with_each(kind: str):
    """Every parameter gets a gradient; a norm within an example answers one as it answers many."""
    for model, x in networks(getattr(norm, kind)()):
        outputs = [model(x)] if isinstance(model, MLP) else model(x)
        torch.stack([logits.pow(2).sum() for logits in outputs]).sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
        if kind != "batch":
            many = model.eval()(x)
            torch.testing.assert_close(torch.cat([model(one) for one in x.split(1)]), many)


def test_networks_that_differ_in_their_norm_draw_the_same_weights():
    """And with weight normalization they start as the same function as without."""
    without = list(networks(norm.none()))
    for kind in KINDS:
        for (model, x), (plain, _) in zip(networks(getattr(norm, kind)()), without, strict=True):
            own, others = (
                [m.weight for m in network.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
                for network in (model, plain)
            )
            torch.testing.assert_close(own, others)
            if kind == "weight":
                torch.testing.assert_close(model.eval()(x), plain.eval()(x))


@pytest.mark.parametrize(
    ("channels", "groups"), [(64, 32), (192, 32), (100, 25), (8, 4), (24, 12), (7, 1), (1, 1)]
)
def test_group_takes_32_groups_or_the_most_that_divide(channels: int, groups: int):
    layer = norm.group().conv(channels)
    assert isinstance(layer, norm.GroupNorm)
    assert layer.groups == groups


def test_instance_takes_a_fully_connected_layer_for_one_map():
    ours, theirs = norm.instance().fc(6).double(), nn.InstanceNorm1d(1, affine=True).double()
    x = drawn((4, 6))
    torch.testing.assert_close(ours(x), theirs(x[:, None])[:, 0])
    assert sum(p.numel() for p in ours.parameters()) == 2
