"""Normalization within one example: layer, group and instance normalization, beside their papers.

Each is Algorithm 1 with other values sharing a statistic (Wu & He 2018, eq. 3 to 7): those of one
example that lie in one of G groups of channels, at all positions. No mini-batch enters, so training
and inference are the same function and there is nothing to average.

    Ba, Kiros & Hinton 2016 (arXiv 1607.06450), eq. 3 and 4      G = 1         LayerNorm
    Wu & He 2018 (arXiv 1803.08494), eq. 7                       1 < G < C     GroupNorm
    Ulyanov, Vedaldi & Lempitsky 2016 (arXiv 1607.08022), eq. 3  G = C         InstanceNorm
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class GroupNorm(nn.Module):
    """Mean and variance of each example over each of `groups` equal groups of its channels.

    `GroupNorm(groups, C)` takes (N, C) and (N, C, ...) and has a gamma and a beta for each channel,
    and the state_dict of `nn.GroupNorm`. `GroupNorm(groups, C, H, W)` takes (N, C, H, W) and has
    them for each activation.

    With `fused` PyTorch's kernel runs where there is one, otherwise `forward` as it is written.
    Statistics are computed in float32 or wider; y has the dtype of x.

    Raises ValueError for channels that `groups` does not divide, for an x of another shape, and for
    one with a single value per statistic.
    """

    def __init__(self, groups: int, *shape: int, eps: float = 1e-5, fused: bool = True) -> None:
        super().__init__()
        if shape[0] % groups:
            raise ValueError(f"{type(self).__name__}: {groups} groups do not divide {shape[0]}")
        self.groups, self.eps, self.fused = groups, eps, fused
        self.weight = nn.Parameter(torch.ones(shape))
        self.bias = nn.Parameter(torch.zeros(shape))

    def forward(self, x: Tensor) -> Tensor:
        shape = self.weight.shape
        if x.shape[1 : 1 + len(shape)] != shape:
            expected = ", ".join(["N", *map(str, shape)])
            raise ValueError(f"{self}: expected an input ({expected}, ...), got {tuple(x.shape)}")
        if x[:1].numel() < 2 * self.groups and len(x):
            raise ValueError(
                f"{self}: an example {tuple(x.shape[1:])} has fewer than 2 values per statistic, "
                "so that y would be beta for every x; take fewer groups, or larger maps"
            )
        if self.fused and len(shape) == 1:
            return F.group_norm(x, self.groups, self.weight, self.bias, self.eps).to(x.dtype)
        values = x.to(torch.promote_types(x.dtype, torch.float32)).flatten(1)
        values = values.view(len(x), self.groups, -1)
        mu = values.mean(2, keepdim=True)
        var = ((values - mu) ** 2).mean(2, keepdim=True)
        xhat = ((values - mu) / torch.sqrt(var + self.eps)).view(x.shape)
        gamma, beta = (
            p.view(1, *shape, *(1 for _ in x.shape[1 + len(shape) :]))
            for p in (self.weight, self.bias)
        )
        return (xhat * gamma + beta).to(x.dtype)

    def extra_repr(self) -> str:
        return f"{', '.join(map(str, self.weight.shape))}, groups={self.groups}, eps={self.eps}"


class LayerNorm(GroupNorm):
    """Mean and variance of each example over its whole layer (G = 1).

    `LayerNorm(width)` on (N, width) has the state_dict of `nn.LayerNorm(width)`, and
    `LayerNorm(C, H, W)` that of `nn.LayerNorm((C, H, W))`. `LayerNorm(C)` on feature maps has a
    gamma and a beta for each of them, as BN has in section 3.2.
    """

    def __init__(self, *shape: int, eps: float = 1e-5, fused: bool = True) -> None:
        super().__init__(1, *shape, eps=eps, fused=fused)


class InstanceNorm(GroupNorm):
    """Mean and variance of each feature map of each example, over its positions (G = C).

    `InstanceNorm(C)` on (N, C, H, W) has the state_dict of `nn.InstanceNorm2d(C, affine=True)`.
    """

    def __init__(self, *shape: int, eps: float = 1e-5, fused: bool = True) -> None:
        super().__init__(shape[0], *shape, eps=eps, fused=fused)
