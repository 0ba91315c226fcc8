"""Algorithm 2, line 11: folded networks give the outputs of the unfolded."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from norm.layers import drawn, randomized, snapshot
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from bn_repro import norm


def hooked(layer: nn.Linear) -> nn.Linear:
    """A layer whose weight is no parameter, as a hook leaves it that makes it anew each time."""
    weight = layer.weight.detach()
    del layer.weight
    layer.weight = weight  # pyright: ignore[reportAttributeAccessIssue]
    return layer


@pytest.mark.parametrize("bias", [True, False])
def test_fold_into(bias: bool):
    pairs = [
        (nn.Linear(4, 3, bias), norm.BatchNormPerActivation(3), (5, 4)),
        (
            nn.Conv2d(4, 6, 3, 2, 1, groups=2, bias=bias),
            norm.BatchNormPerFeatureMap(6),
            (5, 4, 7, 7),
        ),
        (nn.Conv1d(4, 3, 3, bias=bias), norm.BatchNormPerFeatureMap(3), (5, 4, 7)),
        (nn.Conv3d(4, 3, 2, bias=bias), norm.BatchNormPerFeatureMap(3), (5, 4, 3, 3, 3)),
    ]
    for layer, bn, shape in pairs:
        layer, bn = layer.double(), randomized(bn).eval()
        before = layer.weight.clone()
        folded, x = norm.fold_into(layer, bn), drawn(shape)
        assert type(folded) is type(layer)
        torch.testing.assert_close(folded(x), bn(layer(x)), rtol=1e-12, atol=1e-12)
        assert torch.equal(layer.weight, before)


@pytest.mark.parametrize(
    ("layer", "bn"),
    [
        (nn.Conv2d(1, 2, 1), norm.BatchNormPerActivation(2, 4, 4)),
        (nn.Linear(4, 3), norm.BatchNormPerActivation(2)),
        (nn.Linear(4, 3), norm.BatchNormPerFeatureMap(3)),
        (nn.Conv2d(1, 2, 1), norm.BatchNormPerActivation(2)),
        (nn.ConvTranspose2d(2, 2, 1), norm.BatchNormPerFeatureMap(2)),
        (weight_norm(nn.Linear(4, 3)), norm.BatchNormPerActivation(3)),
        (hooked(nn.Linear(4, 3)), norm.BatchNormPerActivation(3)),
    ],
)
def test_fold_into_refuses(layer: nn.Linear | nn.Conv2d, bn: norm.BatchNorm):
    with pytest.raises(ValueError, match=r"cannot fold .* into .*one scale and shift"):
        norm.fold_into(layer, bn)


def test_fold():
    """Every BN that can be is folded, at any depth; the model itself stays as it was."""
    network = nn.Sequential(
        OrderedDict(
            tiny=nn.Sequential(nn.Conv2d(1, 2, 3), norm.BatchNormPerFeatureMap(2), nn.ReLU()),
            maps=nn.Sequential(nn.Conv2d(2, 3, 1), norm.BatchNormPerActivation(3, 2, 2)),
            apart=nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), norm.BatchNormPerFeatureMap(3)),
            flat=nn.Flatten(),
            fc=nn.Linear(12, 4, bias=False),
            bn=norm.BatchNormPerActivation(4),
        )
    ).double()
    layers = [module for module in network.modules() if isinstance(module, norm.BatchNorm)]
    for layer in layers:
        randomized(layer)
    before = snapshot(network)
    folded, x = norm.fold(network.eval()), drawn((5, 1, 4, 4))
    assert [type(folded.get_submodule(name)) for name in ("tiny.1", "maps.1", "apart.2", "bn")] == [
        nn.Identity,
        norm.BatchNormPerActivation,
        norm.BatchNormPerFeatureMap,
        nn.Identity,
    ]
    assert snapshot(network) == before
    torch.testing.assert_close(folded(x), network(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("trained", [True, False])
def test_frozen_stays_frozen_and_its_dtype_stays(trained: bool):
    layer = nn.Linear(4, 3, bias=False, dtype=torch.bfloat16).requires_grad_(trained)
    folded = norm.fold_into(layer, norm.BatchNormPerActivation(3).eval())
    assert [p.requires_grad for p in folded.parameters()] == [trained] * 2
    assert {p.dtype for p in folded.parameters()} == {torch.bfloat16}


def test_training_mode_is_refused():
    layer, bn = nn.Linear(4, 3), norm.BatchNormPerActivation(3)
    with pytest.raises(ValueError, match=r"cannot fold .* training mode; call .eval\(\) first"):
        norm.fold_into(layer, bn)
    with pytest.raises(ValueError, match=r"^fold: Sequential is in training mode; call .eval\(\)"):
        norm.fold(nn.Sequential(layer, bn))


class Odd(nn.Module):
    """Its forward pass is not the order of its children; `way` says how it departs from it."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        self.first, self.bn = nn.Linear(4, 4), randomized(norm.BatchNormPerActivation(4))
        self.second, self.other = nn.Linear(4, 4), randomized(norm.BatchNormPerActivation(4))
        self.alias = self.second
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        if self.way == "swapped":
            return self.other(self.first(self.bn(self.second(x))))
        if self.way == "output used twice":
            y = self.first(x)
            return self.bn(y) + y
        if self.way == "layer applied twice":
            return self.first(self.bn(self.first(x)))
        if self.way == "BN applied twice":
            return self.bn(self.first(self.bn(x)))
        if self.way == "weight used elsewhere":
            return self.bn(self.first(x)) @ self.first.weight
        assert self.way == "two names"
        return self.bn(self.alias(x))


@pytest.mark.parametrize(
    ("way", "left"),
    [
        ("swapped", 0),
        ("output used twice", 2),
        ("layer applied twice", 2),
        ("BN applied twice", 2),
        ("weight used elsewhere", 2),
        ("two names", 1),
    ],
)
def test_fold_follows_the_forward_pass(way: str, left: int):
    """Not the order of the children: what it may fold it folds, and nothing changes."""
    network, x = Odd(way).eval(), drawn((5, 4))
    folded = norm.fold(network)
    torch.testing.assert_close(folded(x), network(x), rtol=1e-12, atol=1e-12)
    assert sum(isinstance(m, norm.BatchNorm) for m in folded.modules()) == left


def test_a_forward_pass_that_cannot_be_followed_is_refused():
    class Deciding(Odd):
        def forward(self, x: Tensor) -> Tensor:
            return self.bn(self.first(x)) if x.sum() > 0 else x

    with pytest.raises(ValueError, match="^fold: torch.fx cannot follow Deciding .*fold_into$"):
        norm.fold(Deciding("").eval())
