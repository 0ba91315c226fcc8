"""The Inception of section 4.2, as Figure 5 draws it, for 224x224 images and for small ones.

Every convolution is a *unit*, convolution -> norm -> nonlinearity (BN sits immediately before the
nonlinearity, sec. 3.2); there are 69 of them. A stride of 2 halves the side, rounding up:

    image   after conv1   after pool1   after pool2 (3a, 3b)   3c to 4d   4e, 5a, 5b
    224     112           56            28                     14         7
    64      32            16            8                      4          2
    32      16            8             4                      2          1
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil, inf, sqrt
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bn_repro.norm import Norm


class Row(NamedTuple):
    """One row of Figure 5: the channels of a module's branches."""

    name: str
    stride: int
    one: int | None  # 1x1; None: no such branch
    three: tuple[int, int]  # 1x1 reduction, then 3x3
    double: tuple[int, int]  # 1x1 reduction, then 3x3 and 3x3, both with the second number
    pool: str
    projection: int | None  # 1x1 after the pool; None: the pooled input passes through

    def scaled(self, width: float) -> Row:
        return self._replace(
            one=self.one and scaled(self.one, width),
            three=(scaled(self.three[0], width), scaled(self.three[1], width)),
            double=(scaled(self.double[0], width), scaled(self.double[1], width)),
            projection=self.projection and scaled(self.projection, width),
        )


# The figure prints 128 after the pools of 4c and 4d, which contradicts the output channels that it
# prints for 4c, 4d and 4e; 96 gives them. `Shape.pool_projection` chooses.
FIGURE_5 = (
    #    name  / 1x1   3x3         double 3x3  pool        output channels
    Row("3a", 1, 64, (64, 64), (64, 96), "avg", 32),  # 256
    Row("3b", 1, 64, (64, 96), (64, 96), "avg", 64),  # 320
    Row("3c", 2, None, (128, 160), (64, 96), "max", None),  # 576
    Row("4a", 1, 224, (64, 96), (96, 128), "avg", 128),  # 576
    Row("4b", 1, 192, (96, 128), (96, 128), "avg", 128),  # 576
    Row("4c", 1, 160, (128, 160), (128, 160), "avg", 96),  # 576
    Row("4d", 1, 96, (128, 192), (160, 192), "avg", 96),  # 576
    Row("4e", 2, None, (128, 192), (192, 256), "max", None),  # 1024
    Row("5a", 1, 352, (192, 320), (160, 224), "avg", 128),  # 1024
    Row("5b", 1, 352, (192, 320), (192, 224), "max", 128),  # 1024
)
STEM_CHANNELS = (64, 64, 192)  # conv1 7x7/2, conv2_reduce 1x1, conv2 3x3
DEPTH_MULTIPLIER = 8  # of the separable conv1; the width factor leaves it alone
AUXILIARY_AFTER = "4d"
AUXILIARY_CHANNELS = (128, 768)  # 768, where GoogLeNet had 1024, gives the text's 13.6e6 parameters
SMALL = 2_000_000  # multiply-adds up to which a matrix product is the faster 1x1 convolution


@dataclass(frozen=True)
class Shape:
    """Which network of Figure 5's kind.

    Args:
        classes: number of logits.
        image_size: side of the images in pixels, 32 or more. It matters to `auxiliary` and
            `per_activation_modules`; other networks take images of any size.
        width: factor on all numbers of channels, which are then rounded to multiples of 8.
        modules: the names of Figure 5's rows that the network has, in its order; None: all. Each
            takes the channels of the one before it; only rows of stride 2 that it has pool.
        lrn: local response normalization at GoogLeNet's two places in the stem.
        pool_projection: channels after the pools of 4c and 4d: 96 (corrected) or 128 (as printed).
        separable_stem: conv1 as a depthwise 7x7/2, bare, and a 1x1 unit.
        auxiliary: a side classifier on the output of 4d.
        per_activation_modules: in so many modules, from the last backwards, the norm is per
            activation (sec. 4.2.3's "non-convolutional BN in the last hidden layers").
        dropout: probability of dropping a feature before the classifiers.
        ceil_pools: pools of stride 2 as Caffe has them, in ceil mode and without padding, for
            images of multiples of 32 pixels; False: centred where the strided convolutions are. (In
            the authors' later release too, but where a side is even, a pixel further on.)
        padded_averages: averages count the zeros around the map, as Caffe's do; False: only what is
            inside, as in the authors' later release. Weights of BN-Inception that come from Caffe
            want both switches and `pool_projection=128`.

    Raises:
        ValueError: a value outside of what is said here.
    """

    classes: int = 1000
    image_size: int = 224
    width: float = 1.0
    modules: tuple[str, ...] | None = None
    lrn: bool = False
    pool_projection: int = 96
    separable_stem: bool = False
    auxiliary: bool = False
    per_activation_modules: int = 0
    dropout: float = 0.0
    ceil_pools: bool = False
    padded_averages: bool = False

    def __post_init__(self) -> None:
        known = [row.name for row in FIGURE_5]
        own = known if self.modules is None else list(self.modules)
        in_order = own and own == [name for name in known if name in own]
        _require(self, "modules", bool(in_order), f"names out of {', '.join(known)}, in this order")
        auxiliary = not self.auxiliary or AUXILIARY_AFTER in own
        _require(self, "auxiliary", auxiliary, f"False without {AUXILIARY_AFTER}, where it stands")
        _require(self, "classes", self.classes >= 1, "1 or more")
        _require(self, "image_size", self.image_size >= 32, "32 pixels or more")  # 5 strides of 2
        _require(self, "width", 0 < self.width < inf, "a factor above 0")
        printed = self.pool_projection in (96, 128)
        _require(self, "pool_projection", printed, "96 (corrected) or 128 (printed)")
        last = 0 <= self.per_activation_modules <= len(own)
        _require(self, "per_activation_modules", last, f"0 to {len(own)} modules")
        _require(self, "dropout", 0 <= self.dropout < 1, "a probability below 1")
        even = not self.ceil_pools or self.image_size % 32 == 0
        _require(self, "ceil_pools", even, "False for images that are no multiple of 32 pixels")

    def rows(self) -> list[Row]:
        """The rows of Figure 5 that this network has, with its channels."""
        ours = {"4c": self.pool_projection, "4d": self.pool_projection}
        rows = (row._replace(projection=ours.get(row.name, row.projection)) for row in FIGURE_5)
        own = self.modules
        return [row.scaled(self.width) for row in rows if own is None or row.name in own]


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
        _require(self, "distribution", known, "'he' or 'gaussian'")
        _require(self, "std", 0 < self.std < inf, "a number above 0")
        _require(self, "gain", 0 < self.gain < inf, "a factor above 0")
        _require(self, "classifier_std", 0 < self.classifier_std < inf, "a number above 0")


def _require(part: object, name: str, holds: bool, expected: str) -> None:
    if not holds:
        raise ValueError(f"{name}: {getattr(part, name)!r}; expected {expected}")


class Unit(nn.Module):
    """z = g(norm(Wu)), W a convolution or a matrix, with a bias only where the norm leaves one.

    In training a 1x1 convolution is :func:`conv1x1`, so a hook on the convolution is not called.
    """

    def __init__(self, linear: nn.Module, norm: nn.Module, nonlinearity: nn.Module) -> None:
        super().__init__()
        self.linear = linear
        self.norm = norm
        self.nonlinearity = nonlinearity

    def forward(self, u: Tensor) -> Tensor:
        W = self.linear
        if self.training and isinstance(W, nn.Conv2d) and W.kernel_size == W.stride == (1, 1):
            return self.activate(conv1x1(u, W.weight, W.bias))
        return self.activate(W(u))

    def activate(self, x: Tensor) -> Tensor:
        """g(norm(x)). A ReLU overwrites what it reads, unless a hook of its own looks (a trace).

        So the gradient of a norm may need its input, but not its output.
        """
        y, g = self.norm(x), self.nonlinearity
        hooked = g._forward_pre_hooks or g._forward_hooks or g._backward_hooks
        return torch.relu_(y) if type(g) is nn.ReLU and not hooked else g(y)


def conv1x1(u: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
    """(N, c_in, H, W) -> (N, c_out, H, W); a small one on a CPU as a product of matrices.

    On one core a convolution takes 30 us at least, and 56 in the backward pass, a product 8 each;
    but large products take up to twice as long as the convolution.
    """
    if u.is_cpu and u.numel() * len(kernel) < SMALL:
        return F.linear(u.permute(0, 2, 3, 1), kernel.flatten(1), bias).permute(0, 3, 1, 2)
    return F.conv2d(u, kernel, bias)


def side_by_side(units: Sequence[Unit], u: Tensor) -> list[Tensor]:
    """The outputs of 1x1 units that all read u, by one convolution with their kernels stacked.

    One by one they take 1.4 times as long on one core (64x64 images, width 0.25).
    """
    kernels, biases = zip(*((unit.linear.weight, unit.linear.bias) for unit in units), strict=True)
    bias = None if biases[0] is None else torch.cat(biases)
    x = conv1x1(u, torch.cat(kernels), bias)
    parts = x.split([len(kernel) for kernel in kernels], dim=1)
    # A copy: BN takes 4 times as long for a part of a tensor.
    return [unit.activate(part.clone()) for unit, part in zip(units, parts, strict=True)]


@dataclass(frozen=True)
class Units:
    """Makes the network's units, all with the same kind of norm and nonlinearity."""

    norm: Norm
    nonlinearity: Callable[[], nn.Module]
    pool: Callable[[str, int], nn.Module]  # (kind, stride)

    def conv(
        self, c_in: int, c_out: int, kernel: int = 1, stride: int = 1, *, side: int | None = None
    ) -> Unit:
        """(N, c_in, H, W) -> (N, c_out, H/stride, W/stride), rounded up.

        With `side`, the height and width of its output, the norm has a gamma and a beta for every
        activation; without, for every feature map.
        """
        conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, bias=self.norm.bias)
        norm = self.norm.per_activation(c_out, side, side) if side else self.norm.conv(c_out)
        return Unit(conv, norm, self.nonlinearity())

    def fc(self, n_in: int, n_out: int) -> Unit:
        """(N, n_in) -> (N, n_out)."""
        matrix = nn.Linear(n_in, n_out, bias=self.norm.bias)
        return Unit(matrix, self.norm.fc(n_out), self.nonlinearity())


def pool3x3(shape: Shape, kind: str, stride: int) -> nn.Module:
    """Pooling over 3x3 windows; unless `shape` says otherwise, centred where a 3x3 convolution's
    are, and averages over the pixels inside the map: counting zeros around it would shrink the 2x2
    maps of a 64x64 image to 4/9.
    """
    if kind == "avg":
        return nn.AvgPool2d(3, stride, padding=1, count_include_pad=shape.padded_averages)
    if shape.ceil_pools and stride == 2:
        return nn.MaxPool2d(3, stride, ceil_mode=True)
    return nn.MaxPool2d(3, stride, padding=1)


class LocalResponseNorm(nn.Module):
    """GoogLeNet's LRN: x / (1 + alpha * mean of x^2 over the nearest 5 channels)^0.75, alpha 1e-4.

    (N, channels, H, W) -> the same. Mean, not AlexNet's sum; at the edges missing channels count as
    zeros. It is `nn.LocalResponseNorm(5)` with the window as a 1x1 convolution: on one core, at
    64x64 and width 0.5, PyTorch's two add 47 % to the whole training step, these two 10 %.
    """

    window: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        c = torch.arange(channels)
        near = (c[:, None] - c).abs() <= 2
        self.register_buffer("window", (1e-4 / 5) * near[:, :, None, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        divisor = 1 + F.conv2d(x * x, self.window).float()  # in bfloat16 it would round to 1
        return x * divisor.pow(-0.75)


class InceptionModule(nn.ModuleDict):
    """The branches of a row side by side, their outputs concatenated along the channels.

    (N, c_in, H, W) -> (N, c_out, H/stride, W/stride), rounded up. With `side`, the height and width
    of its input, all its norms are per activation.

    The two or three 1x1 units that read the module's input could run as one convolution of their
    concatenated weights. Measured on one core at 64x64, batch 32, width 0.5 and 0.25, with BN: 2 to
    5 % of the training step, which is not worth a second path through the module.
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
    """GoogLeNet's side classifier: average pool 5x5/3, 1x1 unit, fully connected unit, classifier.

    (N, c_in, side, side) -> (N, classes). At 224 the side is 14, and 4 once pooled; a map smaller
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
        side_classifier = None
        side = ceil(shape.image_size / 8)
        rows = shape.rows()
        for number, row in enumerate(rows):
            per_activation = number >= len(rows) - shape.per_activation_modules
            module = InceptionModule(row, channels, units, side if per_activation else None)
            self.trunk.add_module(row.name, module)
            channels, side = module.c_out, ceil(side / row.stride)
            if shape.auxiliary and row.name == AUXILIARY_AFTER:
                side_classifier = Auxiliary(channels, side, units, shape)
        self.dropout = nn.Dropout(shape.dropout)
        self.classifier = nn.Linear(channels, shape.classes)
        self.auxiliary = side_classifier  # last, so that it draws after all the others
        initialise(self, weights, generator)
        for unit in [module for module in self.modules() if isinstance(module, Unit)]:
            norm.weights(unit.linear)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        side_logits = None
        for name, layer in self.trunk.named_children():
            x = layer(x)
            if name == AUXILIARY_AFTER and self.auxiliary is not None and self.training:
                side_logits = self.auxiliary(x)
        # The gradient of a sum has the layout of x; that of a mean is copied into another.
        mean = x.sum(dim=(2, 3)) / x[0, 0].numel()
        logits = self.classifier(self.dropout(mean))
        return logits if side_logits is None else (logits, side_logits)

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


def scaled(channels: int, width: float) -> int:
    """A number of channels times the width factor, to the nearest multiple of 8 (at least 8)."""
    return max(8, 8 * int(channels * width / 8 + 0.5))


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
