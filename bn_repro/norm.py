"""Batch normalization, to be read beside the paper (Ioffe & Szegedy 2015, arXiv 1502.03167v3).

    Algorithm 1, the transform of a mini-batch     batch_norm_forward
    Section 3, its gradients                       batch_norm_backward
    Algorithm 2, line 11, BN at inference          affine_map
    Sections 3 and 3.2, as layers                  BatchNormPerActivation, BatchNormPerFeatureMap
    Algorithm 2, line 10, population statistics    estimate_population_statistics
    Algorithm 2, line 11, in the layer before      fold_into, fold
    What a model takes as its normalization        Norm: none, batch, sync_batch

gamma, beta, mu and var are the paper's. In a layer gamma is called `weight` and beta `bias`, so
that its state_dict is that of `torch.nn.BatchNorm1d` and `torch.nn.BatchNorm2d`.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, ClassVar

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

Dims = tuple[int, ...]
Mean = Callable[[Tensor, Dims], Tensor]


def mini_batch_mean(x: Tensor, dims: Dims) -> Tensor:
    """The mean of `x` over the dimensions `dims`, which keep size 1."""
    return x.mean(dims, keepdim=True)


def batch_norm_forward(
    x: Tensor, gamma: Tensor, beta: Tensor, eps: float, dims: Dims, mean: Mean = mini_batch_mean
) -> tuple[Tensor, Tensor, Tensor]:
    """Algorithm 1: normalize `x` over the mini-batch, then scale and shift.

    `dims` are the dimensions of `x` that run over the mini-batch: (0,) for (N, width); (0, 2, 3)
    for (N, C, H, W) in a convolutional layer, where m' = m * p * q values share a statistic
    (sec. 3.2).
    `gamma` and `beta`, and the returned mu and var, have the shape of `x` with those dimensions 1.

    Returns y (shaped as `x`), mu, and var, the biased variance: it divides by m, not by m - 1.
    """
    mu = mean(x, dims)
    var = mean((x - mu) ** 2, dims)
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
    (PyTorch does the same; elsewhere its momentum of 0.1 is called 0.9.) In eval mode it normalizes
    by `running_mean` and `running_var`: the moving averages, or the population statistics that
    `estimate_population_statistics` wrote.

    With `fused` PyTorch's kernel runs where there is one, otherwise the functions of this file.
    With `synchronized` a layer normalizes by the joined mini-batch of all ranks; the sum of the
    ranks' gradients is then that of one process whose loss is the sum of their losses.

    Statistics are computed in float32 or wider, also from autocast's bfloat16; y has the dtype of
    x. Raises ValueError for an x of another shape, and in training mode for a mini-batch with one
    value per statistic.
    """

    dims: ClassVar[Dims]  # the dimensions of the input that run over the mini-batch
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(
        self,
        *shape: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        fused: bool = True,
        synchronized: bool = False,
    ) -> None:
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.fused, self.synchronized = fused, synchronized
        self.weight = nn.Parameter(torch.ones(shape))
        self.bias = nn.Parameter(torch.zeros(shape))
        self.register_buffer("running_mean", torch.zeros(shape))
        self.register_buffer("running_var", torch.ones(shape))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def forward(self, x: Tensor) -> Tensor:
        self._check(x)
        gamma, beta, mean, var = self.weight, self.bias, self.running_mean, self.running_var
        if self.training:
            self.num_batches_tracked.add_(1)  # in place, on its device: a CUDA graph repeats it
        if self.fused and gamma.dim() == 1 and not self._joins_ranks():
            return F.batch_norm(x, mean, var, gamma, beta, self.training, self.momentum, self.eps)
        if self.training:
            y, mu_B, var_B, m = self.normalize(x)
            with torch.no_grad():
                for average, batch in (mean, mu_B), (var, m / (m - 1) * var_B):
                    new = batch.view_as(average)
                    average.copy_((1 - self.momentum) * average + self.momentum * new)
        else:
            scale, shift = affine_map(gamma, beta, mean, var, self.eps)
            y = x * self._spread(scale) + self._spread(shift)
        return y.to(x.dtype)

    def normalize(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, int | Tensor]:
        """Algorithm 1 in this layer; returns y, mu, var and m (on feature maps m')."""
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        gamma, beta = self._spread(self.weight), self._spread(self.bias)
        m, mean = x.numel() // gamma.numel(), mini_batch_mean
        if self._joins_ranks():
            m, mean = _SumOverRanks.apply(x.new_full((), m)), mean_over_ranks
        return *batch_norm_forward(x, gamma, beta, self.eps, self.dims, mean), m

    def _joins_ranks(self) -> bool:
        grouped = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
        return grouped and self.training and self.synchronized

    def _spread(self, parameter: Tensor) -> Tensor:
        """`parameter` in the shape of the input, with the dimensions of the mini-batch 1."""
        return parameter.view(1, *parameter.shape, *(1 for _ in self.dims[1:]))

    def _check(self, x: Tensor) -> None:
        shape, positions = self.weight.shape, "HW"[: len(self.dims) - 1]
        if x.shape[1 : 1 + len(shape)] != shape or x.dim() != 1 + len(shape) + len(positions):
            expected = ", ".join(["N", *map(str, shape), *positions])
            raise ValueError(f"{self}: expected an input ({expected}), got {tuple(x.shape)}")
        if self.training and x.numel() < shape.numel() * (1 if self._joins_ranks() else 2):
            raise ValueError(
                f"{self}: a mini-batch {tuple(x.shape)} has fewer than 2 values per statistic, so "
                "that y would be beta for every x; train on larger mini-batches (drop an "
                "incomplete last one), or call .eval() to normalize by the moving averages"
            )

    def extra_repr(self) -> str:
        shape = ", ".join(map(str, self.weight.shape))
        return f"{shape}, eps={self.eps}, momentum={self.momentum}"


class BatchNormPerActivation(BatchNorm):
    """Statistics, gamma and beta for each activation, over the m samples of the mini-batch.

    `BatchNormPerActivation(width)` on (N, width), after a fully connected layer (sec. 3), has the
    state_dict of BatchNorm1d. `BatchNormPerActivation(C, H, W)` on feature maps (N, C, H, W) is the
    non-convolutional BN of sec. 4.2.3, for which there is no kernel.
    """

    dims = (0,)


class BatchNormPerFeatureMap(BatchNorm):
    """Statistics, gamma and beta for each feature map, over its m' = m * p * q values (sec. 3.2).

    `BatchNormPerFeatureMap(C)` on (N, C, H, W) has the state_dict of BatchNorm2d.
    """

    dims = (0, 2, 3)


class _SumOverRanks(torch.autograd.Function):
    """The sum of a tensor over all ranks of the default process group, on every rank.

    Every rank's loss depends on the sum, so its gradient is the sum of the gradients of all ranks.
    """

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        total = tensor.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:
        return _SumOverRanks.apply(*grad_outputs)


def mean_over_ranks(x: Tensor, dims: Dims) -> Tensor:
    """`mini_batch_mean` of the joined mini-batch of all ranks, whose parts may differ in size."""
    total = x.sum(dims, keepdim=True)
    m = x.new_full((1,), x.numel() // total.numel())
    sums = _SumOverRanks.apply(torch.cat([total.flatten(), m]))
    return (sums[:-1] / sums[-1]).view_as(total)


def estimate_population_statistics(model: nn.Module, batches: Iterable[Tensor]) -> None:
    """Algorithm 2, line 10: the population statistics of a trained `model`, for inference.

    Runs `model` over `batches`, inputs of several training mini-batches of one size m, and writes

        E[x] = mean of mu,   Var[x] = m / (m - 1) * mean of var   (m' for m on feature maps)

    into running_mean and running_var of each BN layer. The means are over the mini-batches, summed
    in float64. Weights are frozen, and all layers but BN (such as dropout) are in eval mode. As in
    N_BN^tr every layer normalizes by its mini-batch, so the next layer sees what it sees in
    training. A layer that is not reached (in an auxiliary classifier) keeps its moving averages. A
    model with synchronized layers must run on all ranks at once, each with its part of every
    mini-batch.

    Raises ValueError, and writes nothing, without mini-batches or if their shapes differ.
    """
    layers = [module for module in model.modules() if isinstance(module, BatchNorm)]
    sums, count, unbiased = defaultdict[BatchNorm, Any](float), defaultdict(int), {}

    def take(layer: BatchNorm, inputs: tuple[Tensor], output: Tensor) -> None:
        _, mu, var, m = layer.normalize(*inputs)
        sums[layer] += torch.stack([mu, var]).cpu().double()
        count[layer] += 1
        unbiased[layer] = float(m / (m - 1))

    shape = None
    with torch.no_grad(), _kept(model), ExitStack() as hooks:
        model.eval()
        for layer in layers:
            layer.train()
            hooks.enter_context(layer.register_forward_hook(take))
        for x in batches:
            shape = shape or x.shape
            if x.shape != shape:
                raise ValueError(
                    "population statistics: Algorithm 2 needs mini-batches of one size, got "
                    f"{tuple(x.shape)} after {tuple(shape)}; leave an incomplete last one out"
                )
            model(x)
    if shape is None:
        raise ValueError("population statistics: no mini-batches given to estimate them from")
    for layer in sums:
        mean_of_mu, mean_of_var = sums[layer] / count[layer]
        layer.running_mean.copy_(mean_of_mu.view_as(layer.running_mean))
        layer.running_var.copy_(unbiased[layer] * mean_of_var.view_as(layer.running_var))


@contextmanager
def population_statistics(model: nn.Module, batches: Iterable[Tensor]) -> Iterator[None]:
    """`estimate_population_statistics` for a `with` block; then the averages are restored."""
    with _kept(model):
        estimate_population_statistics(model, batches)
        yield


@contextmanager
def _kept(model: nn.Module) -> Iterator[None]:
    """Restore, on exit, the modes of `model` and the buffers of its BN layers."""
    modes = [(module, module.training) for module in model.modules()]
    buffers = [b for module, _ in modes if isinstance(module, BatchNorm) for b in module.buffers()]
    values = [buffer.clone() for buffer in buffers]
    try:
        yield
    finally:
        for buffer, value in zip(buffers, values, strict=True):
            buffer.copy_(value)
        for module, mode in modes:
            module.training = mode


@torch.no_grad()
def fold_into(layer: nn.Linear | nn.Conv2d, bn: BatchNorm) -> nn.Linear | nn.Conv2d:
    """A copy of `layer` that computes `bn(layer(x))` of eval mode (Algorithm 2, line 11).

    Raises ValueError if `bn` is not one scale and one shift for each output of `layer`.
    """
    if not _foldable(layer, bn):
        raise ValueError(f"cannot fold {bn} into {layer}: not one scale and shift for each output")
    scale, shift = affine_map(bn.weight, bn.bias, bn.running_mean, bn.running_var, bn.eps)
    folded = copy.deepcopy(layer)
    folded.weight = nn.Parameter(scale.view(-1, *(1 for _ in bn.dims)) * layer.weight)
    folded.bias = nn.Parameter(shift if layer.bias is None else scale * layer.bias + shift)
    return folded


def _foldable(layer: nn.Linear | nn.Conv2d, bn: BatchNorm) -> bool:
    outputs, *inputs = layer.weight.shape
    return bn.weight.shape == (outputs,) and len(bn.dims) == len(inputs)


def fold(model: nn.Module) -> nn.Module:
    """A copy of `model` for inference, with BN folded into the layer before it where possible.

    The layer before is the previous child of the same module, so a module must apply its children
    in order. nn.Identity replaces the folded BN. BN per activation on feature maps stays.
    """
    folded = copy.deepcopy(model).eval()
    for parent in list(folded.modules()):
        for (name, layer), (bn_name, bn) in pairwise(list(parent.named_children())):
            if (
                isinstance(layer, nn.Linear | nn.Conv2d)
                and isinstance(bn, BatchNorm)
                and _foldable(layer, bn)
            ):
                setattr(parent, name, fold_into(layer, bn))
                setattr(parent, bn_name, nn.Identity())
    return folded


@dataclass(frozen=True)
class Norm:
    """A kind of normalization: functions that make its module for an input of a given shape."""

    fc: Callable[[int], nn.Module]  # (width) -> for (N, width)
    conv: Callable[[int], nn.Module]  # (C) -> for (N, C, H, W), per feature map
    per_activation: Callable[[int, int, int], nn.Module]  # (C, H, W) -> for (N, C, H, W)
    bias: bool  # whether the layer before has the b of Wu + b; with BN, beta replaces it (sec. 3.2)


def none(eps: float = 1e-5, momentum: float = 0.1) -> Norm:
    """No normalization; it ignores the arguments, which are those of the other norms.

    "No norm" is a Norm too, so models need no `if`.
    """
    return Norm(nn.Identity, nn.Identity, nn.Identity, bias=True)


def batch(
    eps: float = 1e-5, momentum: float = 0.1, fused: bool = True, synchronized: bool = False
) -> Norm:
    """Batch normalization; the arguments are those of `BatchNorm`."""

    def form(layer: type[BatchNorm]) -> Callable[..., BatchNorm]:
        return partial(layer, eps=eps, momentum=momentum, fused=fused, synchronized=synchronized)

    activation, feature_map = form(BatchNormPerActivation), form(BatchNormPerFeatureMap)
    return Norm(activation, feature_map, activation, bias=False)


def sync_batch(eps: float = 1e-5, momentum: float = 0.1, fused: bool = True) -> Norm:
    """Batch normalization that trains on the joined mini-batch of all ranks."""
    return batch(eps, momentum, fused, synchronized=True)
