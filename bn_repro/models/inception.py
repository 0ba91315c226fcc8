"""The Inception of section 4.2, as Figure 5 draws it, for 224x224 images and for small ones.

Every convolution is a *unit*, convolution -> norm -> nonlinearity (BN sits immediately before the
nonlinearity, sec. 3.2); there are 69 of them. A stride of 2 halves the side, rounding up:

    image   after conv1   after pool1   after pool2 (3a, 3b)   3c to 4d   4e, 5a, 5b
    224     112           56            28                     14         7
    64      32            16            8                      4          2
    32      16            8             4                      2          1
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import ceil, inf, sqrt

import torch
from torch import Tensor, nn

from bn_repro.models.figure_5 import (
    AUXILIARY_AFTER,
    AUXILIARY_CHANNELS,
    DEPTH_MULTIPLIER,
    STEM_CHANNELS,
    Row,
    Shape,
    require,
    scaled,
)
from bn_repro.models.units import LocalResponseNorm, Unit, Units, side_by_side
from bn_repro.norm import Norm


@dataclass(frozen=True)
class InitialWeights:
    """Weights are drawn from "he" (normal, variance 2 / fan-in) or "gaussian" (standard deviation
    `std`), and multiplied by `gain` (sec. 4.2.3's "larger initial weights").

    The classifier's have the standard deviation `classifier_std`: small, so that the loss starts at
    log(classes) whatever the features' scale. Biases start at `bias`, the classifier's at 0.

    Raises ValueError for another distribution, and for a `std`, `gain` or `classifier_std` that is
    not above 0.
    """

    distribution: str = "he"
    std: float = 0.01
    gain: float = 1.0
    classifier_std: float = 0.01
    bias: float = 0.0

    def __post_init__(self) -> None:
        known = self.distribution in ("he", "gaussian")
        require(self, "distribution", known, "'he' or 'gaussian'")
        require(self, "std", 0 < self.std < inf, "a number above 0")
        require(self, "gain", 0 < self.gain < inf, "a factor above 0")
        require(self, "classifier_std", 0 < self.classifier_std < inf, "a number above 0")


def pool3x3(shape: Shape, kind: str, stride: int) -> nn.Module:
    """3x3 pooling, padded by 1 as the 3x3 convolutions are.

    Averages leave the padding out: its zeros would shrink the 2x2 maps of a 64x64 image to 4/9.
    `shape` can choose Caffe's way of both.
    """
    if kind == "avg":
        return nn.AvgPool2d(3, stride, padding=1, count_include_pad=shape.padded_averages)
    if shape.ceil_pools and stride == 2:
        return nn.MaxPool2d(3, stride, ceil_mode=True)
    return nn.MaxPool2d(3, stride, padding=1)


class InceptionModule(nn.ModuleDict):
    """The branches of a row side by side, their outputs concatenated along the channels.

    (N, c_in, H, W) -> (N, c_out, H/stride, W/stride), rounded up. With `side`, the height and width
    of its input, all its norms are per activation.

    In training the 1x1 units that read its input run as one convolution (`side_by_side`).
    """

    def __init__(self, row: Row, c_in: int, units: Units, side: int | None = None) -> None:
        super().__init__()
        after = side and ceil(side / row.stride)

        if row.one:
            self["1x1"] = units.conv(c_in, row.one, side=after)

        reduced, out = row.three
        self["3x3_reduce"] = units.conv(c_in, reduced, side=side)
        self["3x3"] = units.conv(reduced, out, 3, row.stride, side=after)

        reduced, out = row.double
        self["double3x3_reduce"] = units.conv(c_in, reduced, side=side)
        self["double3x3_a"] = units.conv(reduced, out, 3, side=side)
        self["double3x3_b"] = units.conv(out, out, 3, row.stride, side=after)

        self["pool"] = units.pool(row.pool, row.stride)
        if row.projection:
            self["pool_projection"] = units.conv(c_in, row.projection, side=after)

        chains = (
            ("1x1",),
            ("3x3_reduce", "3x3"),
            ("double3x3_reduce", "double3x3_a", "double3x3_b"),
            ("pool", "pool_projection"),
        )
        present = ([name for name in chain if name in self] for chain in chains)
        self.branches = [branch for branch in present if branch]
        self.c_out = (row.one or 0) + row.three[1] + row.double[1] + (row.projection or c_in)

    def forward(self, x: Tensor) -> Tensor:
        begin = [self[branch[0]] for branch in self.branches]
        if self.training:
            units = [layer for layer in begin if isinstance(layer, Unit)]  # all but the pool
            outputs = [*side_by_side(units, x), self["pool"](x)]
        else:
            outputs = [layer(x) for layer in begin]
        for k, branch in enumerate(self.branches):
            for name in branch[1:]:
                outputs[k] = self[name](outputs[k])
        return torch.cat(outputs, dim=1)


class Auxiliary(nn.Module):
    """GoogLeNet's auxiliary classifier.

    Average pool 5x5/3, 1x1 unit, fully connected unit, logits: (N, c_in, side, side) ->
    (N, classes). At 224 the side is 14, and 4 once pooled; a map smaller
    than the window (4x4, of 64x64 images) is not pooled.
    """

    def __init__(self, c_in: int, side: int, units: Units, shape: Shape) -> None:
        super().__init__()
        reduced, hidden = (scaled(channels, shape.width) for channels in AUXILIARY_CHANNELS)
        self.pool = nn.AvgPool2d(5, 3) if side >= 5 else nn.Identity()
        pooled = (side - 5) // 3 + 1 if side >= 5 else side
        self.reduce = units.conv(c_in, reduced)
        self.fc = units.fc(reduced * pooled * pooled, hidden)
        self.dropout = nn.Dropout(shape.dropout)
        self.classifier = nn.Linear(hidden, shape.classes)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.fc(self.reduce(self.pool(x)).flatten(1))
        return self.classifier(self.dropout(hidden))


class Inception(nn.Module):
    """Figure 5: images (N, 3, H, W) -> logits (N, classes).

    With an auxiliary classifier, in training mode: (logits, auxiliary logits), both (N, classes).

    Args:
        norm: what stands before each nonlinearity, and whether convolutions keep their bias.
        nonlinearity: makes one; not in place, for traces read its input after the backward pass.
        generator: a CPU generator that the initial weights are drawn from, in an order that does
            not depend on the norm or the auxiliary classifier.
    """

    def __init__(
        self,
        shape: Shape,
        *,
        norm: Norm,
        nonlinearity: Callable[[], nn.Module] = nn.ReLU,
        weights: InitialWeights = InitialWeights(),
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        units = Units(norm, nonlinearity, partial(pool3x3, shape))
        self.trunk, channels = stem(shape, units)
        auxiliary = None
        side = ceil(shape.image_size / 8)
        rows = shape.rows()
        for number, row in enumerate(rows):
            per_activation = number >= len(rows) - shape.per_activation_modules
            module = InceptionModule(row, channels, units, side if per_activation else None)
            self.trunk.add_module(row.name, module)
            channels, side = module.c_out, ceil(side / row.stride)
            if shape.auxiliary and row.name == AUXILIARY_AFTER:
                auxiliary = Auxiliary(channels, side, units, shape)
        self.dropout = nn.Dropout(shape.dropout)
        self.classifier = nn.Linear(channels, shape.classes)
        self.auxiliary = auxiliary  # last, so that it draws after all the others
        initialise(self, weights, generator)
        for unit in [module for module in self.modules() if isinstance(module, Unit)]:
            norm.weights(unit.linear)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        auxiliary_logits = None
        for name, layer in self.trunk.named_children():
            x = layer(x)
            if name == AUXILIARY_AFTER and self.auxiliary is not None and self.training:
                auxiliary_logits = self.auxiliary(x)
        # Not x.mean: its gradient has another memory layout than x, and is copied.
        mean = x.sum(dim=(2, 3)) / x[0, 0].numel()
        logits = self.classifier(self.dropout(mean))
        return logits if auxiliary_logits is None else (logits, auxiliary_logits)

    def sites(self) -> dict[str, nn.Module]:
        """The nonlinearities in the order of Figure 5, by name: conv1, ..., 3a.1x1, ....

        There are 69 with all modules. The auxiliary classifier adds auxiliary.reduce and
        auxiliary.fc, which act in training only.
        """
        return {
            name.removeprefix("trunk."): module.nonlinearity
            for name, module in self.named_modules()
            if isinstance(module, Unit)
        }


def stem(shape: Shape, units: Units) -> tuple[nn.Sequential, int]:
    """What precedes the modules, (N, 3, H, W) -> (N, C, H/8, W/8), and C."""
    conv1, conv2_reduce, conv2 = (scaled(channels, shape.width) for channels in STEM_CHANNELS)
    layers = nn.Sequential()
    add = layers.add_module
    if shape.separable_stem:
        deep = 3 * DEPTH_MULTIPLIER
        add("conv1_depthwise", nn.Conv2d(3, deep, 7, 2, 3, groups=3, bias=False))
        add("conv1", units.conv(deep, conv1))
    else:
        add("conv1", units.conv(3, conv1, 7, 2))
    add("pool1", units.pool("max", 2))
    if shape.lrn:
        add("lrn1", LocalResponseNorm(conv1))
    add("conv2_reduce", units.conv(conv1, conv2_reduce))
    add("conv2", units.conv(conv2_reduce, conv2, 3))
    if shape.lrn:
        add("lrn2", LocalResponseNorm(conv2))
    add("pool2", units.pool("max", 2))
    return layers, conv2


@torch.no_grad()
def initialise(model: nn.Module, weights: InitialWeights, generator: torch.Generator) -> None:
    """Draw all weights, in the order of the modules, and set biases.

    A module named classifier is a classifier.
    """
    for name, module in model.named_modules():
        if not isinstance(module, nn.Conv2d | nn.Linear):
            continue
        classifies = name.endswith("classifier")
        if classifies:
            std = weights.classifier_std
        else:
            fan_in = module.weight[0].numel()
            he = weights.distribution == "he"
            std = weights.gain * (sqrt(2 / fan_in) if he else weights.std)
        module.weight.normal_(0, std, generator=generator)
        if module.bias is not None:
            module.bias.fill_(0.0 if classifies else weights.bias)
