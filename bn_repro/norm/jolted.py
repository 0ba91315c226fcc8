"""BN whose output is jolted at every training step: is it the covariate shift?

After gamma and beta come a shift and a scale of each activation (of a convolution: each feature
map), redrawn at every step, and a little more noise of each example: distributions that BN has just
held in place move again (Santurkar et al. 2018, arXiv 1805.11604, section 2.1). In inference there
is no noise. The mean shift is 0, and scales lie evenly about 1 on a logarithmic axis.

Each function here is a norm for `model.norm=bn_repro.norm.jolted:<name>`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from bn_repro.norm.kinds import Norm
from bn_repro.norm.kinds import batch as batch_norm

EACH = 0.1
"""Half of the range of an example's own shift, and the standard deviation of its own scale."""


class Jolt(nn.Module):
    """y = s x + m in training, (N, C) or (N, C, H, W) -> the same; y = x in inference.

    m and s are an example's, of C activations or feature maps: m is uniform within `EACH` of a
    shift that is uniform from -`shift` to `shift`; s is normal about a scale that is log-uniform
    from 1/`scale` to `scale`, with standard deviation `EACH`. All examples share that shift and
    that scale; every pass draws them anew from the global generator of x's device.
    """

    draws = True
    """It draws at random, so that the training loop seeds every step, as for dropout."""

    def __init__(self, shift: float, scale: float) -> None:
        super().__init__()
        self.shift, self.scale = shift, scale

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        n, channels = x.shape[:2]
        how: dict[str, Any] = {"device": x.device, "dtype": x.dtype}
        shift, log_scale, within = (2 * torch.rand(n + 2, channels, **how) - 1).split([1, 1, n])
        m = self.shift * shift + EACH * within
        s = torch.exp(math.log(self.scale) * log_scale) + EACH * torch.randn(n, channels, **how)
        own = (n, channels, *(1 for _ in x.shape[2:]))
        return s.view(own) * x + m.view(own)

    def extra_repr(self) -> str:
        return f"shift={self.shift}, scale={self.scale}"


def _after(made: Callable[..., nn.Module], shift: float, scale: float) -> Callable[..., nn.Module]:
    return lambda *shape: nn.Sequential(made(*shape), Jolt(shift, scale))


def _jolted(eps: float, momentum: float, shift: float, scale: float) -> Norm:
    bn = batch_norm(eps, momentum)
    of = (_after(made, shift, scale) for made in (bn.fc, bn.conv, bn.per_activation))
    return Norm(*of, bias=bn.bias)


def batch(eps: float, momentum: float) -> Norm:
    """Shifts up to 0.5, scales up to a factor 1.25; at first BN's output has a deviation of 1."""
    return _jolted(eps, momentum, shift=0.5, scale=1.25)


def batch_harder(eps: float, momentum: float) -> Norm:
    """Shifts up to 2, scales up to a factor 2."""
    return _jolted(eps, momentum, shift=2.0, scale=2.0)
