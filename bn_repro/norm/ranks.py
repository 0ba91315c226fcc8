"""Statistics of the joined mini-batch of all ranks of the default process group."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


class _OfAllRanks(torch.autograd.Function):
    """The tensors of all ranks, stacked, on every rank.

    Every rank's loss depends on every tensor, so a tensor's gradient is summed over all ranks.
    """

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        gathered = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
        dist.all_gather(gathered, tensor)
        return torch.stack(gathered)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:
        total = grad_outputs[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total[dist.get_rank()]


def joined_statistics(x: Tensor, dims: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """mu, var and m of the joined mini-batch of all ranks, whose parts may differ in size.

    Ranks exchange once: m, mean and sum of squared deviations of each part, from which those of the
    whole follow without cancellation (Chan, Golub, LeVeque 1983).
    """
    total = x.sum(dims, keepdim=True)
    m = x.numel() // total.numel()
    mean = total / max(m, 1)  # a rank may have no sample
    squares = ((x - mean) ** 2).sum(dims, keepdim=True)
    own = torch.cat([x.new_full((1,), m), mean.flatten(), squares.flatten()])
    parts = _OfAllRanks.apply(own)
    ms, (means, of_squares) = parts[:, :1], parts[:, 1:].chunk(2, dim=1)
    m = ms.sum()
    mu = (ms * means).sum(0) / m
    var = (of_squares + ms * (means - mu) ** 2).sum(0) / m
    return mu.view_as(mean), var.view_as(mean), m
