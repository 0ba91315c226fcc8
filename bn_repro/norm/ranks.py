"""What a synchronized layer asks of the other ranks of the default process group."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


class _SumOverRanks(torch.autograd.Function):
    """Every rank's loss depends on the sum, so its gradient is the sum of those of all ranks."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        total = tensor.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:
        return _SumOverRanks.apply(*grad_outputs)


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """The sum of a tensor over all ranks, on every rank; gradients pass through it."""
    return _SumOverRanks.apply(tensor)


def mean_over_ranks(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    """`mini_batch_mean` of the joined mini-batch of all ranks, whose parts may differ in size."""
    total = x.sum(dims, keepdim=True)
    m = x.new_full((1,), x.numel() // total.numel())
    sums = sum_over_ranks(torch.cat([total.flatten(), m]))
    return (sums[:-1] / sums[-1]).view_as(total)
