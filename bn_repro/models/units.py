"""What Inception is built of: a convolution or a matrix, its norm and its nonlinearity."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bn_repro.norm import Norm

SMALL = 2_000_000  # multiply-adds up to which a matrix product is the faster 1x1 convolution


class Unit(nn.Module):
    """z = g(norm(Wu)), W a convolution or a matrix, with a bias only where the norm leaves one.

    With ``after`` z = norm(g(Wu + b)).

    In training a 1x1 convolution is :func:`conv1x1`, so a hook on the convolution is not called.
    """

    def __init__(
        self, linear: nn.Module, norm: nn.Module, nonlinearity: nn.Module, after: bool = False
    ) -> None:
        super().__init__()
        self.after = after
        self.linear = linear
        self.norm = norm
        self.nonlinearity = nonlinearity

    def forward(self, u: Tensor) -> Tensor:
        W = self.linear
        if self.training and isinstance(W, nn.Conv2d) and W.kernel_size == W.stride == (1, 1):
            return self.activate(conv1x1(u, W.weight, W.bias))
        return self.activate(W(u))

    def activate(self, x: Tensor) -> Tensor:
        """g(norm(x)) or norm(g(x)).

        A ReLU works in place, unless it has a hook (a trace). So the operation before it may keep
        its input for the backward pass, but not its output.
        """
        g = self.nonlinearity
        y = x if self.after else self.norm(x)
        hooked = g._forward_pre_hooks or g._forward_hooks or g._backward_hooks
        z = torch.relu_(y) if type(g) is nn.ReLU and not hooked else g(y)
        return self.norm(z) if self.after else z


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

    def __post_init__(self) -> None:
        if self.norm.at == "input":
            raise ValueError(
                "Inception: a norm on the inputs of its units is not offered, since branches share "
                "theirs; it takes one before or after the nonlinearity"
            )

    def conv(
        self, c_in: int, c_out: int, kernel: int = 1, stride: int = 1, *, side: int | None = None
    ) -> Unit:
        """(N, c_in, H, W) -> (N, c_out, H/stride, W/stride), rounded up.

        With `side`, the height and width of its output, the norm has a gamma and a beta for every
        activation; without, for every feature map.
        """
        conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, bias=self.norm.bias)
        norm = self.norm.per_activation(c_out, side, side) if side else self.norm.conv(c_out)
        return self._unit(conv, norm)

    def fc(self, n_in: int, n_out: int) -> Unit:
        """(N, n_in) -> (N, n_out)."""
        matrix = nn.Linear(n_in, n_out, bias=self.norm.bias)
        return self._unit(matrix, self.norm.fc(n_out))

    def _unit(self, linear: nn.Module, norm: nn.Module) -> Unit:
        return Unit(linear, norm, self.nonlinearity(), after=self.norm.at == "after")


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
