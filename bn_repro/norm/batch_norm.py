"""Algorithm 1, its gradients, line 11 of Algorithm 2, and BN as layers.

gamma, beta, mu and var are the paper's. In a layer gamma is called `weight` and beta `bias`, so
that its state_dict is that of `torch.nn.BatchNorm1d`, `2d` and `3d`.
"""

from __future__ import annotations

from numbers import Integral
from typing import Any, ClassVar

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from bn_repro.norm.ranks import joined_statistics

Dims = tuple[int, ...]
Statistics = tuple[Tensor, Tensor]
"""mu and var."""


def mini_batch_mean(x: Tensor, dims: Dims) -> Tensor:
    """The mean of `x` over the dimensions `dims`, which keep size 1."""
    return x.mean(dims, keepdim=True)


def mini_batch_statistics(x: Tensor, dims: Dims) -> Statistics:
    """mu and the biased variance of `x`: the first two lines of Algorithm 1."""
    mu = mini_batch_mean(x, dims)
    var = mini_batch_mean((x - mu) ** 2, dims)
    return mu, var


def batch_norm_forward(
    x: Tensor,
    gamma: Tensor,
    beta: Tensor,
    eps: float,
    dims: Dims,
    statistics: Statistics | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Algorithm 1: normalize `x` over the mini-batch, then scale and shift.

    `dims` are the dimensions of `x` that run over the mini-batch: (0,) for (N, width); (0, 2, 3)
    for (N, C, H, W) in a convolutional layer, where m' = m * p * q values share a statistic
    (sec. 3.2).
    `gamma` and `beta`, and the returned mu and var, have the shape of `x` with those dimensions 1.

    `statistics`: mu and var of the whole mini-batch, where `x` is only a part of it.

    Returns y (shaped as `x`), mu, and var, the biased variance: it divides by m, not by m - 1.
    """
    mu, var = statistics or mini_batch_statistics(x, dims)
    xhat = (x - mu) / torch.sqrt(var + eps)
    y = xhat * gamma + beta  # x comes first in each line, so that y keeps its memory format
    return y, mu, var


def batch_norm_backward(
    dy: Tensor, x: Tensor, gamma: Tensor, mu: Tensor, var: Tensor, eps: float, dims: Dims
) -> tuple[Tensor, Tensor, Tensor]:
    """The six gradients of section 3, in the paper's order; `dy` stands for dl/dy, and so on.

    Arguments and shapes as in `batch_norm_forward`, which returned `mu` and `var`. Returns dx,
    dgamma, dbeta. Training uses autograd or the fused kernel; the tests compare both with it.
    """
    m = x.numel() // mu.numel()
    std = torch.sqrt(var + eps)
    xhat = (x - mu) / std

    dxhat = dy * gamma
    dvar = (dxhat * (x - mu) * -0.5 * (var + eps) ** -1.5).sum(dims, keepdim=True)
    dmu = (dxhat * (-1 / std)).sum(dims, keepdim=True) + dvar * mini_batch_mean(-2 * (x - mu), dims)
    dx = dxhat / std + dvar * 2 * (x - mu) / m + dmu / m
    dgamma = (dy * xhat).sum(dims, keepdim=True)
    dbeta = dy.sum(dims, keepdim=True)
    return dx, dgamma, dbeta


def affine_map(
    gamma: Tensor, beta: Tensor, mean: Tensor, var: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """Algorithm 2, line 11: the scale and shift of BN at inference, y = scale * x + shift."""
    scale = gamma / torch.sqrt(var + eps)
    shift = beta - scale * mean
    return scale, shift


class BatchNorm(nn.Module):
    """A BN layer; its two forms, below, differ in which values share a statistic.

    In training mode it normalizes by the mini-batch and updates the moving averages,
    `new = (1 - momentum) * old + momentum * batch`, with the unbiased variance m / (m - 1) * var.
    (PyTorch does the same; elsewhere its momentum of 0.1 is called 0.9.) With a momentum of None
    they are the means over all mini-batches so far. In eval mode it normalizes by `running_mean`
    and `running_var`: the moving averages, or the population statistics that
    `estimate_population_statistics` wrote.

    With `fused` PyTorch's kernel runs where there is one, otherwise the functions of this file.
    With `synchronized` a layer normalizes by the joined mini-batch of all ranks, of which a rank
    may have none; the sum of the ranks' gradients is then that of one process whose loss is the sum
    of their losses. Without `affine`, gamma stays 1 and beta 0, and neither is in the state_dict.

    Statistics are computed in float32 or wider, also of bfloat16 and float16; y has the dtype of x.

    Raises ValueError for a shape that its form does not have, for an x of another shape or not of
    floating point, and in training mode for a mini-batch with one value per statistic.
    """

    _version = 2  # as PyTorch's layers: a state_dict of before 2 may lack num_batches_tracked
    positions: ClassVar[dict[int, str]]  # an input's dimensions after N and the layer's shape
    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(
        self,
        *shape: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        fused: bool = True,
        synchronized: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self._check_arguments(shape, track_running_stats)
        self.eps, self.momentum, self.affine = eps, momentum, affine
        self.fused, self.synchronized = fused, synchronized
        for name, value in ("weight", 1.0), ("bias", 0.0):
            tensor = torch.full(shape, value, device=device, dtype=dtype)
            if affine:
                self.register_parameter(name, nn.Parameter(tensor))
            else:
                self.register_buffer(name, tensor, persistent=False)
        for name, value in ("running_mean", 0.0), ("running_var", 1.0):
            self.register_buffer(name, torch.full(shape, value, device=device, dtype=dtype))
        self.register_buffer("num_batches_tracked", torch.tensor(0, device=device))

    def forward(self, x: Tensor) -> Tensor:
        self._check_input(x)
        gamma, beta, mean, var = self.weight, self.bias, self.running_mean, self.running_var
        if self.fused and gamma.dim() == 1 and self.eps > 0 and not self._joins_ranks():
            share = self._count() if self.training else 0.0
            return F.batch_norm(x, mean, var, gamma, beta, self.training, share, self.eps)
        if self.training:
            y, mu_B, var_B, m = self.normalize(x)
            share = self._count()
            with torch.no_grad():
                for average, batch in (mean, mu_B), (var, m / (m - 1) * var_B):
                    new, old = batch.view_as(average), average.to(batch.dtype)
                    average.copy_((1 - share) * old + share * new)
        else:
            scale, shift = self.scale_and_shift()
            y = x * self._spread(scale, x) + self._spread(shift, x)
        return y.to(x.dtype)

    def normalize(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, int | Tensor]:
        """Algorithm 1 in this layer; returns y, mu, var and m (on feature maps m')."""
        x = _wide(x)
        gamma, beta = self._spread(self.weight, x), self._spread(self.bias, x)
        own = m = x.numel() // gamma.numel()
        statistics = None
        if self._joins_ranks():
            mu, var, m = joined_statistics(x, self.dims(x))
            statistics = mu, var
        if own < 2 and m < 2:  # own first: m may be a tensor, whose reading waits for the device
            raise ValueError(self._too_small(x))
        return *batch_norm_forward(x, gamma, beta, self.eps, self.dims(x), statistics), m

    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        """Algorithm 2, line 11, in this layer: both of its shape, in float32 or wider."""
        gamma, beta, mean, var = self.weight, self.bias, self.running_mean, self.running_var
        return affine_map(_wide(gamma), _wide(beta), _wide(mean), _wide(var), self.eps)

    def dims(self, x: Tensor) -> Dims:
        """The dimensions of an input that run over the mini-batch."""
        return (0, *range(1 + self.weight.dim(), x.dim()))

    def reset_running_stats(self) -> None:
        """Mean 0, variance 1 and no mini-batch seen, as in a new layer."""
        self.running_mean.zero_()
        self.running_var.fill_(1)
        self.num_batches_tracked.zero_()

    def _count(self) -> float:
        """Count a mini-batch; returns its share in the moving averages."""
        self.num_batches_tracked.add_(1)  # in place, on its device: a CUDA graph repeats it
        return 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum

    def _joins_ranks(self) -> bool:
        grouped = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
        return grouped and self.training and self.synchronized

    def _spread(self, parameter: Tensor, x: Tensor) -> Tensor:
        """`parameter` in the shape of `x`, with the dimensions of the mini-batch 1."""
        return parameter.view(1, *parameter.shape, *(1 for _ in self.dims(x)[1:]))

    def _check_arguments(self, shape: Dims, track_running_stats: bool) -> None:
        name, per_map = type(self).__name__, 0 not in self.positions
        whole = shape and all(isinstance(size, Integral) and size > 0 for size in shape)
        if not whole or (per_map and len(shape) > 1):
            form = "(channels)" if per_map else "(width) or (C, H, W)"
            raise ValueError(
                f"{name}{shape}: expected {form} as positive whole numbers; eps, momentum and the "
                "others are given by name"
            )
        if not track_running_stats:
            raise ValueError(
                f"{name}: track_running_stats=False is not offered; leave the layer in training "
                "mode to normalize by the mini-batch"
            )

    def _check_input(self, x: Tensor) -> None:
        shape, after = self.weight.shape, x.dim() - 1 - self.weight.dim()
        if after not in self.positions or x.shape[1 : 1 + len(shape)] != shape:
            usual = next(iter(self.positions.values()))
            expected = ", ".join(["N", *map(str, shape), *self.positions.get(after, usual)])
            raise ValueError(f"{self}: expected an input ({expected}), got {tuple(x.shape)}")
        if not x.is_floating_point():
            raise ValueError(f"{self}: expected an input of floating point, got {x.dtype}")
        if self.training and x.numel() < 2 * shape.numel() and not self._joins_ranks():
            raise ValueError(self._too_small(x))

    def _too_small(self, x: Tensor) -> str:
        return (
            f"{self}: a mini-batch {tuple(x.shape)} has fewer than 2 values per statistic, so "
            "that y would be beta for every x; train on larger mini-batches (drop an "
            "incomplete last one), or call .eval() to normalize by the moving averages"
        )

    def _load_from_state_dict(
        self, state_dict: Any, prefix: str, metadata: Any, *rest: Any
    ) -> None:
        if metadata.get("version", 1) < 2:
            state_dict.setdefault(f"{prefix}num_batches_tracked", self.num_batches_tracked)
        super()._load_from_state_dict(state_dict, prefix, metadata, *rest)

    def extra_repr(self) -> str:
        shape = ", ".join(map(str, self.weight.shape))
        return f"{shape}, eps={self.eps}, momentum={self.momentum}"


class BatchNormPerActivation(BatchNorm):
    """Statistics, gamma and beta for each activation, over the m samples of the mini-batch.

    `BatchNormPerActivation(width)` on (N, width), after a fully connected layer (sec. 3), has the
    state_dict of BatchNorm1d. `BatchNormPerActivation(C, H, W)` on feature maps (N, C, H, W) is the
    non-convolutional BN of sec. 4.2.3, for which there is no kernel.
    """

    positions: ClassVar = {0: ""}


class BatchNormPerFeatureMap(BatchNorm):
    """Statistics, gamma and beta for each feature map, over its m' = m * p * q values (sec. 3.2).

    `BatchNormPerFeatureMap(C)` on (N, C, H, W) has the state_dict of BatchNorm2d; it also takes
    (N, C, L), as BatchNorm1d does, and (N, C, D, H, W), as BatchNorm3d.
    """

    positions: ClassVar = {2: "HW", 1: "L", 3: "DHW"}


def layers_of(model: nn.Module) -> list[BatchNorm]:
    """The BN layers of `model`; ValueError where there is none."""
    layers = [module for module in model.modules() if isinstance(module, BatchNorm)]
    if not layers:
        raise ValueError(
            f"{type(model).__name__}: has no BN layer of bn_repro.norm; from_torch converts those "
            "of torch.nn"
        )
    return layers


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def is_synchronized(model: nn.Module) -> bool:
    """Whether layers of `model` train on the joined mini-batch of all ranks."""
    return any(isinstance(layer, BatchNorm) and layer.synchronized for layer in model.modules())
