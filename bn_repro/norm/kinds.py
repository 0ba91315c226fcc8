"""A model's normalization: `Norm`, and a function for each kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from torch import nn

from bn_repro.norm.batch_norm import BatchNorm, BatchNormPerActivation, BatchNormPerFeatureMap
from bn_repro.norm.per_example import GroupNorm, InstanceNorm, LayerNorm
from bn_repro.norm.weight_norm import weight_norm

Place = Literal["before", "after", "input"]
"""Where BN stands in a layer (sec. 3.2): before the nonlinearity, g(BN(Wu)); after it,
BN(g(Wu + b)); on the layer's input, g(W BN(u) + b)."""


def as_drawn(layer: nn.Module) -> None:
    """Leave the weights of a layer as they are."""


@dataclass(frozen=True)
class Norm:
    """A kind of normalization: functions that make its module for an input of a given shape."""

    fc: Callable[[int], nn.Module]  # (width) -> for (N, width)
    conv: Callable[[int], nn.Module]  # (C) -> for (N, C, H, W), per feature map
    per_activation: Callable[[int, int, int], nn.Module]  # (C, H, W) -> for (N, C, H, W)
    bias: bool  # whether the layer before has the b of Wu + b; with BN, beta replaces it (sec. 3.2)
    weights: Callable[[nn.Module], None] = as_drawn  # to the layer before, once it has its weights
    at: Place = "before"

    def placed(self, at: Place) -> Norm:
        """This norm at `at`. Beta replaces the layer's b "before" alone; elsewhere it is kept."""
        return replace(self, at=at, bias=self.bias or at != "before")


def none(eps: float = 1e-5, momentum: float = 0.1) -> Norm:
    """No normalization; it ignores the arguments, which are those of the other norms.

    "No norm" is a Norm too, so models need no `if`.
    """
    return Norm(nn.Identity, nn.Identity, nn.Identity, bias=True)


def batch(eps: float = 1e-5, momentum: float = 0.1, **options: bool) -> Norm:
    """Batch normalization; the arguments are those of `BatchNorm`."""

    def form(layer: type[BatchNorm]) -> Callable[..., BatchNorm]:
        return partial(layer, eps=eps, momentum=momentum, **options)

    activation, feature_map = form(BatchNormPerActivation), form(BatchNormPerFeatureMap)
    return Norm(activation, feature_map, activation, bias=False)


def sync_batch(eps: float = 1e-5, momentum: float = 0.1, fused: bool = True) -> Norm:
    """Batch normalization that trains on the joined mini-batch of all ranks."""
    return batch(eps, momentum, fused=fused, synchronized=True)


def layer(eps: float = 1e-5, momentum: float = 0.1) -> Norm:
    """Layer normalization; gamma and beta where BN has them. It has no use for the momentum."""
    made = partial(LayerNorm, eps=eps)
    return Norm(made, made, made, bias=False)


def group(eps: float = 1e-5, momentum: float = 0.1, groups: int = 32) -> Norm:
    """Group normalization, in 32 groups as its paper has it; it has no use for the momentum.

    Where 32 groups do not divide the channels into two or more each, the largest number that does.
    """

    def made(channels: int, *positions: int) -> GroupNorm:
        divides = (g for g in range(groups, 0, -1) if channels % g == 0 and 2 * g <= channels)
        return GroupNorm(next(divides, 1), channels, *positions, eps=eps)

    return Norm(made, made, made, bias=False)


def instance(eps: float = 1e-5, momentum: float = 0.1) -> Norm:
    """Instance normalization; it has no use for the momentum.

    A unit of a fully connected layer has one value in an example. Such a layer counts as one map of
    `width` positions: it is normalized as by layer normalization, with one gamma and one beta.
    """
    made = partial(InstanceNorm, eps=eps)

    def one_map(width: int) -> nn.Module:
        return nn.Sequential(nn.Unflatten(1, (1, width)), made(1), nn.Flatten())

    return Norm(one_map, made, made, bias=False)


def weight(eps: float = 1e-5, momentum: float = 0.1) -> Norm:
    """Weight normalization of the layer before, without a module of its own.

    It ignores the arguments.
    """
    return Norm(nn.Identity, nn.Identity, nn.Identity, bias=True, weights=weight_norm)
