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
# prints for 4c, 4d and 4e; 96 gives them. The argument `pool_projection_4cd` chooses.
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
MIN_IMAGE_SIZE = 32  # five strides of 2 leave one pixel
CLASSIFIER_STD = 0.01  # small, so that the loss starts at log(classes) whatever the features' scale


class Unit(nn.Module):
    """z = g(norm(Wu)), W a convolution or a matrix, with a bias only where the norm leaves one."""

    def __init__(self, linear: nn.Module, norm: nn.Module, nonlinearity: nn.Module) -> None:
        super().__init__()
        self.linear = linear
        self.norm = norm
        self.nonlinearity = nonlinearity

    def forward(self, u: Tensor) -> Tensor:
        return self.nonlinearity(self.norm(self.linear(u)))


@dataclass(frozen=True)
class Units:
    """Makes the network's units, all with the same kind of norm and nonlinearity."""

    norm: Norm
    nonlinearity: Callable[[], nn.Module]

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


def pool3x3(kind: str, stride: int) -> nn.Module:
    """Pooling over 3x3 windows, centred where a 3x3 convolution's are.

    Averages are over the pixels inside the map: counting zeros around it would shrink the 2x2 maps
    of a 64x64 image to 4/9.
    """
    if kind == "max":
        return nn.MaxPool2d(3, stride, padding=1)
    return nn.AvgPool2d(3, stride, padding=1, count_include_pad=False)


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

        self["pool"] = pool3x3(row.pool, row.stride)
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
        outputs = []
        for branch in self.branches:
            z = x
            for name in branch:
                z = self[name](z)
            outputs.append(z)
        return torch.cat(outputs, dim=1)


class Auxiliary(nn.Module):
    """GoogLeNet's side classifier: average pool 5x5/3, 1x1 unit, fully connected unit, classifier.

    (N, c_in, side, side) -> (N, classes). At 224 the side is 14, and 4 once pooled; a map smaller
    than the window (4x4, of 64x64 images) is not pooled.
    """

    def __init__(
        self, c_in: int, side: int, units: Units, *, width: float, dropout: float, classes: int
    ) -> None:
        super().__init__()
        reduced, hidden = (scaled(channels, width) for channels in AUXILIARY_CHANNELS)
        self.pool = nn.AvgPool2d(5, 3) if side >= 5 else nn.Identity()
        pooled = (side - 5) // 3 + 1 if side >= 5 else side
        self.reduce = units.conv(c_in, reduced)
        self.fc = units.fc(reduced * pooled * pooled, hidden)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.fc(self.reduce(self.pool(x)).flatten(1))
        return self.classifier(self.dropout(hidden))


class Inception(nn.Module):
    """Figure 5: images (N, 3, H, W) -> logits (N, classes).

    With `auxiliary`, in training mode: (logits, auxiliary logits), both (N, classes).

    Args:
        norm: what stands before each nonlinearity, and whether convolutions keep their bias.
        nonlinearity: makes one; not in place, for traces read its input after the backward pass.
        dropout: probability of dropping a feature before the classifiers.
        lrn: local response normalization at GoogLeNet's two places in the stem.
        pool_projection_4cd: 96 (corrected) or 128 (as printed).
        separable_stem: conv1 as a depthwise 7x7/2, bare, and a 1x1 unit.
        auxiliary: a side classifier on the output of 4d.
        width: factor on all numbers of channels, which are then rounded to multiples of 8.
        per_activation_last: in so many modules, from 5b backwards, the norm is per activation
            (sec. 4.2.3's "non-convolutional BN in the last hidden layers").
        image_size: side of the images in pixels, 32 or more. It matters to `per_activation_last`
            and `auxiliary`; other networks take images of any size.
        init: "he" (normal, variance 2 / fan-in) or "gaussian" (standard deviation `init_std`);
            biases start at 0.
        init_gain: factor on those weights (sec. 4.2.3's "larger initial weights").
        generator: a CPU generator that the initial weights are drawn from, in an order that does
            not depend on the norm or the auxiliary classifier.

    Raises:
        ValueError: an argument outside of what is said here.
    """

    def __init__(
        self,
        *,
        classes: int = 1000,
        norm: Norm,
        nonlinearity: Callable[[], nn.Module] = nn.ReLU,
        dropout: float = 0.0,
        lrn: bool = False,
        pool_projection_4cd: int = 96,
        separable_stem: bool = False,
        auxiliary: bool = False,
        width: float = 1.0,
        per_activation_last: int = 0,
        image_size: int = 224,
        init: str = "he",
        init_std: float = 0.01,
        init_gain: float = 1.0,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        _require(classes >= 1, f"classes: {classes}; expected 1 or more")
        _require(0 <= dropout < 1, f"dropout: {dropout}; expected a probability below 1")
        _require(
            pool_projection_4cd in (96, 128),
            f"pool_projection_4cd: {pool_projection_4cd}; expected 96 (corrected) or 128 (printed)",
        )
        _require(0 < width < inf, f"width: {width}; expected a factor above 0")
        _require(
            0 <= per_activation_last <= len(FIGURE_5),
            f"per_activation_last: {per_activation_last}; expected 0 to {len(FIGURE_5)} modules",
        )
        _require(
            image_size >= MIN_IMAGE_SIZE,
            f"image_size: {image_size}; expected {MIN_IMAGE_SIZE} pixels or more",
        )
        _require(init in ("he", "gaussian"), f"init: {init!r}; expected 'he' or 'gaussian'")
        _require(0 < init_std < inf, f"init_std: {init_std}; expected a number above 0")
        _require(0 < init_gain < inf, f"init_gain: {init_gain}; expected a factor above 0")

        units = Units(norm, nonlinearity)

        conv1, conv2_reduce, conv2 = (scaled(channels, width) for channels in STEM_CHANNELS)
        self.trunk = nn.Sequential()
        add = self.trunk.add_module
        if separable_stem:
            deep = 3 * DEPTH_MULTIPLIER
            add("conv1_depthwise", nn.Conv2d(3, deep, 7, 2, 3, groups=3, bias=False))
            add("conv1", units.conv(deep, conv1))
        else:
            add("conv1", units.conv(3, conv1, 7, 2))
        add("pool1", pool3x3("max", 2))
        if lrn:
            add("lrn1", LocalResponseNorm(conv1))
        add("conv2_reduce", units.conv(conv1, conv2_reduce))
        add("conv2", units.conv(conv2_reduce, conv2, 3))
        if lrn:
            add("lrn2", LocalResponseNorm(conv2))
        add("pool2", pool3x3("max", 2))

        side_classifier = None
        channels, side = conv2, ceil(image_size / 8)
        for number, row in enumerate(FIGURE_5):
            if row.name in ("4c", "4d"):
                row = row._replace(projection=pool_projection_4cd)
            per_activation = number >= len(FIGURE_5) - per_activation_last
            module = InceptionModule(
                row.scaled(width), channels, units, side if per_activation else None
            )
            add(row.name, module)
            channels, side = module.c_out, ceil(side / row.stride)
            if auxiliary and row.name == AUXILIARY_AFTER:
                side_classifier = Auxiliary(
                    channels, side, units, width=width, dropout=dropout, classes=classes
                )
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(channels, classes)
        self.auxiliary = side_classifier  # last, so that it draws after all the others
        initialise(
            self, std=None if init == "he" else init_std, gain=init_gain, generator=generator
        )

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        side_logits = None
        for name, layer in self.trunk.named_children():
            x = layer(x)
            if name == AUXILIARY_AFTER and self.auxiliary is not None and self.training:
                side_logits = self.auxiliary(x)
        logits = self.classifier(self.dropout(x.mean(dim=(2, 3))))
        return logits if side_logits is None else (logits, side_logits)

    def sites(self) -> dict[str, nn.Module]:
        """The nonlinearities in the order of Figure 5, by name: conv1, ..., 3a.1x1, ...: 69.

        The auxiliary classifier adds auxiliary.reduce and auxiliary.fc, which act in training only.
        """
        return {
            name.removeprefix("trunk."): module.nonlinearity
            for name, module in self.named_modules()
            if isinstance(module, Unit)
        }


def scaled(channels: int, width: float) -> int:
    """A number of channels times the width factor, to the nearest multiple of 8 (at least 8)."""
    return max(8, 8 * int(channels * width / 8 + 0.5))


@torch.no_grad()
def initialise(
    model: nn.Module, *, std: float | None, gain: float, generator: torch.Generator
) -> None:
    """Draw all weights, in the order of the modules; set biases to 0.

    Normal, with standard deviation `gain` times `std`, which None makes He's sqrt(2 / fan-in); a
    module named classifier gets CLASSIFIER_STD.
    """
    for name, module in model.named_modules():
        if not isinstance(module, nn.Conv2d | nn.Linear):
            continue
        if name.endswith("classifier"):
            spread = CLASSIFIER_STD
        else:
            fan_in = module.weight[0].numel()
            spread = gain * (sqrt(2 / fan_in) if std is None else std)
        module.weight.normal_(0, spread, generator=generator)
        if module.bias is not None:
            module.bias.zero_()


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)
