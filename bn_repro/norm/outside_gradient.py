"""Section 2's warning: a normalization that the gradient step ignores.

With x = u + b and x_hat = x - E[x], a gradient that takes E[x] for a constant updates b, and the
change cancels in x_hat: the loss stays, and b grows without bound. "This problem can get worse if
the normalization not only centers but also scales the activations."

Each function here is a norm for `model.norm=bn_repro.norm.outside_gradient:<name>`. The layer
before keeps its b, so that it can be watched; with the statistics inside the gradient, b's gradient
is 0.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bn_repro.norm.kinds import Norm


class MiniBatchNorm(nn.Module):
    """gamma x_hat + beta by the mini-batch's statistics, (N, C) or (N, C, ...) -> the same.

    It computes in float32 or wider, also of bfloat16 and float16; y has the dtype of x.

    Args:
        channels: C.
        eps: added to the variance.
        momentum: share of the new mini-batch in the moving averages, which serve in evaluation.
        scales: x_hat = (x - E[x]) / sqrt(Var[x] + eps); else x - E[x].
        constant: the statistics are constants to the gradient.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(
        self, channels: int, *, eps: float, momentum: float, scales: bool, constant: bool
    ) -> None:
        super().__init__()
        self.eps, self.momentum, self.scales, self.constant = eps, momentum, scales, constant
        self.weight, self.bias = (nn.Parameter(f(channels)) for f in (torch.ones, torch.zeros))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        dtype, dims = x.dtype, [0, *range(2, x.dim())]
        x = x.to(torch.promote_types(dtype, torch.float32))
        if self.training:
            mean, var = x.mean(dims), x.var(dims, correction=0)
            if self.constant:
                mean, var = mean.detach(), var.detach()
            with torch.no_grad():
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(x.var(dims), self.momentum)  # unbiased, as Algorithm 2's
        else:
            mean, var = self.running_mean, self.running_var
        mean, var, gamma, beta = (
            t.view(-1, *(1 for _ in dims[1:])) for t in (mean, var, self.weight, self.bias)
        )
        x_hat = (x - mean) / torch.sqrt(var + self.eps) if self.scales else x - mean
        return (gamma * x_hat + beta).to(dtype)


def _norm(eps: float, momentum: float, scales: bool, constant: bool) -> Norm:
    def made(channels: int) -> nn.Module:
        return MiniBatchNorm(channels, eps=eps, momentum=momentum, scales=scales, constant=constant)

    def per_activation(*shape: int) -> nn.Module:
        raise ValueError("outside_gradient has no form per activation of a feature map")

    return Norm(made, made, per_activation, bias=True)


def centred(eps: float, momentum: float) -> Norm:
    """x - E[x], a constant E[x]: section 2's example."""
    return _norm(eps, momentum, scales=False, constant=True)


def scaled(eps: float, momentum: float) -> Norm:
    """Centred and scaled, both by constants."""
    return _norm(eps, momentum, scales=True, constant=True)


def centred_inside(eps: float, momentum: float) -> Norm:
    """As `centred`, but the gradient flows through E[x]."""
    return _norm(eps, momentum, scales=False, constant=False)


def scaled_inside(eps: float, momentum: float) -> Norm:
    """As `scaled`, but the gradient flows through both: BN after a layer that keeps its b."""
    return _norm(eps, momentum, scales=True, constant=False)
